"""The bootstrap, given to a real Envoy."""

import json
import re
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from shim.core.endpoint import Endpoint
from shim.core.envoy.bootstrap import METADATA_KEY, bootstrap
from shim.core.envoy.tracing import Collector
from tests.envoy.serving import LOOPBACK
from tests.harness.backends import ThreadedServer, parse_headers, read_body, read_head
from tests.harness.envoy import Envoy, validate

pytestmark = pytest.mark.envoy

ANY_ADMIN = Endpoint(LOOPBACK, 0)


class EmptyRegistrar(ThreadedServer):
    """Answers the first request of each kind with nothing in it, holds the others; keeps what it was sent."""

    def __init__(self, host: str) -> None:
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.arrival = threading.Condition()
        super().__init__(host)

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
            log = envoy.log.read_text()
    assert requests[0][0] == "/v3/discovery:clusters"
    acknowledged = [path for path, body in requests if body.get("version_info") == "1"]
    assert sorted(acknowledged) == ["/v3/discovery:clusters", "/v3/discovery:listeners"]
    for _, body in requests:
        assert body["node"]["id"] == "id"
        assert body["node"]["metadata"][METADATA_KEY] == {"admin": "127.0.0.1:0"}
    assert re.findall(r".*\[(?:warning|error)\].*", log) == []


def test_envoy_waits_for_a_registrar_that_is_not_there_yet(tmp_path: Path) -> None:
    path = str(tmp_path / "xds.sock")
    envoy = Envoy(tmp_path / "envoy", bootstrap("id", "cluster", Endpoint(path=path), ANY_ADMIN))
    envoy.launch()
    try:
        envoy.wait_for(
            lambda: envoy.log.read_text().count("REST update for /v3/discovery:clusters failed") > 2
        )
        assert envoy.admin("/ready").strip() == "PRE_INITIALIZING"
    finally:
        envoy.stop()
