"""Without root: plain local processes as backends, and this script starts the proxies as dockerd does."""

import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import yaml

from tests.demo.telling import say, show, show_stats, show_trace, stay_with_the_page
from tests.harness.backends import HttpEcho
from tests.harness.docker import UDP_ECHO
from tests.harness.engines import ROOT
from tests.harness.envoy import Envoy
from tests.harness.netns import request
from tests.harness.proxy import flags, start_proxy
from tests.harness.registrar import LoopbackRegistrar, free_ports
from tests.harness.wait import eventually

FILE = ROOT / "dist" / "envoy-docker-shim"
HERE = "127.0.0.1"


def show_all(stay: bool) -> None:
    say("not root, so no dockerd: this script starts the proxies, and a local process is the backend")
    with ExitStack() as clean:
        directory = Path(clean.enter_context(tempfile.TemporaryDirectory(prefix="eds-demo-")))
        backend = clean.enter_context(HttpEcho())
        port, udp, echo = free_ports(3)
        clean.enter_context(udp_echo(echo))
        registrar = LoopbackRegistrar(FILE, directory, tracing={"local": True})
        clean.enter_context(registrar.running())
        registrar.wait_until_healthy()
        bootstrap = yaml.safe_load(registrar.command("bootstrap").stdout)
        envoy = clean.enter_context(Envoy(directory / "envoy", bootstrap))
        say("the registrar and an Envoy run")
        env = {**registrar.env, "SHIM_SOCKET": str(registrar.socket)}
        for proto, front, back in (("tcp", port, backend.port), ("udp", udp, echo)):
            clean.enter_context(start_proxy(FILE, flags(proto, (HERE, front), (HERE, back)), env=env))
            say(f"a proxy for {proto} port {front}, started as dockerd starts it, says that it runs")
        say("there is no Docker to ask for labels: after 10 s the port is served without")
        reply = eventually(lambda: request(f"http://{HERE}:{port}/"), 20, "the port answers")
        show(f"curl http://{HERE}:{port}/ (the backend shows what it was sent)", reply.text)
        show_trace(registrar)
        show_stats(envoy)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(10)
            client.sendto(b"ping", (HERE, udp))
            show("a datagram to the UDP port, echoed", client.recv(100).decode())
        show("envoy-docker-shim status", registrar.command("status", check=False).stdout)
        if stay:
            stay_with_the_page(FILE, registrar, f"curl -s http://{HERE}:{port}/")


@contextmanager
def udp_echo(port: int) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", UDP_ECHO, str(port)])
    try:
        yield
    finally:
        process.kill()
        process.wait()
