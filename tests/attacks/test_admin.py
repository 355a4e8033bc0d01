"""What the registrar asks an Envoy's admin, and what an Envoy's admin does for whoever asks."""

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.rig import NOBODY, Rig, peak_memory
from tests.harness.netns import request
from tests.harness.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.envoy]

MEGABYTES = 35


@pytest.fixture(scope="module")
def rig(artifact: Path) -> Iterator[Rig]:
    with Rig(artifact) as running:
        running.publish(8100)
        running.get(8100)
        yield running


class FakeAdmin:
    """Says ``{},{},...`` to whoever asks, on a socket of that user's."""

    def __init__(self, rig: Rig, user: int) -> None:
        self.asked = 0
        self._socket = rig.host.call(self._listen, user)
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @staticmethod
    def _listen(user: int) -> socket.socket:
        os.seteuid(user)
        try:
            return socket.create_server(("127.0.0.1", 0))
        finally:
            os.seteuid(0)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.asked += 1
            with connection:
                try:
                    connection.recv(65536)
                    size = MEGABYTES << 20
                    connection.sendall(
                        b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n{"configs":[{}' % (size + 16)
                    )
                    connection.sendall(b",{}" * (size // 3) + b"  ]}")
                except OSError:
                    pass

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()


@pytest.mark.parametrize("poses", [False, True])
def test_no_refusal_of_others_makes_the_registrar_ask_them(rig: Rig, poses: bool) -> None:
    admin = FakeAdmin(rig, NOBODY)
    node = {
        "id": rig.node if poses else "made-up",
        "metadata": {"envoy-docker-shim": {"admin": admin.address}},
    }
    # An Envoy that refuses all it gets, with admins of others.
    with rig.attack("pose", 4, node=node, agree=False):
        for _ in range(5):
            eventually(lambda: refused_by(rig, NOBODY), 20, "a refusal")
            rig.keep_busy(1)  # by then it has been looked into, and there is more to refuse
    admin.close()
    peak = peak_memory(rig.registrar.pid)
    print(f"\nasked {admin.asked} times, {peak:.0f} MB at the peak")
    assert admin.asked == 0
    assert peak < 128


def refused_by(rig: Rig, user: int) -> bool:
    return any(envoy["refuses"] for envoy in rig.status()["envoys"] if envoy["user"] == user)


def test_a_web_page_cannot_end_envoy(rig: Rig) -> None:
    """A form of any site's posts without being asked."""
    headers = {"Origin": "http://evil.example", "Content-Type": "application/x-www-form-urlencoded"}
    said = {}
    for path in ("/healthcheck/fail", "/logging?level=trace", "/reset_counters", "/runtime_modify?a=b",
                 "/drain_listeners", "/cpuprofiler?enable=y", "/quitquitquit"):  # fmt: skip
        reply = rig.host.call(request, f"http://127.0.0.1:9901{path}", "POST", headers=headers, body=b"")
        said[path] = reply.status
    print(f"\n{said}")
    assert set(said.values()) == {403}
    assert rig.get(8100) < 1


def test_what_is_to_be_read_in_the_admin_is_there(rig: Rig) -> None:
    for path in ("/ready", "/stats", "/stats?format=json&filter=lds", "/stats/prometheus?usedonly",
                 "/clusters", "/listeners?format=json", "/server_info", "/config_dump"):  # fmt: skip
        assert rig.host.http_get(f"http://127.0.0.1:9901{path}").status == 200, path


def test_the_reason_of_a_refusal_is_still_known(artifact: Path) -> None:
    """Envoy's own admin is asked: here of one that may not have a port below 1024."""
    with Rig(artifact, envoy_user=101) as rig, rig.publish(80):
        found = eventually(
            lambda: [b["rejected_by"] for b in rig.registrar.bindings() if b["state"] == "rejected"], 20
        )
        assert list(found[0]) == [rig.node] and "Permission denied" in found[0][rig.node]
