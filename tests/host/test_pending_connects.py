"""Connections that are being made are ended, and no others."""

import errno
import os
import socket
from collections.abc import Iterator

import pytest

from shim.host.pending_connects import abort_connects

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the kernel ends connections for root only")

FULL, OTHER = "127.77.3.1", "127.77.3.2"  # of nobody else's on this machine


@pytest.fixture
def making() -> Iterator[dict[str, list[socket.socket]]]:
    """By address, clients of servers that accept nobody: the first of each is connected, others wait."""
    sockets = []
    made: dict[str, list[socket.socket]] = {}
    for ip in (FULL, OTHER):
        server = socket.create_server((ip, 0), backlog=0)
        clients = [socket.socket() for _ in range(4)]
        for client in clients:
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        sockets += [server, *clients]
        made[ip] = clients
    yield made
    for sock in sockets:
        sock.close()


def test_those_that_are_being_made_to_these_addresses_are_ended(
    making: dict[str, list[socket.socket]],
) -> None:
    assert abort_connects(lambda ip: ip == FULL) == 3
    assert [errors(client) for client in making[FULL]] == [0, *3 * [errno.ECONNABORTED]]
    assert [errors(client) for client in making[OTHER]] == 4 * [0]
    assert abort_connects(lambda ip: ip == FULL) == 0


def errors(client: socket.socket) -> int:
    return client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
