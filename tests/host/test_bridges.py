"""Which interface leads to an address: as the kernel says it, and where it says nothing that can be read."""

from pathlib import Path

import pytest

from shim.host import bridges
from shim.host.bridges import interface_to

ROUTES4 = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t0100CB0A\t0003\t0\t0\t0\t00000000\t0\t0\t0
docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
own0\t000311AC\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
"""
ROUTES6 = """\
fd000045000000000000000000000000 40 00000000000000000000000000000000 00 0 00000100 1 0 00000001 br-1
fe800000000000000000000000000000 40 00000000000000000000000000000000 00 0 00000100 1 0 00000001 eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 0 ffffffff 1 0 00200200 lo
"""


@pytest.mark.parametrize(
    ("ip", "interface"),
    [
        ("172.17.0.2", "docker0"),
        ("172.17.3.2", "own0"),
        ("10.0.0.1", "eth0"),
        ("fd00:45::2", "br-1"),
        ("fd00:46::2", ""),
    ],
)
def test_the_narrowest_route_decides(
    ip: str, interface: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in (("ROUTES4", ROUTES4), ("ROUTES6", ROUTES6)):
        (tmp_path / name).write_text(text)
        monkeypatch.setattr(bridges, name, tmp_path / name)
    assert interface_to(ip) == interface


@pytest.mark.parametrize("text", [None, "", "x", "a\nb c\n", "z" * 40])
def test_what_cannot_be_read_leads_nowhere(
    text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ROUTES4", "ROUTES6"):
        if text is not None:
            (tmp_path / name).write_text(text)
        monkeypatch.setattr(bridges, name, tmp_path / name)
    assert interface_to("172.17.0.2") == interface_to("fd00::2") == ""
