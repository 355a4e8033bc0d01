"""A thousand services: the page is there within two seconds, and stays quick.

The registrar's API over a thousand leases, without their thousand shims.
"""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from shim.registrar.api import Api
from shim.registrar.http_server import HttpServer
from tests.builders import QuietState, make_binding, make_labelled, make_lease
from tests.conftest import or_cannot
from tests.harness.browser import Browser
from tests.harness.netns import Place

MANY = 1000


class Registrar:
    """An API in a thread of its own.  A context manager."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/"
        self._ended = trio.Event()
        self._token: trio.lowlevel.TrioToken | None = None
        self._thread = threading.Thread(target=trio.run, args=(self._serve,))

    async def _serve(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        state = QuietState("auto")
        for number in range(MANY):
            name = f"{('web', 'cart', 'mail', 'search')[number % 4]}-{number}"
            lease = make_lease(number + 1, make_binding(port=2000 + number), now=state.now())
            state.registry.add(lease)
            state.label((lease, *make_labelled(name, "shop", container=f"{name}-1")))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(HttpServer(Api(state).handle, lambda connection: None).serve, self._socket)
            await self._ended.wait()
            nursery.cancel_scope.cancel()

    def __enter__(self) -> "Registrar":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._token is not None
        self._token.run_sync_soon(self._ended.set)
        self._thread.join(10)
        self._socket.close()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    with or_cannot(Browser, Place(), tmp_path / "browser") as made:
        yield made


@pytest.mark.alone
def test_a_thousand_services_are_there_within_two_seconds(browser: Browser) -> None:
    with Registrar() as registrar:
        page = browser.open("about:blank")
        began = time.monotonic()
        page.go(registrar.url)
        page.wait("document.querySelectorAll('.services tbody tr').length > 20")
        page.press("/", *"mail-54")
        page.wait("document.querySelectorAll('.services tbody tr').length === 3")  # 54, 542, 546
        assert time.monotonic() - began < 2
        assert page.texts(".found") == ["3 of 1,000"]
        page.press("Escape", "Escape")
        # Only what is in sight exists; the rest is there for who scrolls, and for who listens.
        rows = "document.querySelectorAll('.services tbody tr').length"
        assert page.evaluate(rows) < 100
        assert page.evaluate("document.querySelector('.services').ariaRowCount") == "1001"
        page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
        page.wait("[...document.querySelectorAll('.services tbody tr')].at(-1).ariaRowIndex === '1001'")
        assert page.evaluate(rows) < 100
        # An update takes less than a twentieth of a second.
        page.evaluate(
            "window.long = []; new PerformanceObserver(l => long.push(...l.getEntries()))"
            ".observe({type: 'longtask'})"
        )
        asked = "performance.getEntriesByType('resource').filter(e => e.name.endsWith('/services')).length"
        before = page.evaluate(asked)
        page.wait(f"{asked} > {before} + 1")
        assert page.evaluate("long.filter(task => task.duration > 100).length") == 0
        assert page.complaints() == []
