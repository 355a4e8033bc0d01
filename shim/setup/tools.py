"""Programs of the host, run to their end: systemctl and others."""

import subprocess
from collections.abc import Sequence

# Seconds that a program may take.  Docker may wait for containers, ten seconds for each that ignores
# SIGTERM.
TIMEOUT = 180.0


class SetupError(Exception):
    """A step cannot be done; the text is a line for the user."""


def run(argv: Sequence[str], *, timeout: float = TIMEOUT) -> str:
    """Its output.  Raises SetupError with what it said."""
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, errors="replace", check=False, timeout=timeout, cwd="/"
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SetupError(f"{' '.join(argv)}: {error}") from None
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[:400]
        raise SetupError(f"{' '.join(argv)} ended with {done.returncode}{': ' if said else ''}{said}")
    return done.stdout


def succeeds(argv: Sequence[str]) -> bool:
    """Whether it ends with 0."""
    try:
        run(argv)
    except SetupError:
        return False
    return True


def systemctl(*words: str) -> str:
    """What it says.  Raises SetupError."""
    return run(["systemctl", *words])


def last_words(name: str) -> str:
    """What a unit said last, on one line."""
    try:
        said = run(["journalctl", f"--unit={name}", "--lines=3", "--output=cat", "--no-pager"])
    except SetupError as error:
        return str(error)
    return " ".join(said.split())[-300:]


def unit(name: str, *properties: str) -> dict[str, str]:
    """Properties of a unit, empty ones where systemd does not know it.  Raises SetupError."""
    said = systemctl("show", name, f"--property={','.join(properties)}")
    return dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
