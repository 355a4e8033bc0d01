"""``nft`` and ``ip``: found, run in bounded time, and their failures in one line.

A process for each change: 2 to 4 ms for one port, and 15 MB for as long.  One that stays (`nft -i`) takes
0.4 ms, but would have to be watched, restarted, and asked after each script whether that was all.
"""

import re
import shutil
import subprocess
from collections import deque
from collections.abc import Sequence

import trio

# systemd gives a unit both; `su` without `-` leaves the second out.
SEARCHED = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
TIMEOUT = 15.0  # seconds; 10,000 ports take 0.1 s on an idle machine, 0.3 s on a very busy one
REMEMBERED = 64  # processes whose changes the kernel may still announce


class ProgramError(Exception):
    """A program is not there, failed, or took too long; the text is one line."""


class Programs:
    """Runs the two programs, also at the same time; ``pids`` are the processes that it started."""

    def __init__(self, path: str = SEARCHED) -> None:
        self._path = path
        self.pids: deque[int] = deque(maxlen=REMEMBERED)

    def has(self, name: str) -> bool:
        """Whether this host has that program."""
        return shutil.which(name, path=self._path) is not None

    async def nft(self, *args: str, script: str = "", timeout: float = TIMEOUT) -> str:
        """What `nft` prints, with ``script`` on its standard input.  Raises ProgramError."""
        return await self.run(["nft", *args], script, timeout)

    async def ip(self, args: Sequence[str], timeout: float = TIMEOUT) -> str:
        """What `ip` prints.  Raises ProgramError."""
        return await self.run(["ip", *args], "", timeout)

    async def run(self, argv: Sequence[str], stdin: str, timeout: float) -> str:
        """What a program prints, with ``stdin`` on its standard input, within ``timeout`` seconds.

        Raises ProgramError.
        """
        found = shutil.which(argv[0], path=self._path)
        if found is None:
            raise ProgramError(f"no {argv[0]} program")
        try:
            with trio.fail_after(timeout):
                done = await trio.run_process(
                    [found, *argv[1:]],
                    stdin=stdin.encode(),
                    capture_stdout=True,
                    capture_stderr=True,
                    check=False,
                    env={"PATH": self._path, "LC_ALL": "C"},
                    task_status=self,
                )
        except trio.TooSlowError:
            raise ProgramError(f"{argv[0]} took more than {timeout:g} s") from None
        except OSError as error:
            raise ProgramError(f"{argv[0]} cannot be run: {error}") from None
        if done.returncode:
            raise ProgramError(f"{argv[0]}: {_reason(done)}")
        return done.stdout.decode(errors="replace")

    def started(self, process: trio.Process | None = None) -> None:
        """Called by trio when the program runs."""
        if process is not None:
            self.pids.append(process.pid)


def _reason(done: subprocess.CompletedProcess[bytes]) -> str:
    """What went wrong: of nft's many lines the one with the error, without its place in the script."""
    lines = done.stderr.decode(errors="replace").splitlines()
    for line in lines:
        if (found := re.search(r"Error: (.*)", line)) is not None:
            return found[1].strip()
    return lines[0].strip() if lines else f"exit status {done.returncode}"
