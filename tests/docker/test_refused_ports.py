"""`docker run` with a port that cannot be had: it fails at once, says why, and leaves nothing behind."""

import contextlib
import re
import socket
import time
from collections.abc import Iterator

import pytest

from tests.harness.docker import IMAGE
from tests.harness.engines import Engine
from tests.harness.host import CommandError
from tests.harness.stack import Stack
from tests.harness.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("clean")]

AT_ONCE = 3.0  # a `docker run` takes a third of a second; a proxy with no registrar to ask waits three


def refusal(stack: Stack, *options: str) -> str:
    """What `docker run` says; nothing of the attempt may stay but the container, `created`."""
    began = time.monotonic()
    with pytest.raises(CommandError) as failure:
        stack.dockerd.run(*options, name="refused")
    assert time.monotonic() - began < AT_ONCE
    assert stack.dockerd.docker("inspect", "--format", "{{.State.Status}}", "refused") == "created"
    assert stack.dockerd.proxies() == {}
    eventually(lambda: stack.registrar.bindings() == [], 5, "no binding is left")
    return str(failure.value)


@contextlib.contextmanager
def taken(stack: Stack, kind: socket.SocketKind, address: str, port: int) -> Iterator[None]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with stack.host.socket(family, kind) as squatter:
        if kind == socket.SOCK_STREAM:
            squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind((address, port))
        if kind == socket.SOCK_STREAM:
            squatter.listen()
        yield


def in_use(engine: Engine, proto: str, address: str) -> str:
    """docker-proxy's words up to engine 20.10; since 28 dockerd binds first, and says it itself."""
    if engine.name == "28":
        return f"failed to bind host port for {address}:172\\.17\\.0\\.2:80/{proto}: address already in use"
    return f"Error starting userland proxy: listen {proto} {address}: bind: address already in use"


@pytest.mark.parametrize(
    ("squatter", "published", "said"),
    [
        ("0.0.0.0", "8400", r"0\.0\.0\.0:8400"),
        ("127.0.0.1", "0.0.0.0:8400", r"0\.0\.0\.0:8400"),
        ("0.0.0.0", "127.0.0.1:8400", r"127\.0\.0\.1:8400"),
        ("::1", "8400", r"\[::\]:8400"),
    ],
)
def test_a_tcp_port_that_is_taken_is_refused_in_docker_proxys_words(
    stack: Stack, engine: Engine, squatter: str, published: str, said: str
) -> None:
    with taken(stack, socket.SOCK_STREAM, squatter, 8400):
        text = refusal(stack, "-p", f"{published}:80")
    assert re.search(in_use(engine, "tcp", said), text), text


def test_a_udp_port_that_is_taken_is_refused_in_docker_proxys_words(stack: Stack, engine: Engine) -> None:
    with taken(stack, socket.SOCK_DGRAM, "0.0.0.0", 8401):
        text = refusal(stack, "-p", "8401:80/udp")
    assert re.search(in_use(engine, "udp", r"0\.0\.0\.0:8401"), text), text


def test_the_ports_before_the_one_that_is_taken_are_given_back(stack: Stack) -> None:
    with taken(stack, socket.SOCK_STREAM, "0.0.0.0", 8403):
        refusal(stack, "-p", "8402:80", "-p", "8403:80", "-p", "8404:80/udp")
    stack.dockerd.docker("rm", "refused")
    stack.dockerd.run_http("free", "-p", "8402:80", "-p", "8403:80", "-p", "8404:80/udp")
    assert stack.get(8402).text == stack.get(8403).text == "free\n"


def test_a_container_starts_once_its_port_is_free_again(stack: Stack) -> None:
    with taken(stack, socket.SOCK_STREAM, "0.0.0.0", 8405):
        refusal(stack, "-p", "8405:80")
    stack.dockerd.docker("start", "refused")
    stack.binding(8405)


def test_a_port_on_any_address_and_on_one_of_them_cannot_be_published_both(stack: Stack) -> None:
    text = refusal(stack, "-p", "0.0.0.0:8408:80", "-p", "127.0.0.1:8408:81")
    assert re.search(r"address already in use|port is already allocated", text), text


def test_sctp_is_refused_and_the_user_is_told_what_to_do(stack: Stack) -> None:
    """Neither engine looks at it first: both start the proxy, whether or not the kernel has SCTP."""
    text = refusal(stack, "-p", "8406:80/sctp")
    assert "SCTP is not supported by envoy-docker-shim: publish the port as tcp or udp" in text


def test_a_port_of_another_container_is_refused_by_dockerd_itself(stack: Stack) -> None:
    stack.dockerd.run_http("first", "-p", "8407:80")
    with pytest.raises(CommandError, match=r"Bind for \S+:8407 failed: port is already allocated"):
        stack.dockerd.docker("run", "--name=second", "-p", "8407:80", IMAGE, "true")
    assert stack.get(8407).text == "first\n"
