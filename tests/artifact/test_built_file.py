"""The built file itself: on every Python there is here, small, pure, and the same from any two builds."""

import os
import re
import shutil
import signal
import socket
import subprocess
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from tests.artifact.pythons import NEW, NEWEST, OLD, PYTHONS, with_python
from tests.harness.engines import ROOT
from tests.harness.proxy import bound_socket, flags, free_port, refusal, start_proxy

COMMANDS = ("server", "up", "bootstrap", "status", "resync")
MEGABYTE = 1_000_000
BACKEND = ("127.0.0.1", 9)
# Beyond what a bare interpreter has: an extension module that some builds of Python have built in.
IMPORT_BUDGET = {"_socket"}


EACH = pytest.mark.parametrize("python", NEW.values(), ids=NEW)


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all, as on a host whose Python is upgraded."""
    return tmp_path_factory.mktemp("unpacked")


@pytest.fixture
def env(tmp_path: Path, unpacked: Path) -> dict[str, str]:
    """A PATH without Python, until ``with_python``; no registrar."""
    (tmp_path / "bin").mkdir()
    return {
        "PATH": f"{tmp_path}/bin",
        "HOME": str(tmp_path),
        "SHIV_ROOT": str(unpacked),
        "SHIM_SOCKET": str(tmp_path / "registrar.sock"),
    }


def run(file: Path, *args: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [file, *args],
        check=False,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )


# -- every Python --------------------------------------------------------------------------------------


def test_there_is_more_than_one_python_to_show_it_on() -> None:
    assert len(NEW) >= 2, PYTHONS


@EACH
def test_it_says_its_version_and_how_each_command_is_used(
    artifact: Path, env: dict[str, str], python: Path
) -> None:
    env = with_python(env, python)
    done = run(artifact, "version", env=env)
    assert done.returncode == 0 and re.fullmatch(r"envoy-docker-shim \d+\.\d+\.\d+\S*\n", done.stdout), done
    done = run(artifact, "--help", env=env)
    assert done.returncode == 0 and done.stdout.startswith("usage: envoy-docker-shim"), done
    for command in COMMANDS:
        assert f"\n  {command} " in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_says_how_it_is_used(artifact: Path, env: dict[str, str], command: str) -> None:
    done = run(artifact, command, "--help", env=with_python(env, NEWEST))
    assert done.returncode == 0 and done.stdout.startswith(f"usage: envoy-docker-shim {command}"), done


@EACH
def test_it_prints_the_bootstrap(artifact: Path, env: dict[str, str], python: Path) -> None:
    done = run(artifact, "bootstrap", env=with_python(env, python))
    assert done.returncode == 0, done
    assert "dynamic_resources" in yaml.safe_load(done.stdout)


@EACH
def test_a_tcp_port_starts_and_stops(artifact: Path, env: dict[str, str], python: Path) -> None:
    address = ("127.0.0.1", free_port("tcp", "127.0.0.1"))
    with bound_socket("tcp", address) as listen:
        proxy = start_proxy(artifact, flags("tcp", address, BACKEND), listen, env=with_python(env, python))
    with proxy, socket.socket() as stranger:
        with pytest.raises(OSError, match="Address already in use"):
            stranger.bind(address)
        proxy.stop(signal.SIGKILL)


@EACH
def test_a_udp_port_is_relayed(artifact: Path, env: dict[str, str], python: Path) -> None:
    address = ("127.0.0.1", free_port("udp", "127.0.0.1"))
    with bound_socket("udp", ("127.0.0.1", 0)) as backend, socket.socket(type=socket.SOCK_DGRAM) as client:
        args = flags("udp", address, backend.getsockname())
        with start_proxy(artifact, args, env=with_python(env, python)):
            backend.settimeout(20)
            client.sendto(b"hello", address)
            assert backend.recv(100) == b"hello"


@EACH
def test_the_start_of_a_port_imports_next_to_nothing(
    artifact: Path, env: dict[str, str], python: Path, tmp_path: Path
) -> None:
    """Each import is paid for by every port of every container."""
    address = ("127.0.0.1", free_port("tcp", "127.0.0.1"))
    log = tmp_path / "imports"
    with socket.socket(socket.AF_UNIX) as registrar:  # without one the shim says so in syslog: one more
        registrar.bind(env["SHIM_SOCKET"])
        registrar.listen()
        timed = with_python(env, python, "-X", "importtime")
        proxy = start_proxy(artifact, flags("tcp", address, BACKEND), env=timed, stderr=log)
        proxy.stop(signal.SIGKILL)
    command = [str(python), "-IS", "-X", "importtime", "-c", "pass"]
    bare = subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stderr
    assert imported(log.read_text()) - imported(bare) <= IMPORT_BUDGET


def imported(text: str) -> set[str]:
    rows = [line.split("|") for line in text.splitlines() if line.startswith("import time:")]
    assert rows
    return {row[2].strip() for row in rows[1:]}


# -- where it cannot run -------------------------------------------------------------------------------


@pytest.mark.parametrize("python", OLD.values(), ids=OLD)
def test_on_an_older_python_every_way_in_says_what_is_needed(
    artifact: Path, env: dict[str, str], python: Path
) -> None:
    env = with_python(env, python)
    for command in ("version", "--help", *COMMANDS):
        done = run(artifact, command, env=env)
        assert done.returncode == 1 and "Traceback" not in done.stderr, done
        assert "needs Python 3.10 or newer, and python3 is 3." in done.stderr
    text = refusal(artifact, flags("tcp", ("127.0.0.1", 8080), BACKEND), env=env)
    assert text.startswith("envoy-docker-shim needs Python 3.10 or newer, and python3 is 3.")


def test_without_any_python_it_says_so(artifact: Path, env: dict[str, str]) -> None:
    assert run(artifact, "version", env=env).returncode == 1
    assert (
        f"needs python3 (3.10 or newer) in PATH, which is: {env['PATH']}"
        in run(artifact, "status", env=env).stderr
    )
    text = refusal(artifact, flags("tcp", ("127.0.0.1", 8080), BACKEND), env=env)
    assert text.strip().endswith(f"needs python3 (3.10 or newer) in dockerd's PATH, which is: {env['PATH']}")


def test_where_it_cannot_unpack_it_runs_all_the_same(artifact: Path, env: dict[str, str]) -> None:
    env = with_python(env, NEWEST)
    usual = run(artifact, "bootstrap", env=env)
    done = run(artifact, "bootstrap", env={**env, "SHIV_ROOT": "/proc/nowhere"})
    assert (done.returncode, done.stdout) == (0, usual.stdout)


def test_called_by_another_name_it_is_the_same(artifact: Path, env: dict[str, str], tmp_path: Path) -> None:
    name = tmp_path / "docker-proxy"
    name.symlink_to(artifact)
    env = with_python(env, NEWEST)
    assert run(name, "version", env=env).stdout == run(artifact, "version", env=env).stdout
    address = ("127.0.0.1", free_port("tcp", "127.0.0.1"))
    start_proxy(name, flags("tcp", address, BACKEND), env=env).stop(signal.SIGKILL)


def test_a_word_that_is_no_command_is_bad_usage(artifact: Path, env: dict[str, str]) -> None:
    env = with_python(env, NEWEST)
    for words in ((), ("serve",)):
        done = run(artifact, *words, env=env)
        assert (done.returncode, done.stdout) == (2, "")
        assert "usage: envoy-docker-shim" in done.stderr


# -- what is in it -------------------------------------------------------------------------------------


def test_it_is_small_and_pure_python(artifact: Path) -> None:
    assert artifact.stat().st_size < 4 * MEGABYTE
    with zipfile.ZipFile(artifact) as content:
        for name in content.namelist():
            assert not re.search(r"\.(so|pyd|dylib|pyc)(\.|$)", name)
            assert not content.read(name).startswith(b"\x7fELF"), name


def test_it_does_not_tell_where_it_was_built(artifact: Path) -> None:
    places = [str(place).encode() for place in (ROOT, ROOT / ".build", Path.home())]
    with zipfile.ZipFile(artifact) as content:
        parts = {name: content.read(name) for name in content.namelist()}
        parts["the start"] = artifact.read_bytes()[: min(info.header_offset for info in content.infolist())]
    assert [(name, place) for name, data in parts.items() for place in places if place in data] == []


def test_two_builds_in_two_places_give_the_same_bytes(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(build, (tmp_path / "one", tmp_path / "a longer path" / "two"))
    assert one == two


def build(directory: Path) -> bytes:
    leave = shutil.ignore_patterns(".git", ".build", "dist", "__pycache__", ".*_cache", ".hypothesis")
    shutil.copytree(ROOT, directory, ignore=leave, symlinks=True)
    venv = ROOT / ".build" / "venv"
    if venv.exists():
        (directory / ".build").mkdir()
        (directory / ".build" / "venv").symlink_to(venv)
    env = {**os.environ, "SHIV_ROOT": str(directory / ".build" / "unpacked")}
    subprocess.run(["./build.sh"], check=True, cwd=directory, env=env, capture_output=True, timeout=500)
    return (directory / "dist" / "envoy-docker-shim").read_bytes()
