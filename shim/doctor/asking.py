"""Questions with a bound: what comes of one is its answer, or an Unknown that says why there is none."""

import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import trio

from shim.core.doctor.facts import Unknown
from shim.core.endpoint import Endpoint
from shim.registrar.firewall.programs import ProgramError
from shim.registrar.http_client import read_page

T = TypeVar("T")

# For each question (seconds): what takes longer is as good as down, also on a host with much to do.
BOUND = 3.0
# Bytes of an answer: 10,000 ports in /status are 7 MB.
SIZE_LIMIT = 64 << 20


async def asked(question: Callable[[], Awaitable[T]], bound: float = BOUND) -> "T | Unknown":
    """The answer, within ``bound`` seconds."""
    try:
        with trio.fail_after(bound):
            return await question()
    except trio.TooSlowError:
        return Unknown(f"no answer within {bound:g} s")
    except OSError as error:
        return Unknown(_reason(error))
    except (ValueError, LookupError, TypeError, AttributeError, ProgramError) as error:
        return Unknown(f"not understood: {error}" if not isinstance(error, ProgramError) else str(error))


def _reason(error: BaseException) -> str:
    """Of several addresses that were tried, the first one's."""
    while isinstance(error.__cause__, BaseException) and isinstance(error.__cause__, OSError):
        error = error.__cause__
    return str(getattr(error, "strerror", None) or error)


async def looked(look: Callable[[], T], bound: float = BOUND) -> "T | Unknown":
    """What a function returns that reads files: on a thread of its own, which may be left behind."""
    return await asked(lambda: trio.to_thread.run_sync(look, abandon_on_cancel=True), bound)


async def page(server: Endpoint, target: str) -> Any:
    """The JSON at one page.  Raises OSError, ValueError; the caller bounds the time."""
    return json.loads(await read_page(server, target, SIZE_LIMIT))
