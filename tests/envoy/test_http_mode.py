"""Http mode on a real Envoy: each side sees what the other sent, and what we say we add.

So it is in mode auto for clients that speak HTTP.
"""

import re
import socket
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from shim.core.envoy.filters import HttpOptions
from tests.builders import make_cluster, make_listener
from tests.envoy.serving import LOOPBACK, make_service, static_bootstrap
from tests.harness.backends import H2cEcho, HttpEcho, dechunk
from tests.harness.clients import Address, connect, exchange, get, h2_exchange, head, read_answer
from tests.harness.envoy import Envoy

pytestmark = pytest.mark.envoy

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
CLIENTS_UUID = "7c5e3b8a-1111-9222-8333-444455556666"


class Served(NamedTuple):
    envoy: Envoy
    http: HttpEcho
    plain: Address
    trusting: Address
    h2c: Address
    refused: Address  # its backend's port is closed
    missing: Address  # its cluster is not there


@pytest.fixture(scope="module", params=["http", "auto"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    mode: str = request.param
    with HttpEcho(LOOPBACK) as http, H2cEcho(LOOPBACK) as h2c, socket.socket() as closed:
        assert isinstance(http, HttpEcho)
        closed.bind((LOOPBACK, 0))
        clusters = [
            make_cluster("http", "web-prod-80", *http.address),
            make_cluster("http", "grpc-prod-80", *h2c.address),
            make_cluster("http", "refused", LOOPBACK, closed.getsockname()[1]),
        ]
        wildcard = "0.0.0.0"
        listeners = [
            listener(mode, "plain", wildcard, "web-prod-80"),
            listener(mode, "trusting", wildcard, "web-prod-80", HttpOptions(trusted_hops=1)),
            listener(mode, "h2c", wildcard, "grpc-prod-80"),
            listener(mode, "refused", wildcard, "refused"),
            listener(mode, "missing", wildcard, "missing"),
        ]
        with Envoy(tmp_path_factory.mktemp("envoy"), static_bootstrap(listeners, clusters)) as envoy:
            ports = {name: (LOOPBACK, port) for name, (_, port) in envoy.listeners().items()}
            yield Served(envoy, http, **ports)


def listener(
    mode: str,
    name: str,
    ip: str,
    to: str,
    options: HttpOptions = HttpOptions(),  # noqa: B008 (immutable)
) -> dict[str, object]:
    return make_listener(mode, name, ip, 0, name, to, make_service(), options)


def lines(request_head: bytes) -> list[str]:
    return request_head.decode("latin-1").split("\r\n\r\n")[0].split("\r\n")


def added(request: bytes, seen: bytes) -> dict[str, str]:
    """The fields that a backend saw and the client did not send; all it sent must be there, byte for byte."""
    sent, got = lines(request), lines(seen)
    assert [line for line in sent if line not in got] == []
    assert got[0] == sent[0]
    return dict(line.split(": ", 1) for line in got if line not in sent)


def own_address() -> str:
    """An address of this machine, not loopback where it has another; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("203.0.113.1", 9))
        except OSError:
            return LOOPBACK
        return str(probe.getsockname()[0])


def test_a_backend_sees_what_the_client_sent_and_three_fields_more(served: Served) -> None:
    fields = (
        "X-Shouting: Ö ä  inner  spaces",
        "x-lower: 1",
        "X_Under: 2",
        "Cookie: a=b; c=d",
        "Cookie: e=f",
        "Via: 1.1 somewhere",
        "User-Agent: Test/1.0",
        "Accept-Encoding: gzip",
        "Forwarded: for=1.2.3.4",
        "X-Envoy-Foo: kept",
    )
    request = head("GET", "//a/%2F/../b;x=1/./c?x=%41&y=[]|", fields, host="Example.Test:8080")
    more = added(request, exchange(served.plain, request).body)
    assert set(more) == {"X-Forwarded-For", "X-Forwarded-Proto", "X-Request-Id"}
    assert more["X-Forwarded-Proto"] == "http"
    assert UUID.fullmatch(more["X-Request-Id"])


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"])
def test_methods_and_bodies_pass(served: Served, method: str) -> None:
    request = head(method, "/a", ["Content-Length: 5"])
    answer = exchange(served.plain, request + b"hello")
    seen, _, body = answer.body.partition(b"\r\n\r\n")
    assert set(added(request, seen)) == {"X-Forwarded-For", "X-Forwarded-Proto", "X-Request-Id"}
    assert body == b"hello"


def test_a_client_sees_what_the_backend_sent(served: Served) -> None:
    raw = (
        b"HTTP/1.1 299 Quite All Right\r\nServer: me/1\r\nX-Shouting: 1\r\nx-lower: 2\r\nSet-Cookie: a\r\n"
        b"Set-Cookie: b\r\nDate: yesterday\r\nX-Request-Id: mine\r\nVia: x\r\nETag: W/1\r\n"
        b"Content-Length: 2\r\n\r\n"
    )
    assert get(served.plain, "/raw/" + (raw + b"ok").hex()) == (raw, b"ok")


def test_only_a_missing_date_is_added_to_an_answer(served: Served) -> None:
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    got = lines(get(served.plain, "/raw/" + raw.hex()).head)
    assert got[:2] == lines(raw)
    assert [line.split(":")[0] for line in got[2:]] == ["Date"]


@pytest.mark.parametrize("sent", [CLIENTS_UUID, "not-a-uuid", "X"])
def test_a_clients_request_id_is_kept_as_it_is(served: Served, sent: str) -> None:
    request = head("GET", "/", [f"x-request-ID: {sent}"])
    assert set(added(request, exchange(served.plain, request).body)) == {
        "X-Forwarded-For",
        "X-Forwarded-Proto",
    }


def test_a_clients_trace_context_passes_when_we_trace_nothing(served: Served) -> None:
    fields = [
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "b3: 0",
        "tracestate: a=b",
    ]
    request = head("GET", "/", fields)
    assert len(added(request, exchange(served.plain, request).body)) == 3


def test_the_real_client_is_appended_to_x_forwarded_for(served: Served) -> None:
    address = own_address()  # of a client on loopback, Envoy says the machine's own address
    seen = get(
        (address, served.plain[1]), "/", ["X-Forwarded-For: 10.1.1.1", "X-Forwarded-Proto: https"]
    ).body
    assert f"X-Forwarded-For: 10.1.1.1,{address}" in lines(seen)
    assert "X-Forwarded-Proto: http" in lines(seen)


def test_a_trusted_hop_is_believed_about_the_protocol(served: Served) -> None:
    seen = get(served.trusting, "/", ["X-Forwarded-For: 10.1.1.1", "X-Forwarded-Proto: https"]).body
    assert "X-Forwarded-Proto: https" in lines(seen)
    assert not any(line.lower().startswith("x-envoy") for line in lines(seen))


def test_envoys_own_commands_are_not_taken_from_clients(served: Served) -> None:
    commands = ["x-envoy-upstream-rq-timeout-ms: 1", "x-envoy-retry-on: 5xx", "x-envoy-internal: true"]
    seen = get(served.plain, "/", commands).body
    assert not any(line.lower().startswith("x-envoy") for line in lines(seen))


def test_trailers_pass_both_ways(served: Served) -> None:
    request = head("POST", "/trailers", ["Transfer-Encoding: chunked", "Trailer: X-In", "TE: trailers"])
    answer = exchange(served.plain, request + b"5\r\nhello\r\n0\r\nX-In: yes\r\n\r\n")
    assert re.search(rb"\r\n0\r\nx-in: yes\r\n\r\n$", dechunk(answer.body))
    assert re.search(rb"\r\n0\r\nx-sum: \d+\r\n\r\n$", answer.body)


def test_100_continue_is_the_backends_to_say(served: Served) -> None:
    with connect(served.plain) as peer, peer.makefile("rb") as stream:
        peer.sendall(head("POST", "/a", ["Content-Length: 5", "Expect: 100-continue"]))
        assert read_answer(stream).status == 100
        peer.sendall(b"hello")
        assert read_answer(stream).body.endswith(b"\r\n\r\nhello")


def test_a_refused_expectation_reaches_the_client_in_place_of_100(served: Served) -> None:
    answer = exchange(served.plain, head("POST", "/refuse", ["Content-Length: 5", "Expect: 100-continue"]))
    assert (answer.status, answer.body) == (417, b"no")


@pytest.mark.parametrize("fields", [b"", b"Host: old.test\r\n"], ids=["no Host", "Host"])
def test_http_1_0_is_accepted(served: Served, fields: bytes) -> None:
    answer = exchange(served.plain, b"GET /a HTTP/1.0\r\n" + fields + b"\r\n")
    assert answer.head.startswith(b"HTTP/1.0 200") or answer.head.startswith(b"HTTP/1.1 200")
    assert answer.body.startswith(b"GET /a HTTP/1.1\r\nHost: " + (b"old.test" if fields else b"localhost"))


@pytest.mark.parametrize("protocol", ["websocket", "tcp", "SPDY/3.1"])
def test_an_upgraded_connection_carries_any_bytes_both_ways(served: Served, protocol: str) -> None:
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    with connect(served.plain) as peer, peer.makefile("rb") as stream:
        peer.sendall(head("GET", "/chat", ["Connection: Upgrade", f"Upgrade: {protocol}", key]))
        answer = read_answer(stream)
        assert answer.status == 101
        assert answer.headers["upgrade"] == protocol
        seen = bytes.fromhex(answer.headers["x-head"]).decode()
        assert key in seen
        assert f"Upgrade: {protocol}" in seen
        for data in (b"\x81\x85abcdhello", bytes(range(256)) * 64):
            peer.sendall(data)
            assert stream.read(len(data)) == data


def test_grpc_over_h2c_passes_with_its_trailers(served: Served) -> None:
    headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "grpc.test"),
        (":path", "/pkg.Service/Method"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ]
    answer = h2_exchange(served.h2c, headers, b"\0\0\0\0\5hello")
    assert answer.body == b"\0\0\0\0\5hello"
    assert answer.trailers == [("grpc-status", "0"), ("x-trailer", "yes")]
    seen = dict(answer.headers)["x-request-headers"]
    for name, value in headers:
        assert f'["{name}", "{value}"]' in seen
    assert "x-envoy" not in seen
    assert {name for name, _ in answer.headers} == {":status", "content-type", "x-request-headers", "date"}


def test_http_1_and_a_slow_answer_share_a_listener_with_h2c(served: Served) -> None:
    """The answer comes when the backend gives it; a second request is served meanwhile."""
    with connect(served.plain) as peer, peer.makefile("rb") as stream:
        peer.sendall(head("GET", "/slow/one"))
        assert get(served.plain).status == 200
        served.http.release("one")
        assert read_answer(stream).status == 200


def test_a_connection_is_kept_for_the_next_request(served: Served) -> None:
    with connect(served.plain) as peer, peer.makefile("rb") as stream:
        for path in ("/1", "/2", "/3"):
            peer.sendall(head("GET", path))
            assert read_answer(stream).body.startswith(f"GET {path} ".encode())


def test_large_heads_and_a_fragment_pass(served: Served) -> None:
    request = head("GET", "/a", [f"X-{n}: {'v' * 1000}" for n in range(240)])
    assert len(added(request, exchange(served.plain, request).body)) == 3
    raw = (
        b"HTTP/1.1 200 OK\r\n"
        + b"".join(b"X-%d: v\r\n" % n for n in range(300))
        + b"Content-Length: 0\r\n\r\n"
    )
    with_many = f"/raw/{raw.hex()}"
    assert get(served.plain, with_many).headers["x-299"] == "v"
    assert get(served.plain, "/a#part").body.startswith(b"GET /a HTTP/1.1\r\n")


def test_a_backend_that_says_its_length_twice_is_understood(served: Served) -> None:
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    answer = get(served.plain, "/raw/" + raw.hex())
    assert (answer.status, dechunk(answer.body)) == (200, b"ok")


@pytest.mark.parametrize("name", ["refused", "missing"])
def test_a_backend_that_is_not_there_is_a_503_with_nothing_of_envoys(served: Served, name: str) -> None:
    answer = get(getattr(served, name))
    assert answer.status == 503
    assert not any(field.startswith("x-envoy") or field == "server" for field in answer.headers)


def test_many_more_connections_than_envoys_default_limit_are_served_at_once(served: Served) -> None:
    peers = [connect(served.plain) for _ in range(1100)]
    try:
        for peer in peers:
            peer.sendall(head("GET", "/slow/crowd"))
        served.http.release("crowd")
        for peer in peers:
            with peer.makefile("rb") as stream:
                assert read_answer(stream).status == 200
    finally:
        for peer in peers:
            peer.close()


def test_prometheus_tells_services_apart(served: Served) -> None:
    get(served.plain)
    bucket = 'envoy_http_downstream_rq_time_bucket{envoy_http_conn_manager_prefix="plain",le="100"}'
    served.envoy.wait_for(lambda: bucket in served.envoy.admin("/stats/prometheus?usedonly"))
    text = served.envoy.admin("/stats/prometheus?usedonly")
    assert re.search(r'envoy_http_downstream_rq_total\{envoy_http_conn_manager_prefix="plain"\} [1-9]', text)
    assert re.search(r'envoy_cluster_upstream_rq_total\{envoy_cluster_name="web-prod-80"\} [1-9]', text)
    assert re.search(r'envoy_listener_downstream_cx_total\{envoy_listener_address="plain"\} [1-9]', text)
    assert (
        'envoy_cluster_upstream_rq_xx{envoy_response_code_class="2",envoy_cluster_name="web-prod-80"}' in text
    )


def test_envoy_has_nothing_to_warn_of(served: Served) -> None:
    log = served.envoy.log.read_text()
    assert [line for line in log.splitlines() if "[warning]" in line or "[error]" in line] == []
