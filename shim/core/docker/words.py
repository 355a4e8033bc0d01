"""What the values of labels may be: each function takes a word, and says how a port is served by it.

A word has no space around it, and no upper case.  The result is how the port is served, and what is wrong
with the word: a text that goes on from "label NAME='WORD' ", or an empty one.
"""

from collections.abc import Callable

from shim.core.envoy.access_log import WORDS as ACCESS_LOG_WORDS
from shim.core.envoy.modes import BY_LABEL, FALLBACK_MODE, MODES, Serving, none_of_the_modes

# (how the port is served so far, word) -> (how it is served, what is wrong)
Serve = Callable[[Serving, str], tuple[Serving, str]]

KEEP, OFF = "keep", "off"


def proxy_mode(serving: Serving, word: str) -> tuple[Serving, str]:
    """One of the modes."""
    mode = MODES.get(word, FALLBACK_MODE)
    wrong = "" if word in MODES else f"is {none_of_the_modes()}: served as {mode.name}"
    return serving._replace(mode=mode, chosen_by=BY_LABEL), wrong


def client_address(serving: Serving, word: str) -> tuple[Serving, str]:
    """Whether the container sees its clients' addresses."""
    wrong = "" if word in (KEEP, OFF) else f"is neither {KEEP} nor {OFF}: {OFF}"
    return serving._replace(keeps_client=word == KEEP), wrong


def client_address_of(serving: Serving) -> str:
    """The word for it."""
    return KEEP if serving.keeps_client else OFF


def access_log(serving: Serving, word: str) -> tuple[Serving, str]:
    """Whether the access log has a line for each request or connection."""
    if word in ACCESS_LOG_WORDS:
        return serving._replace(access_log=word), ""
    *others, last = ACCESS_LOG_WORDS
    return serving._replace(access_log=OFF), f"is none of {', '.join(others)} and {last}: {OFF}"
