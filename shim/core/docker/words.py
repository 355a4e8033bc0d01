"""What the values of labels may be: each function takes a word, and says how a port is served by it.

A word has no space around it, and no upper case.  The result is how the port is served, and what is wrong
with the word: a text that goes on from "label NAME='WORD' ", or an empty one.
"""

import re
from collections.abc import Callable

from shim.core.envoy.access_log import WORDS as ACCESS_LOG_WORDS
from shim.core.envoy.filters import NEVER
from shim.core.envoy.modes import BY_LABEL, FALLBACK_MODE, MODES, Serving, none_of_the_modes

# (how the port is served so far, word) -> (how it is served, what is wrong)
Serve = Callable[[Serving, str], tuple[Serving, str]]

KEEP, OFF, ON = "keep", "off", "on"
# Of ClientAddress -> the version of the PROXY protocol.
PROXY_PROTOCOL = {"proxy-protocol": 1, "proxy-protocol-v2": 2}
_CLIENT_ADDRESS = (KEEP, *PROXY_PROTOCOL, OFF)

_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|h)", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
_LONGEST = 365 * 24 * 3600
_NOT_A_DURATION = "is no duration, such as 500ms, 30s, 5m or 1h"
_PERCENT = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,4})?", re.ASCII)


def proxy_mode(serving: Serving, word: str) -> tuple[Serving, str]:
    """One of the modes."""
    mode = MODES.get(word, FALLBACK_MODE)
    wrong = "" if word in MODES else f"is {none_of_the_modes()}: served as {mode.name}"
    return serving._replace(mode=mode, chosen_by=BY_LABEL), wrong


def client_address(serving: Serving, word: str) -> tuple[Serving, str]:
    """Whether, and how, the container learns its clients' addresses."""
    version = PROXY_PROTOCOL.get(word, 0)
    wrong = "" if word in _CLIENT_ADDRESS else f"is none of {', '.join(_CLIENT_ADDRESS)}: served as {OFF}"
    if version and not serving.mode.takes_network:
        wrong = (
            f"does not go with mode {serving.mode.name}, in which clients on the network reach the container"
            " past Envoy and without the header: take tcp"
        )
    return serving._replace(keeps_client=word == KEEP, proxy_protocol=version), wrong


def client_address_of(serving: Serving) -> str:
    """The word for it."""
    if serving.keeps_client:
        return KEEP
    return next((word for word, version in PROXY_PROTOCOL.items() if version == serving.proxy_protocol), OFF)


def access_log(serving: Serving, word: str) -> tuple[Serving, str]:
    """Whether the access log has a line for each request or connection."""
    if word in ACCESS_LOG_WORDS:
        return serving._replace(access_log=word), ""
    *others, last = ACCESS_LOG_WORDS
    return serving._replace(access_log=OFF), f"is none of {', '.join(others)} and {last}: {OFF}"


def tracing(serving: Serving, word: str) -> tuple[Serving, str]:
    """Whether there are spans."""
    wrong = "" if word in (ON, OFF) else f"is neither {ON} nor {OFF}: {ON}"
    return serving._replace(extras=serving.extras._replace(tracing=word != OFF)), wrong


def sampling(serving: Serving, word: str) -> tuple[Serving, str]:
    """How many requests are traced, in percent."""
    if not _PERCENT.fullmatch(word) or not 0 <= float(word) <= 100:
        return serving, "is no number from 0 to 100 (percent): the configuration's counts"
    return serving._replace(extras=serving.extras._replace(sampling=float(word))), ""


def sampling_of(serving: Serving) -> str:
    """The percentage, or an empty text: it is the configuration's."""
    return "" if serving.extras.sampling is None else f"{serving.extras.sampling:g}"


def idle_timeout(serving: Serving, word: str) -> tuple[Serving, str]:
    """After what silence a connection is closed."""
    duration = _duration(word)
    if duration is None:
        return serving, f"{_NOT_A_DURATION}: there is no such timeout"
    return serving._replace(extras=serving.extras._replace(idle_timeout=duration)), ""


def request_timeout(serving: Serving, word: str) -> tuple[Serving, str]:
    """How long an answer may take."""
    duration = _duration(word)
    if duration is None:
        return serving, f"{_NOT_A_DURATION}: there is no such timeout"
    return serving._replace(extras=serving.extras._replace(request_timeout=duration)), ""


def timeout_of(duration: str) -> str:
    """The word for a timeout in Envoy's words."""
    return OFF if duration == NEVER else duration


def _duration(word: str) -> str | None:
    """Envoy's words for it; ``off`` and nothing at all mean never.  None: it is no duration."""
    if word == OFF:
        return NEVER
    found = _DURATION.fullmatch(word)
    if found is None:
        return None
    seconds = float(found[1]) * _SECONDS[found[2]]
    if seconds > _LONGEST:
        return None
    milliseconds = max(round(seconds * 1000), int(seconds > 0))
    return f"{milliseconds // 1000}.{milliseconds % 1000:03d}".rstrip("0").rstrip(".") + "s"
