"""Engines and the built file, and what happens where they cannot be had.

Tests marked `docker` or `machine` are skipped where they cannot run, with the reason; with CI or
EDS_REQUIRE_REAL set in the environment they fail there instead.
"""

import gc
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings

from tests.harness.engines import ENGINES, ROOT, Engine, Missing, find_engine, missing
from tests.harness.whole_run import SKIPPED

T = TypeVar("T")

# A shell that starts us in its background ignores SIGINT for us, and a shell that is born so cannot trap it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says how much else this machine does.
settings.register_profile("loaded", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("loaded")

REQUIRE_REAL = bool(os.environ.get("CI") or os.environ.get("EDS_REQUIRE_REAL"))


def cannot(reason: str) -> None:
    """Skip the test, or fail it where a skip must not pass."""
    if REQUIRE_REAL:
        pytest.fail(f"required here, and impossible: {reason}", pytrace=False)
    pytest.skip(reason)


def or_cannot(make: Callable[..., T], *args: Any) -> T:
    """What ``make`` makes of these; where it cannot be had here, the test is skipped, or fails."""
    try:
        return make(*args)
    except Missing as problem:
        cannot(str(problem))
        raise  # never reached


def pytest_collection_finish() -> None:
    """What there is now stays to the end: thousands of tests, which each collection would look through again.

    Tests that count descriptors collect each time, and a collection took 0.12 s.
    """
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in ("docker", "machine"):
        if item.get_closest_marker(marker) and (reasons := missing(machine=marker == "machine")):
            cannot("; ".join(reasons))


@pytest.fixture(scope="session", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each Docker engine in turn; give it to Dockerd."""
    return or_cannot(find_engine, request.param)


@pytest.fixture(scope="session")
def artifact() -> Path:
    """The file that users get: $EDS_ARTIFACT, or built now."""
    if given := os.environ.get("EDS_ARTIFACT"):
        path = Path(given)
    else:
        path = ROOT / "dist" / "envoy-docker-shim"
        built = subprocess.run(
            ["./build.sh"], check=False, cwd=ROOT, capture_output=True, text=True, timeout=600
        )
        if built.returncode:
            pytest.fail(f"./build.sh: {built.stderr or built.stdout}", pytrace=False)
    if not os.access(path, os.X_OK):
        pytest.fail(f"no built file at {path}", pytrace=False)
    return path.resolve()


@pytest.fixture(scope="session")
def with_envoy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file with an Envoy in it, built now in a copy of the tree."""
    directory = tmp_path_factory.mktemp("with-envoy") / "tree"
    leave = shutil.ignore_patterns(".git", ".build", "dist", "__pycache__", ".*_cache", ".hypothesis")
    shutil.copytree(ROOT, directory, ignore=leave, symlinks=True)
    (directory / ".build").mkdir()
    (directory / ".build" / "venv").symlink_to(ROOT / ".build" / "venv")
    env = {**os.environ, "SHIV_ROOT": str(directory / ".build" / "unpacked")}
    subprocess.run(["./build.sh", "--with-envoy"], check=True, cwd=directory, env=env, timeout=500)
    return directory / "dist" / "envoy-docker-shim-with-envoy"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Where the real programs are required, a skipped test is a failed run."""
    skipped = terminalreporter.stats.get("skipped", [])
    if REQUIRE_REAL and skipped:
        terminalreporter.write_line(f"{len(skipped)} tests were skipped, and none may be", red=True)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if REQUIRE_REAL and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = SKIPPED
