"""One host with a real dockerd, registrar, Envoy and Chromium; its containers are asked all the while."""

import itertools
import os
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import cannot
from tests.harness.browser import Browser, Page
from tests.harness.engines import Missing
from tests.harness.netns import request
from tests.harness.registrar import API_PORT
from tests.harness.stack import Stack

HERE = f"http://127.0.0.1:{API_PORT}"
# Published ports, by their services.
HTTP = {"web": 8080, "checkout": 8081, "catalog": 8082, "search": 8083}
TCP, UDP, ODD = 6379, 5353, 8090


class Load:
    """Asks every service in turn, some more often; ``asked`` counts whole answers, by port."""

    def __init__(self, stack: Stack) -> None:
        self.asked: Counter[int] = Counter()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=stack.host.call, args=(self._run,), daemon=True)

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(10)

    def _run(self) -> None:
        for number in itertools.count():
            if self._ended.wait(0.02):
                return
            wave = 1 + number // 400 % 3  # so that charts have something to show
            for i, port in enumerate(HTTP.values()):
                if number % (1 + i * wave) == 0:
                    request(f"http://127.0.0.1:{port}/{'missing' if number % 7 == 0 and i else ''}")
                    self.asked[port] += 1
            if number % 5 == 0:
                with socket.create_connection(("127.0.0.1", TCP), 5) as peer:
                    peer.sendall(b"ping" * wave)
                    peer.recv(100)
                self.asked[TCP] += 1
            if number % 3 == 0:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
                    peer.settimeout(5)
                    peer.sendto(b"ping", ("127.0.0.1", UDP))
                    peer.recv(100)
                self.asked[UDP] += 1


@pytest.fixture(scope="package")
def stack(artifact: Path) -> Iterator[Stack]:
    settings = {"traces_url": "http://jaeger.example:16686/search?service={service}&env={environment}"}
    with Stack(artifact, "20.10", settings=settings) as running:
        dockerd = running.dockerd
        for name, port in HTTP.items():
            labels = {"ServiceName": name, "EnvironmentName": "shop"}
            dockerd.run_http(name, "-p", f"{port}:80", name=f"shop-{name}-1", labels=labels)
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
    try:
        made = Browser(stack.host, stack.host.dir / "browser")
    except Missing as problem:
        cannot(str(problem))
        raise  # never reached
    with made:
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
