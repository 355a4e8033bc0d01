"""One host with a real dockerd, registrar, Envoy and Chromium; its containers are asked all the while."""

import os
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import or_cannot
from tests.harness.browser import Browser, Page
from tests.harness.docker import SERVE_FRONT
from tests.harness.load import Rounds
from tests.harness.netns import request
from tests.harness.registrar import API_PORT
from tests.harness.stack import Stack

HERE = f"http://127.0.0.1:{API_PORT}"
# Published ports, by their services.
HTTP = {"web": 8080, "checkout": 8081, "catalog": 8082, "search": 8083}
TCP, UDP, ODD = 6379, 5353, 8090
# Answers /?busy with a failure.
SEARCH = """#!/bin/sh
[ "$QUERY_STRING" != busy ] || printf 'Status: 503 Service Unavailable\\r\\n'
printf 'Content-Type: text/plain\\r\\n\\r\\nfound\\n'
"""


class Load(Rounds):
    """Asks every service in turn, some more often; ``asked`` counts whole answers, by service."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(stack.host, 0.04)
        self.asked: Counter[str] = Counter()

    def one(self, number: int) -> None:
        wave = 1 + number // 300 % 3  # so that charts have something to show
        if number % (5 - wave) == 0:
            self._ask("web")
        if number % (1 + wave) == 0:
            self._ask("catalog", "/missing" if number % 7 == 0 else "/")
        if number % 3 == 0:
            self._ask("search", "/?busy" if number % 45 == 0 else "/")
        if number % 5 == 0:
            with socket.create_connection(("127.0.0.1", TCP), 5) as peer:
                peer.sendall(b"ping" * wave)
                peer.recv(100)
            self.asked["cache"] += 1
        if number % 3 == 1:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
                peer.settimeout(5)
                peer.sendto(b"ping", ("127.0.0.1", UDP))
                peer.recv(100)
            self.asked["resolver"] += 1

    def _ask(self, service: str, path: str = "/") -> None:
        request(f"http://127.0.0.1:{HTTP[service]}{path}")
        self.asked[service] += 1


@pytest.fixture(scope="package")
def stack(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    log = tmp_path_factory.mktemp("log") / "access.log"
    settings = {
        "traces_url": "http://jaeger.example:16686/search?service={service}&env={environment}",
        "tracing": {"local": True},
        "access_log": str(log),
    }
    with Stack(artifact, "20.10", settings=settings) as running:
        dockerd = running.dockerd

        def about(name: str) -> dict[str, Any]:
            labels = {"ServiceName": name, "EnvironmentName": "shop"}
            return {"name": f"shop-{name}-1", "labels": labels}

        # web asks checkout, and that asks catalog: one trace.
        first = dockerd.run_http("catalog", "-p", f"{HTTP['catalog']}:80", **about("catalog"))
        networks = dockerd.api(f"/containers/{first}/json")["NetworkSettings"]["Networks"]
        there = f"http://{networks['bridge']['Gateway']}"
        for name, asks in (("checkout", "catalog"), ("web", "checkout")):
            running.get(HTTP[asks])
            dockerd.run_front(f"{there}:{HTTP[asks]}/", "-p", f"{HTTP[name]}:80", **about(name))
        cmd = ["sh", "-c", SERVE_FRONT.format(port=80), SEARCH]
        dockerd.run("-p", f"{HTTP['search']}:80", cmd=cmd, **about("search"))
        labels = {"ServiceName": "cache", "EnvironmentName": "shop", "ProxyMode": "tcp"}
        dockerd.run_tcp_echo("-p", f"{TCP}:7", name="shop-cache-1", labels=labels)
        dockerd.run_udp_echo("-p", f"{UDP}:53/udp", port=53, name="resolver")
        labels = {"ServiceName": "admin", "EnvironmentName": "shop", "ProxyMode": "htpp"}
        dockerd.run_http("admin", "-p", f"127.0.0.1:{ODD}:80", name="shop-admin-1", labels=labels)
        for port in (*HTTP.values(), ODD):
            running.get(port)
        yield running


@pytest.fixture(scope="package")
def load(stack: Stack) -> Iterator[Load]:
    with Load(stack) as running:
        yield running


@pytest.fixture(scope="package")
def browser(stack: Stack) -> Iterator[Browser]:
    with or_cannot(Browser, stack.host, stack.host.dir / "browser") as made:
        yield made


@pytest.fixture
def page(browser: Browser, load: Load) -> Iterator[Page]:
    """The list, live.  Whatever a test does with it, nothing goes elsewhere and nothing is complained of."""
    opened = browser.open(f"{HERE}/")
    opened.wait("document.querySelectorAll('.services tbody tr').length >= 7")
    opened.wait("document.getElementById('live-text').textContent === 'live'")
    yield opened
    assert all(url.startswith((f"{HERE}/", "about:")) for url in opened.requested())
    assert opened.complaints() == []
    opened.close()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Where screenshots go: $EDS_SCREENSHOTS, for the docs."""
    return Path(os.environ.get("EDS_SCREENSHOTS") or tmp_path)
