"""The kernel's count of accepted connections, and texts that are none of the kernel's."""

import socket
from pathlib import Path

import pytest

from shim.host.arrivals import accepted


def test_each_accepted_connection_counts() -> None:
    before = accepted()
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()), server.accept()[0]:
            assert accepted() > before >= 0


@pytest.mark.parametrize(
    "text", ["", "Tcp: a b\n", "Tcp: a\nTcp: 1\n", "Tcp: PassiveOpens\nTcp: x\n", "Tcp: PassiveOpens\nTcp:\n"]
)
def test_what_nobody_can_tell_is_no_number(tmp_path: Path, text: str) -> None:
    file = tmp_path / "snmp"
    assert accepted(file) == -1
    file.write_text(text)
    assert accepted(file) == -1
