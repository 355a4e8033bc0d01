"""Each fault put in: `doctor` names it and its cure; taken out: nothing."""

import os
import sys
from pathlib import Path

import pytest

from tests.docker.doctor.faults import FAULTS, Fault
from tests.docker.doctor.rig import BOUND, Rig
from tests.harness.engines import ROOT

pytestmark = [pytest.mark.docker, pytest.mark.envoy]


def test_nothing_is_found_on_a_healthy_host(rig: Rig) -> None:
    rig.is_healthy()
    done = rig.run()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("checks: nothing found\n") and done.stdout.count("\n") == 1


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_each_fault_is_found_and_nothing_else(rig: Rig, fault: Fault) -> None:
    with fault.put_in(rig):
        report = rig.report()
        assert report.code == 1
        assert fault.check in report.found, report
        assert all(word in report.found[fault.check] for word in fault.says), report
        assert report.found.keys() == {fault.check, *fault.also}, report
        assert report.took < BOUND
    rig.is_healthy()


def test_a_clock_that_is_wrong(rig: Rig) -> None:
    env = {"FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    report = rig.report(prefix=["faketime", "2001-01-01 00:00:00", rig.artifact], env=env)
    assert "the clock says 2001-01-01 00:0" in report.found["clock"], report
    assert report.found.keys() == {"clock"}


def test_no_room_to_unpack(rig: Rig) -> None:
    small = rig.host.dir / "small"
    small.mkdir()
    rig.host.run("mount", "-t", "tmpfs", "-o", "size=16m,mode=755", "tmpfs", small)
    report = rig.report(env={"SHIV_ROOT": str(small)})
    rig.host.run("umount", small)
    assert f"{small} has " in report.found["cache"], report
    assert report.found.keys() == {"cache"}


def test_shims_of_another_version(rig: Rig) -> None:
    """Seen by a doctor whose shims would park with another script."""
    newer = "import sys; from shim.proxy import park; park._TCP += ' # newer'; sys.argv[0] = sys.argv.pop(1)"
    code = f"{newer}; from shim.__main__ import main; sys.exit(main())"
    report = rig.report(prefix=[sys.executable, "-c", code, rig.artifact], env={"PYTHONPATH": str(ROOT)})
    assert report.found.keys() == {"old-shims"}, report
    assert "4 shims were started by another version" in report.found["old-shims"]


def test_without_root_it_says_what_it_could_not_look_at(rig: Rig) -> None:
    confined = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    readable = {"SHIV_ROOT": str(rig.host.dir / "nowhere")}
    place = Path("/var/tmp") / rig.host.name
    place.mkdir()
    try:
        os.chmod(place, 0o755)
        copy = place / "envoy-docker-shim"
        copy.write_bytes(rig.artifact.read_bytes())
        copy.chmod(0o755)
        report = rig.report(prefix=[*confined, copy], env=readable)
    finally:
        for file in place.iterdir():
            file.unlink()
        place.rmdir()
    assert report.code == 1
    assert {"input", "table", "egress"} <= report.unknown.keys(), report
    assert "docker" in report.found, report
