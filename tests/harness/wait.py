"""Waiting on foreign programs: poll until it is so, or fail at a deadline and say what was seen last."""

import http.client
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(look: Callable[[], T], timeout: float = 10.0, what: str = "", interval: float = 0.02) -> T:
    """Call `look` until it returns something true, and return that.

    OSError, HTTPException and AssertionError out of `look` mean "not yet"; anything else is a bug and passes.
    """
    deadline = time.monotonic() + timeout
    while True:
        seen: object = None
        cause: Exception | None = None
        try:
            seen = found = look()
            if found:
                return found
        except (OSError, http.client.HTTPException, AssertionError) as error:
            seen = cause = error
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {timeout} s: {what or look!r}; last: {seen!r}") from cause
        time.sleep(interval)
