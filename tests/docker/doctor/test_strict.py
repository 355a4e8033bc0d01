"""`doctor` on a host without Docker's rules, where an older Engine does not keep internal networks in."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.engines import ROOT, find_engine
from tests.harness.stack import Stack
from tests.harness.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.envoy]


@pytest.fixture
def stack(artifact: Path) -> Iterator[Stack]:
    with Stack(artifact, find_engine("20.10"), neighbour=True) as running:
        running.dockerd.run_http("hello", "-p", "8080:80", name="web")
        running.get(8080)
        yield running


def found(stack: Stack) -> dict[str, dict[str, str]]:
    """Check -> its first finding."""
    report = json.loads(stack.registrar.command("doctor", "--json", check=False).stdout)
    assert not [check for check in report["checks"] if check["state"] == "unknown"]
    return {check["name"]: check["findings"][0] for check in report["checks"] if check["findings"]}


def test_egress_and_internal_networks(stack: Stack) -> None:
    seen: list[dict[str, dict[str, str]]] = [{}]

    def look() -> bool:
        seen[0] = found(stack)
        assert seen[0].keys() == {"egress"}, seen
        return True

    eventually(look, 20, "no way out, and else nothing", interval=0.3)
    assert "load the rules of docs/networking.md" in found(stack)["egress"]["cure"]
    (text,) = re.findall(r"```nft\n(.*?)```", (ROOT / "docs/networking.md").read_text(), re.DOTALL)
    stack.host.run("nft", "-f", "-", stdin=text.encode())
    assert found(stack) == {}
    stack.dockerd.docker("network", "create", "--internal", "inner")
    stack.dockerd.run("--network=inner", name="kept")
    (finding,) = found(stack).values()
    assert "inner (172.18.0.0/16) is internal, and reaches the outside world" in finding["what"]
    # The cure, as it is printed.
    stack.host.run("sh", "-c", finding["cure"].partition(", or ")[0])
    assert found(stack) == {}
