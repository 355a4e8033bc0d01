"""Waits for what another process is about to do."""

import time
from collections.abc import Callable

from shim.setup.tools import SetupError

LOOK = 0.1  # seconds between two looks


def until(happened: Callable[[], str], seconds: float) -> None:
    """Return once `happened` has nothing more to complain of.  Raises SetupError with what it said last."""
    deadline = time.monotonic() + seconds
    while missing := happened():
        if time.monotonic() > deadline:
            raise SetupError(f"after {seconds:g} s still: {missing}")
        time.sleep(LOOK)
