"""A real Chromium without a screen, driven by its DevTools protocol over two pipes.

with Browser(host, host.dir / "browser") as browser:
    page = browser.open("http://127.0.0.1:7776/")
    assert page.evaluate("document.title") == "envoy-docker-shim"
    page.screenshot(Path("list.png"))

Debian's chromium-headless-shell, unpacked and not installed.  The protocol is at
https://chromedevtools.github.io/devtools-protocol/; over pipes, each message ends with a zero byte.
"""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from .debian import environment, unpacked
from .netns import Place
from .wait import eventually

PACKAGES = ("chromium-headless-shell", "fonts-inter", "fonts-dejavu-core")
PROGRAM = "usr/lib/chromium/chromium-headless-shell"
TIMEOUT = 20.0  # seconds for each answer of the browser
# It reads commands from descriptor 3 and writes to 4 (--remote-debugging-pipe).
_EXEC = """import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execv(sys.argv[3], sys.argv[3:])"""
_HIGH = 10
FLAGS = (
    *("--remote-debugging-pipe", "--headless", "--disable-gpu", "--no-first-run", "--hide-scrollbars"),
    *("--no-sandbox", "--disable-dev-shm-usage"),  # as root, and in a container's small /dev/shm
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-pings"),
    *("--force-color-profile=srgb", "--font-render-hinting=none", "--disable-lcd-text"),
)
# Whoever has no fonts of a desktop gets these, and screenshots are the same everywhere.
FONTS = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>{tree}/usr/share/fonts</dir><cachedir>{cache}</cachedir>
<alias binding="same"><family>system-ui</family><prefer><family>Inter</family></prefer></alias>
<alias binding="same"><family>sans-serif</family><prefer><family>Inter</family></prefer></alias>
<alias binding="same"><family>monospace</family><prefer><family>DejaVu Sans Mono</family></prefer></alias>
</fontconfig>"""
# What a key is called, as KeyboardEvent.key and .code; others are letters.
KEYS = {
    "Enter": ("Enter", 13, "\r"),
    "Escape": ("Escape", 27, ""),
    "Tab": ("Tab", 9, ""),
    "ArrowDown": ("ArrowDown", 40, ""),
    "ArrowUp": ("ArrowUp", 38, ""),
    "ArrowLeft": ("ArrowLeft", 37, ""),
    "ArrowRight": ("ArrowRight", 39, ""),
}


class Browser:
    """One process at a place, with a profile of its own in ``directory``.  A context manager."""

    def __init__(self, place: Place, directory: Path) -> None:
        """Raises Missing where it cannot be had."""
        tree = unpacked(*PACKAGES)
        directory.mkdir(parents=True)
        fonts = directory / "fonts.conf"
        fonts.write_text(FONTS.format(tree=tree, cache=directory / "fonts"))
        self._place = place
        self._directory = directory
        self._log = directory / "browser.log"
        self._env = {**environment(tree), "FONTCONFIG_FILE": str(fonts), "HOME": str(directory)}
        self._program = tree / PROGRAM
        self._number = 0
        self._unread = b""
        self._events: dict[str, list[dict[str, Any]]] = {}

    def __enter__(self) -> "Browser":
        with ExitStack() as passed:
            ends = []
            for ours in (1, 0):  # of the first pipe the writing end, of the second the reading one
                pipe = os.pipe()
                high = fcntl.fcntl(pipe[1 - ours], fcntl.F_DUPFD, _HIGH)
                passed.callback(os.close, high)
                os.close(pipe[1 - ours])
                ends.append((pipe[ours], high))
            (self._write, theirs_in), (self._read, theirs_out) = ends
            flags = [*FLAGS, f"--user-data-dir={self._directory / 'profile'}", "about:blank"]
            start: list[str | os.PathLike[str]] = [sys.executable, "-c", _EXEC]
            argv = [*start, str(theirs_in), str(theirs_out), self._program, *flags]
            self._process = self._place.popen(
                argv, log=self._log, env=self._env, pass_fds=(theirs_in, theirs_out)
            )
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(AssertionError, OSError):
            self.call("Browser.close")
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._write)
        os.close(self._read)
        shutil.rmtree(self._directory / "profile", ignore_errors=True)

    def open(self, url: str, width: int = 1280, height: int = 800) -> "Page":
        """A new tab in a profile of its own (no cookie of another's); returns before the page has loaded."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session, target)
        for domain in ("Page", "Runtime", "Network", "Log"):
            page.call(f"{domain}.enable")
        page.resize(width, height)
        page.go(url)
        return page

    def call(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        """A command's result.  Raises AssertionError where the browser refuses it or does not answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + TIMEOUT
        while True:
            answer = self._message(deadline)
            assert answer is not None, f"no answer to {method}: {self._log.read_text()[-2000:]}"
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return dict(answer["result"])
            self._keep(answer)

    def events(self, session: str) -> list[dict[str, Any]]:
        """What the browser told of a tab until now, oldest first."""
        while (message := self._message(time.monotonic())) is not None:
            self._keep(message)
        return self._events.get(session, [])

    def _keep(self, message: dict[str, Any]) -> None:
        self._events.setdefault(message.get("sessionId", ""), []).append(message)

    def _message(self, deadline: float) -> dict[str, Any] | None:
        while b"\0" not in self._unread:
            poller = select.poll()
            poller.register(self._read, select.POLLIN)
            if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
                return None
            data = os.read(self._read, 1 << 20)
            assert data, f"the browser has ended: {self._log.read_text()[-2000:]}"
            self._unread += data
        text, _, self._unread = self._unread.partition(b"\0")
        return dict(json.loads(text))


class Page:
    """One tab."""

    def __init__(self, browser: Browser, session: str, target: str) -> None:
        self._browser = browser
        self._session = session
        self._target = target

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **parameters)

    def close(self) -> None:
        self._browser.call("Target.closeTarget", targetId=self._target)

    def go(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def resize(self, width: int, height: int, scale: float = 1.0) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=False,
        )

    def prefer(self, **features: str) -> None:
        """Media features, with ``_`` for ``-``: prefers_color_scheme="dark"."""
        named = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.call("Emulation.setEmulatedMedia", features=named)

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page, awaited.  Raises AssertionError with its exception."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, expression: str, timeout: float = 10.0) -> Any:
        """The expression's value once it is true (of an element: True)."""
        asked = f"(async () => {{ const v = await ({expression}); return v instanceof Node || v }})()"
        return eventually(lambda: self.evaluate(asked), timeout, expression)

    def texts(self, selector: str) -> list[str]:
        """What all elements of a selector show, as people see it, each on one line."""
        found = self.evaluate(f"[...document.querySelectorAll({json.dumps(selector)})].map(e => e.innerText)")
        return [" ".join(text.split()) for text in found]

    def press(self, *keys: str) -> None:
        """Each key, down and up."""
        for key in keys:
            name, code, text = KEYS.get(key, (key, ord(key.upper()[0]), key))
            about = {"key": name, "windowsVirtualKeyCode": code, "code": name if key in KEYS else ""}
            self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **about)
            self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    def click(self, selector: str) -> None:
        """In the middle of an element, which is brought into sight."""
        where = self.evaluate(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            " e.scrollIntoView({block: 'center'}); const b = e.getBoundingClientRect();"
            " return [b.x + b.width / 2, b.y + b.height / 2] })()"
        )
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.call(
                "Input.dispatchMouseEvent", type=kind, x=where[0], y=where[1], button="left", clickCount=1
            )

    def screenshot(self, file: Path, whole: bool = False) -> None:
        """What is in sight, or the whole page, as a PNG."""
        answer = self.call(
            "Page.captureScreenshot", format="png", captureBeyondViewport=whole, **self._clip(whole)
        )
        file.write_bytes(base64.b64decode(answer["data"]))

    def _clip(self, whole: bool) -> dict[str, Any]:
        if not whole:
            return {}
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}

    def events(self, method: str) -> list[dict[str, Any]]:
        """The parameters of all events of that name."""
        told = self._browser.events(self._session)
        return [message["params"] for message in told if message.get("method") == method]

    def requested(self) -> set[str]:
        """Every URL that the page asked for."""
        return {event["request"]["url"] for event in self.events("Network.requestWillBeSent")}

    def complaints(self) -> list[str]:
        """Exceptions, and what the browser logged: violated policies and failed requests among it."""
        thrown = [str(event["exceptionDetails"]) for event in self.events("Runtime.exceptionThrown")]
        return thrown + [
            f"{event['entry']['source']}: {event['entry']['text']} {event['entry'].get('url', '')}"
            for event in self.events("Log.entryAdded")
        ]
