"""A container behind a real dockerd, on a throw-away machine (a network namespace of its own)."""

import tempfile

from tests.demo.telling import say, show, show_stats, show_trace, stay_with_the_page
from tests.harness.engines import ROOT, ensure_packages
from tests.harness.moments import FirstAnswer, StartEvent
from tests.harness.stack import Stack
from tests.harness.wait import eventually

FILE = ROOT / "dist" / "envoy-docker-shim"
WORD = "hello from the container"
PORT, FRONT_PORT, UDP_PORT = 8080, 8081, 5353


def show_all(stay: bool) -> None:
    say("dockerd, busybox and ip: installing what is missing")
    ensure_packages()
    with tempfile.TemporaryDirectory(prefix="eds-demo-") as directory:
        # A path of this machine's, which the page reaches from here.
        settings = {"tracing": {"local": True}, "api_address": f"unix:{directory}/api.sock"}
        # Docker keeps the firewall rules that it has by default; the neighbour is another host.
        with Stack(FILE, "20.10", "--iptables=true", settings=settings, neighbour=True) as stack:
            _show(stack)
            if stay:
                ask = f"ip netns exec {stack.host.name} curl -s http://127.0.0.1:{FRONT_PORT}/"
                stay_with_the_page(FILE, stack.registrar, ask)
                return
            stack.envoy.stop()
            _ask_from_outside(stack, "the same without Envoy, which was stopped: Docker's own way")


def _show(stack: Stack) -> None:
    say(f"dockerd {stack.dockerd.engine.version} runs with our file as its docker-proxy, beside Envoy")
    _start(stack)
    show(f"curl http://127.0.0.1:{PORT}/", stack.get(PORT).text)
    show(f"curl http://[::1]:{PORT}/", stack.get(PORT, "::1").text)
    _ask_from_outside(stack, "from another host, through Envoy")
    _ask_two(stack)
    show_stats(stack.envoy)
    _echo(stack)
    show("envoy-docker-shim status", stack.registrar.command("status").stdout)


def _start(stack: Stack) -> None:
    started, answered = StartEvent(stack.dockerd), FirstAnswer(stack.host, PORT)
    labels = {"ServiceName": "greeter", "EnvironmentName": "demo"}
    stack.dockerd.run_http(WORD, "-p", f"{PORT}:80", labels=labels)
    say(f"docker run -p {PORT}:80 --label ServiceName=greeter --label EnvironmentName=demo ...")
    pause = answered.wait() - started.wait()
    say(f"from Docker's start event to the first 200 through Envoy: {pause * 1000:.0f} ms")
    eventually(lambda: _led_to_envoy(stack), 10, "clients on the network are led to Envoy")


def _ask_from_outside(stack: Stack, how: str) -> None:
    address = stack.host.ip
    text = stack.get(PORT, address, source=stack.host.neighbour).text
    show(f"curl http://{address}:{PORT}/ {how}", text)


def _ask_two(stack: Stack) -> None:
    """A second container, which asks the first one."""
    labels = {"ServiceName": "front", "EnvironmentName": "demo"}
    stack.dockerd.run_front(
        f"http://{stack.dockerd.gateway()}:{PORT}/", "-p", f"{FRONT_PORT}:80", labels=labels
    )
    say(f"docker run -p {FRONT_PORT}:80 --label ServiceName=front ..., which asks greeter")
    show(f"curl http://127.0.0.1:{FRONT_PORT}/", stack.get(FRONT_PORT).text)
    show_trace(stack.registrar, 2)


def _led_to_envoy(stack: Stack) -> bool:
    return all(b["network"]["by"] == "envoy" for b in stack.registrar.bindings())


def _echo(stack: Stack) -> None:
    stack.dockerd.run_udp_echo("-p", f"{UDP_PORT}:53/udp", port=53)
    answer = eventually(lambda: stack.host.udp_ask("127.0.0.1", UDP_PORT, b"ping"), 10, "an echo")
    show(f"docker run -p {UDP_PORT}:53/udp ..., and a datagram to it, echoed", answer.decode())
