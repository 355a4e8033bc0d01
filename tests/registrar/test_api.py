"""The API over a State without Docker and without a network: who is answered, what, and when."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from shim.core.binding import Binding
from shim.core.discovery.sessions import Session
from shim.core.envoy.modes import Serving
from shim.core.leases.lease import Lease
from shim.core.service import Service
from shim.registrar.api import FRESH_TIMEOUT, Api
from shim.registrar.http_connection import Request, Response
from tests.builders import QuietState, in_trio, make_binding, make_labelled, make_lease, make_poll

LISTENERS, CLUSTERS = "/v3/discovery:listeners", "/v3/discovery:clusters"
WEB = make_labelled("web", "dev", problem="odd")


class Registrar:
    """An Api over a State, and Envoys that ask it."""

    def __init__(self, settled: bool = True) -> None:
        self.state = QuietState(settled=settled)
        self.api = Api(self.state)

    async def get(
        self, target: str, method: str = "GET", host: str = "localhost", body: bytes = b""
    ) -> Response:
        return await self.api.handle(Request(method, target, {"host": host}, body, 1))

    async def poll(self, path: str, version: str = "", connection: int = 1, **more: Any) -> Response:
        body = make_poll(version, **more)
        return await self.api.handle(Request("POST", path, {"host": "envoy"}, body, connection))

    def publish(
        self, binding: Binding | None = None, labelled: tuple[Service, Serving] | None = WEB
    ) -> Lease:
        lease = make_lease(len(self.state.registry) + 1, binding, pid=4711, now=self.state.now())
        self.state.registry.add(lease)
        if labelled is not None:
            self.state.label((lease, *labelled))
        return lease


def document(response: Response) -> Any:
    return json.loads(response.body if isinstance(response.body, bytes) else b"".join(response.body))


async def version_of(answering: Awaitable[Response]) -> str:
    response = await answering
    assert response.status == 200
    return str(document(response)["version_info"])


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/healthz", 200),
        ("HEAD", "/healthz", 200),
        ("GET", "/healthz?x=1", 200),
        ("POST", "/healthz", 405),
        ("DELETE", "/bindings", 405),
        ("GET", "/", 200),
        ("GET", "/?x=1", 200),
        ("HEAD", "/page/main.js", 200),
        ("POST", "/", 405),
        ("POST", "/page/main.js", 405),
        ("GET", "/page/", 404),
        ("GET", "/page/../api.py", 404),
        ("GET", "/page/%2e%2e/api.py", 404),
        ("GET", "/bindings/", 404),
        ("GET", "//bindings", 404),
        ("GET", "http://localhost/bindings", 404),
        ("GET", "*", 404),
        ("GET", LISTENERS, 405),
        ("POST", "/v3/discovery:secrets", 404),
        ("POST", "/v3/discovery:", 404),
        ("POST", "/v2/discovery:listeners", 404),
    ],
)
@in_trio
async def test_what_is_not_there_is_refused_in_json(method: str, target: str, status: int) -> None:
    response = await Registrar().get(target, method)
    assert response.status == status
    if status >= 400:
        assert list(document(response)) == ["error"]


@pytest.mark.parametrize(
    "body",
    [
        *[b"", b"{", b"[]", b"7", b"null", b'"text"', b"{}", b"\xff", b"NaN", b"1" * 5000, b"[" * 100_000],
        *[b'{"node":7}', b'{"node":[]}', b'{"node":"id"}', b'{"node":{}}', b'{"node":{"id":""}}'],
        *[
            b'{"node":{"id":7}}',
            b'{"node":{"id":"n"},"version_info":7}',
            b'{"node":{"id":"n"},"version_info":null}',
        ],
    ],
)
@pytest.mark.parametrize("kind", ["listeners", "clusters", "endpoints"])
@in_trio
async def test_what_is_no_discovery_request_is_refused_and_makes_no_session(body: bytes, kind: str) -> None:
    registrar = Registrar()
    response = await registrar.get(f"/v3/discovery:{kind}", "POST", body=body)
    assert (response.status, len(registrar.state.sessions)) == (400, 0)
    assert isinstance(response.body, bytes) and len(response.body) < 1000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters()),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "metadata", "x"]), inner)
    ),
    max_leaves=5,
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(("node", "version_info", "resource_names"), JSON)))
@in_trio
async def test_any_question_is_answered(question: dict[str, Any]) -> None:
    for kind in ("listeners", "clusters", "endpoints"):
        body = json.dumps(question).encode()
        response = await Registrar().get(f"/v3/discovery:{kind}", "POST", body=body)
        assert response.status in (200, 400)


@in_trio
async def test_bindings_tell_everything_about_a_port() -> None:
    registrar = Registrar()
    registrar.publish()
    registrar.publish(make_binding(port=9090, proto="udp"), None)
    serving, pending = document(await registrar.get("/bindings"))
    since = serving.pop("since")
    assert since.endswith("+00:00") and len(since) == 25
    serving.pop("orphan")
    assert serving == {
        "protocol": "tcp",
        "address": "0.0.0.0",
        "port": 8080,
        "backend": "172.17.0.2:80",
        "state": "published",
        "mode": "http",
        "mode_by": "default",
        "service": "web",
        "environment": "dev",
        "container": "web-1",
        "container_id": "0123456789ab",
        "image": "shop/web:1",
        "labels": {
            "ServiceName": "web",
            "EnvironmentName": "dev",
            "ProxyMode": "http",
            "ClientAddress": "off",
            "AccessLog": "off",
            "Tracing": "on",
            "Sampling": "",
            "IdleTimeout": "off",
            "RequestTimeout": "off",
        },
        "cluster": "web-dev-8080",
        "network": {"by": "docker", "why": "firewall: off"},
        "client_address": None,
        "acknowledged_by": [],
        "rejected_by": {},
        "problem": "odd",
        "pid": 4711,
    }
    assert (pending["protocol"], pending["mode"], pending["service"], pending["labels"]) == (
        "udp",
        "udp",
        None,
        {},
    )


@in_trio
async def test_a_binding_is_serving_once_an_envoy_has_it_and_rejected_when_it_says_so() -> None:
    registrar = Registrar()
    registrar.publish()

    async def seen() -> tuple[str, list[str]]:
        binding = document(await registrar.get("/bindings"))[0]
        return binding["state"], binding["acknowledged_by"]

    version = await version_of(registrar.poll(LISTENERS))
    assert await seen() == ("published", [])
    with trio.move_on_after(1):
        await registrar.poll(LISTENERS, version)
    assert await seen() == ("serving", ["envoy-1"])
    (session,) = registrar.state.sessions
    session.rejected = {"tcp/0.0.0.0:8080": "in use"}
    assert await seen() == ("rejected", [])
    assert document(await registrar.get("/status"))["envoys"][0]["rejected"] == session.rejected


async def held(
    registrar: Registrar, poll: Callable[[], Awaitable[Response]], change: Callable[[], object]
) -> tuple[Response, float]:
    """The answer to a poll that is held until ``change``, and how long after that it came."""
    answers: list[tuple[Response, float]] = []

    async def ask() -> None:
        answers.append((await poll(), trio.current_time()))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(registrar.state.keep_time)
        nursery.start_soon(ask)
        await trio.sleep(3)
        assert not answers
        began = trio.current_time()
        change()
        await trio.sleep(2)
        nursery.cancel_scope.cancel()
    return answers[0][0], answers[0][1] - began


@pytest.mark.parametrize("path", [LISTENERS, CLUSTERS])
@in_trio
async def test_a_held_poll_is_answered_the_moment_that_something_changes(path: str) -> None:
    registrar = Registrar()
    version = await version_of(registrar.poll(path))
    response, after = await held(registrar, lambda: registrar.poll(path, version), registrar.publish)
    assert (response.status, len(document(response)["resources"])) == (200, 1)
    assert after <= 1.0  # a listener waits that long for Envoy to know its cluster


@in_trio
async def test_a_poll_with_nothing_to_tell_ends_with_304_well_before_envoy_gives_up() -> None:
    registrar = Registrar()
    version = await version_of(registrar.poll(LISTENERS))
    began = trio.current_time()
    response = await registrar.poll(LISTENERS, version)
    assert (response.status, response.body) == (304, b"")
    assert trio.current_time() - began == pytest.approx(45)


@in_trio
async def test_an_envoy_that_gives_up_early_is_held_for_half_as_long_from_then_on() -> None:
    registrar = Registrar()
    version = await version_of(registrar.poll(LISTENERS))
    with trio.move_on_after(1.0):  # Envoy's default request_timeout
        await registrar.poll(LISTENERS, version)
    began = trio.current_time()
    assert (await registrar.poll(LISTENERS, version)).status == 304
    assert trio.current_time() - began == pytest.approx(0.5)


@in_trio
async def test_a_refused_answer_is_given_again_after_a_second_and_reported() -> None:
    registrar = Registrar()
    send, receive = trio.open_memory_channel[Session](1)
    registrar.api.report_nacks_to(send)
    registrar.publish()
    first = await version_of(registrar.poll(LISTENERS))
    began = trio.current_time()
    assert await version_of(registrar.poll(LISTENERS)) not in ("", first)
    assert trio.current_time() - began == pytest.approx(1)
    assert receive.receive_nowait().node == "envoy-1"
    began = trio.current_time()
    await registrar.poll(LISTENERS)  # the channel is full or not: nothing is held up by it
    await registrar.poll(LISTENERS)
    assert trio.current_time() - began == pytest.approx(2 + 4)


@in_trio
async def test_before_docker_has_answered_an_envoy_with_a_configuration_keeps_it() -> None:
    registrar = Registrar(settled=False)
    response = await registrar.poll(LISTENERS, "an old version")
    assert response.status == 304
    assert trio.current_time() == pytest.approx(45)
    fresh = Registrar(settled=False)
    answer, after = await held(fresh, lambda: fresh.poll(LISTENERS, "an old version"), fresh.state.settle)
    assert answer.status == 200
    assert after == pytest.approx(0)


@in_trio
async def test_before_docker_has_answered_an_envoy_without_any_waits_ten_seconds_only() -> None:
    registrar = Registrar(settled=False)
    assert (await registrar.poll(LISTENERS)).status == 200
    assert trio.current_time() == pytest.approx(FRESH_TIMEOUT)


@in_trio
async def test_endpoints_are_those_of_the_clusters_that_are_named_or_of_all() -> None:
    registrar = Registrar()
    registrar.publish()
    registrar.publish(make_binding(port=9090), make_labelled("api"))

    async def names(**more: Any) -> set[str]:
        answer = document(await registrar.poll("/v3/discovery:endpoints", **more))
        return {resource["cluster_name"] for resource in answer["resources"]}

    assert await names() == await names(resource_names=[]) == {"web-dev-8080", "api-9090"}
    assert await names(resource_names=["api-9090", "x"]) == {"api-9090"}


@in_trio
async def test_a_held_poll_keeps_nothing_of_what_was_asked() -> None:
    registrar = Registrar()
    registrar.publish()
    version = await version_of(registrar.poll(CLUSTERS))
    body = bytearray(make_poll(version, resource_names=["x" * 1000] * 100))
    request = Request("POST", CLUSTERS, {"host": "envoy"}, body, 1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(registrar.api.handle, request)
        await trio.testing.wait_all_tasks_blocked()
        assert not body
        nursery.cancel_scope.cancel()


@in_trio
async def test_who_is_not_trusted_is_answered_and_nothing_depends_on_him() -> None:
    registrar = Registrar()
    registrar.publish()
    mallory, envoy = 65534, 0

    async def poll(user: int, connection: int, version: str = "") -> Response:
        body = make_poll(version, node="the same")
        return await registrar.api.handle(Request("POST", LISTENERS, {}, body, connection, user))

    await trio.sleep(2)
    registrar.state.touch()
    told = {user: await version_of(poll(user, user)) for user in (mallory, envoy)}
    assert told[mallory] == told[envoy]
    assert {session.user: session.trusted for session in registrar.state.sessions} == {
        mallory: False,
        envoy: True,
    }
    async with trio.open_nursery() as nursery:
        nursery.start_soon(poll, mallory, mallory, told[mallory])
        await trio.testing.wait_all_tasks_blocked()
        assert registrar.state.sessions.processed() == (-1, -1)
        nursery.start_soon(poll, envoy, envoy, told[envoy])
        await trio.testing.wait_all_tasks_blocked()
        assert registrar.state.sessions.processed()[1] == registrar.state.registry.listeners.sequence
        (binding,) = document(await registrar.get("/bindings"))
        assert binding["acknowledged_by"] == ["the same"]
        nursery.cancel_scope.cancel()
    # One that goes takes no other of that name with it.
    registrar.state.connection_closed(mallory)
    assert [session.user for session in registrar.state.sessions] == [envoy]
