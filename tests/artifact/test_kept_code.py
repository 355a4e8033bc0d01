"""The start-up path as the registrar compiles it for other Pythons: read, if no other user can write it."""

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.artifact.pythons import NEW, with_python
from tests.harness.proxy import flags, free_port, refusal, start_proxy
from tests.harness.registrar import LoopbackRegistrar
from tests.harness.wait import eventually

BACKEND = ("127.0.0.1", 9)
NOBODY = 65534
# In the place of the start-up path, it says that it has been run.
MARKED = "import sys\ndef main(*_):\n open(3, 'w').write('1\\nkept'); sys.exit(1)"


def magic(python: Path) -> str:
    ask = "from importlib.util import MAGIC_NUMBER as m; print(m.hex())"
    return subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True).stdout.strip()


def builders(artifact: Path) -> str:
    """The magic number of the Python that built the file."""
    (found,) = re.findall(rb"^# start-up path: .* ([0-9a-f]+)$", artifact.read_bytes()[:1024], re.MULTILINE)
    return str(found, "ascii")


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "bin").mkdir()
    kept = tmp_path / "kept"
    kept.mkdir(mode=0o755)
    return {"PATH": f"{tmp_path}/bin", "SHIV_ROOT": str(kept), "SHIM_SOCKET": str(tmp_path / "none.sock")}


def start(artifact: Path, env: dict[str, str]) -> str:
    """What a port's start comes to: "kept" if what is kept was run, "" if the port started as ever."""
    args = flags("tcp", ("127.0.0.1", free_port("tcp", "127.0.0.1")), BACKEND)
    try:
        proxy = start_proxy(artifact, args, env=env)
    except AssertionError as failed:
        return str(failed).strip()
    proxy.stop(signal.SIGKILL)
    return ""


def keep(artifact: Path, env: dict[str, str], python: Path) -> Path:
    """Put code that says so where a shim with this Python looks."""
    front = artifact.read_bytes()[:1024]
    (checksum,) = re.findall(rb"^# start-up path: \d+ \d+ ([0-9a-f]+) ", front, re.MULTILINE)
    file = Path(env["SHIV_ROOT"], f"start-{checksum.decode()}-{magic(python)}")
    write = "import marshal, sys; sys.stdout.buffer.write(marshal.dumps(compile(sys.argv[1], 'x', 'exec')))"
    with file.open("wb") as output:
        subprocess.run([python, "-c", write, MARKED], check=True, stdout=output)
    file.chmod(0o644)
    return file


def other_python(artifact: Path) -> Path:
    return next(path for path in reversed(NEW.values()) if magic(path) != builders(artifact))


@pytest.mark.parametrize("python", NEW.values(), ids=NEW)
def test_a_registrar_keeps_it_for_its_own_python_and_shims_take_it(
    artifact: Path, env: dict[str, str], tmp_path: Path, python: Path
) -> None:
    env = with_python(env, python)
    registrar = LoopbackRegistrar(artifact, tmp_path)
    registrar.env |= {"PATH": env["PATH"], "SHIV_ROOT": env["SHIV_ROOT"]}
    with registrar.running():
        eventually(registrar.answers, 60, "the registrar answers")
    kept = list(Path(env["SHIV_ROOT"]).glob("start-*"))
    if magic(python) == builders(artifact):
        assert not kept
        keep(artifact, env, python)
        assert start(artifact, env) == ""  # it has its own
        return
    (file,) = kept
    assert file.name.endswith(magic(python)) and oct(file.stat().st_mode & 0o7777) == "0o644"
    assert start(artifact, env) == ""
    assert keep(artifact, env, python) == file
    assert start(artifact, env) == "kept"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make what another user made")
@pytest.mark.parametrize(
    "how",
    [
        *(
            "another's file",
            "a file for all to write",
            "a link",
            "a FIFO",
            "a directory",
            "half a file",
            "empty",
        ),
        *("another's directory", "a directory for all to write", "a directory in which names stay"),
        *("a link to the directory", "below another's directory"),
    ],
)
def test_what_another_user_can_have_written_is_not_run(
    artifact: Path, env: dict[str, str], tmp_path: Path, how: str
) -> None:
    python = other_python(artifact)
    env = with_python(env, python)
    file = keep(artifact, env, python)
    if how == "another's file":
        os.chown(file, NOBODY, 0)
    elif how == "a file for all to write":
        file.chmod(0o666)
    elif how == "a link":
        file.symlink_to(file.rename(tmp_path / "elsewhere"))
    elif how in ("half a file", "an empty file"):
        os.truncate(file, file.stat().st_size // 2 if how == "half a file" else 0)
    elif how in ("a FIFO", "a directory"):
        file.unlink()
        (os.mkfifo if how == "a FIFO" else os.mkdir)(file)
    elif how == "another's directory":
        os.chown(file.parent, NOBODY, 0)
    elif how == "a link to the directory":
        (tmp_path / "link").symlink_to(file.parent)
        env["SHIV_ROOT"] = str(tmp_path / "link")
    elif how == "below another's directory":
        (tmp_path / "theirs").mkdir()
        os.chown(tmp_path / "theirs", NOBODY, 0)
        env["SHIV_ROOT"] = str(file.parent.rename(tmp_path / "theirs" / "kept"))
    else:
        file.parent.chmod(0o777 if how == "a directory for all to write" else 0o1777)
    assert start(artifact, env) == ""


def test_the_marked_code_is_what_a_refusal_shows(artifact: Path, env: dict[str, str]) -> None:
    python = other_python(artifact)
    env = with_python(env, python)
    keep(artifact, env, python)
    assert refusal(artifact, flags("tcp", ("127.0.0.1", 9), BACKEND), env=env).strip() == "kept"
