"""What shells complete, in the shells themselves, at a terminal."""

import os
import pty
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], ""),
    "zsh": (["zsh", "-f", "-i"], "autoload -U compinit; compinit -u -D; "),
}
PATIENCE = 20.0  # seconds


class Terminal:
    """A shell at a terminal, that prints what the command would be given."""

    def __init__(self, argv: list[str], env: dict[str, str]) -> None:
        self._pid, self._fd = pty.fork()
        if self._pid == 0:
            os.execvpe(argv[0], argv, env)
        self._seen = b""

    def type(self, text: str, until: str) -> None:
        """Type it, and wait for what is to be seen then."""
        os.write(self._fd, text.encode())
        self.wait(until)

    def wait(self, until: str) -> None:
        """Wait for this text, and forget all before it."""
        deadline = time.monotonic() + PATIENCE
        while until.encode() not in self._seen:
            ready, _, _ = select.select([self._fd], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, (until, self._seen)
            self._seen += os.read(self._fd, 65536)
        self._seen = self._seen.partition(until.encode())[2]

    def close(self) -> None:
        os.close(self._fd)
        os.waitpid(self._pid, 0)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes_commands_options_and_files(artifact: Path, tmp_path: Path, shell: str) -> None:
    argv, prepare = SHELLS[shell]
    assert shutil.which(shell), f"no {shell} (Debian: {shell})"
    script = tmp_path / "script"
    env = {**os.environ, "HOME": str(tmp_path), "TERM": "dumb"}
    done = subprocess.run([artifact, "completion", shell], check=True, capture_output=True, env=env)
    script.write_bytes(done.stdout)
    (tmp_path / "some file.yaml").touch()
    terminal = Terminal(argv, env)
    try:
        setup = f'{prepare}envoy-docker-shim() {{ echo "<""$@"">"; }}; cd {tmp_path}; source {script}; '
        terminal.type(f"{setup}echo rea''dy\n", "ready")
        for typed, given in (
            ("resy\t", "resync"),
            ("status --js\t", "status --json"),
            ("completion zs\t", "completion zsh"),
            ("firewall cl\t", "firewall clear"),
            ("bootstrap --config some\t", "bootstrap --config some file.yaml"),
        ):
            terminal.type(f"envoy-docker-shim {typed}\n", f"<{given}>")
    finally:
        terminal.close()
