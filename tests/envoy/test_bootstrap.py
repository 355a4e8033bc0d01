"""The bootstrap, given to a real Envoy."""

import json
import re
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from shim.core.endpoint import Endpoint
from shim.core.envoy.bootstrap import METADATA_KEY, REGISTRAR_CLUSTER, bootstrap
from shim.core.envoy.tracing import Collector
from tests.envoy.serving import LOOPBACK
from tests.harness.backends import ThreadedServer, parse_headers, read_body, read_head
from tests.harness.envoy import Envoy, validate

pytestmark = pytest.mark.envoy

ANY_ADMIN = Endpoint(LOOPBACK, 0)


class EmptyRegistrar(ThreadedServer):
    """Answers the first request of each kind with nothing in it, holds the others; keeps what it was sent."""

    def __init__(self, host: str, port: int = 0) -> None:
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.arrival = threading.Condition()
        super().__init__(host, port)

    def serve(self, peer: socket.socket) -> None:
        with peer.makefile("rb") as stream:
            while head := read_head(stream):
                path = head.split(b" ", 2)[1].decode()
                body = json.loads(read_body(stream, parse_headers(head)))
                with self.arrival:
                    self.requests.append((path, body))
                    self.arrival.notify_all()
                if "version_info" not in body:
                    answer = json.dumps({"version_info": "1", "resources": []}).encode()
                    head_out = (
                        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                    )
                    peer.sendall(head_out % len(answer) + answer)

    def wait_for(self, count: int) -> list[tuple[str, dict[str, Any]]]:
        with self.arrival:
            assert self.arrival.wait_for(lambda: len(self.requests) >= count, 15), self.requests
            return list(self.requests)


@pytest.mark.parametrize(
    "registrar",
    [
        Endpoint("127.0.0.1", 7776),
        Endpoint("registrar.test", 7776),
        Endpoint(path="/run/envoy-docker-shim/xds.sock"),
    ],
)
@pytest.mark.parametrize(
    "collector",
    [None, Collector("otlp", Endpoint("10.0.0.1", 4317)), Collector("zipkin", Endpoint("zipkin.test", 9411))],
)
def test_envoy_accepts_it(registrar: Endpoint, collector: Collector | None, tmp_path: Path) -> None:
    said = validate(tmp_path, bootstrap("id", "cluster", registrar, Endpoint("127.0.0.1", 9901), collector))
    assert re.findall(r".*\[(?:warning|error|critical)\].*", said) == []


def test_envoy_polls_both_kinds_and_says_where_its_admin_is(tmp_path: Path) -> None:
    """A long poll: after the answers both come once more, and are held without Envoy taking offence."""
    with EmptyRegistrar(LOOPBACK) as registrar:
        assert isinstance(registrar, EmptyRegistrar)
        with Envoy(tmp_path, bootstrap("id", "cluster", Endpoint(*registrar.address), ANY_ADMIN)) as envoy:
            requests = registrar.wait_for(4)
            assert warnings(envoy) == []
    assert requests[0][0] == "/v3/discovery:clusters"
    acknowledged = [path for path, body in requests if body.get("version_info") == "1"]
    assert sorted(acknowledged) == ["/v3/discovery:clusters", "/v3/discovery:listeners"]
    for _, body in requests:
        assert body["node"]["id"] == "id"
        assert body["node"]["metadata"][METADATA_KEY] == {"admin": "127.0.0.1:0"}


def test_envoy_waits_for_a_registrar_that_is_not_there_yet(tmp_path: Path) -> None:
    """... and has no line of log for each time that it finds none."""
    path = str(tmp_path / "xds.sock")
    envoy = Envoy(tmp_path / "envoy", bootstrap("id", "cluster", Endpoint(path=path), ANY_ADMIN))
    envoy.launch()
    try:
        envoy.wait_for(lambda: asked_in_vain(envoy) >= 15)
        assert envoy.admin("/ready").strip() == "PRE_INITIALIZING"
        assert warnings(envoy) == []
    finally:
        envoy.stop()


def test_a_poll_goes_on_with_the_next_registrar_without_a_word(tmp_path: Path) -> None:
    """... where the one that held it has gone, and none is there for a while."""
    with EmptyRegistrar(LOOPBACK) as gone:
        assert isinstance(gone, EmptyRegistrar)
        envoy = Envoy(tmp_path, bootstrap("id", "cluster", Endpoint(*gone.address), ANY_ADMIN))
        envoy.start()
        try:
            gone.wait_for(4)
            gone.close()
            envoy.wait_for(lambda: asked_in_vain(envoy) >= 10)
            with EmptyRegistrar(*gone.address) as here:
                assert isinstance(here, EmptyRegistrar)
                found = {(path, body["version_info"]) for path, body in here.wait_for(2)}
            assert found == {("/v3/discovery:clusters", "1"), ("/v3/discovery:listeners", "1")}
            assert warnings(envoy) == []
        finally:
            envoy.stop()


def asked_in_vain(envoy: Envoy) -> int:
    """How often this Envoy found no registrar."""
    return sum(envoy.stats(f"cluster.{REGISTRAR_CLUSTER}.upstream_cx_connect_fail").values())


def warnings(envoy: Envoy) -> list[str]:
    return re.findall(r".*\[(?:warning|error|critical)\].*", envoy.log.read_text())
