"""`envoy-docker-shim page`: a real registrar's page by its Unix socket, for who has the link."""

import http.client
import os
import re
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.harness.netns import HttpReply
from tests.harness.registrar import LoopbackRegistrar
from tests.harness.wait import eventually


class Relay:
    """The command while it runs, and what its browsers get."""

    def __init__(self, registrar: LoopbackRegistrar, log: Path) -> None:
        self._log = log
        self.link = eventually(self._printed, 20, "a link is printed")
        self.port = int(re.findall(r":(\d+)/", self.link)[0])
        self.cookie = ""

    def _printed(self) -> str:
        found: list[str] = re.findall(r"http://\S+", self._log.read_text())
        return found[-1] if found else ""

    def ask(self, target: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> HttpReply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, target, headers={"Cookie": self.cookie, **(headers or {})})
            reply = connection.getresponse()
            return HttpReply(reply.status, reply.headers, reply.read())
        finally:
            connection.close()

    def take_the_link(self) -> None:
        reply = self.ask(self.link.partition(str(self.port))[2])
        assert reply.status == 303
        self.cookie = reply.headers["set-cookie"].partition(";")[0]


@pytest.fixture(scope="module")
def registrar(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackRegistrar]:
    directory = tmp_path_factory.mktemp("registrar")
    made = LoopbackRegistrar(artifact, directory, api_address=f"unix:{directory}/api.sock")
    with made.running():
        made.wait_until_healthy()
        yield made


@contextmanager
def opened(registrar: LoopbackRegistrar, log: Path) -> Iterator[Relay]:
    argv: list[str | os.PathLike[str]] = [registrar.artifact, "page", "--config", registrar.config]
    process = registrar.place.popen(argv, log=log, env=registrar.env)
    try:
        yield Relay(registrar, log)
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0


def test_who_has_the_link_reads_what_the_api_has_and_nobody_else(
    registrar: LoopbackRegistrar, tmp_path: Path
) -> None:
    with opened(registrar, tmp_path / "log") as relay:
        assert relay.ask("/").status == relay.ask("/status").status == 403
        relay.take_the_link()
        for target in ("/", "/page/main.js", "/healthz"):
            ours, theirs = relay.ask(target), registrar.read(target)
            assert (ours.status, ours.body) == (200, theirs.body)
            for name in ("content-type", "content-security-policy", "cache-control"):
                assert ours.headers[name] == theirs.headers[name]
        assert relay.ask("/nothing").status == 404
        assert relay.ask("/healthz", method="HEAD").body == b""
        assert relay.ask("/v3/discovery:listeners", method="POST").status == 403
        assert relay.ask("/", {"Origin": "http://evil.example"}).status == 403
        assert relay.ask("/page/main.js", {"Origin": f"http://127.0.0.1:{relay.port}"}).status == 200
        stranger = f"http://127.0.0.1:{relay.port}/?token=x"
        assert stranger not in (tmp_path / "log").read_text()
        # The link is used, and another one printed.
        assert relay.ask(relay.link.partition(str(relay.port))[2], {"Cookie": ""}).status == 403
        assert relay._printed() != relay.link


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_another_users_browser_is_not_in_by_the_same_cookie(
    registrar: LoopbackRegistrar, tmp_path: Path
) -> None:
    with opened(registrar, tmp_path / "log") as relay:
        relay.take_the_link()
        assert relay.ask("/healthz").status == 200
        with socket.socket() as peer:
            peer.settimeout(10)
            os.fchown(peer.fileno(), 65534, -1)  # whose it is, as the kernel tells it, once it is accepted
            peer.connect(("127.0.0.1", relay.port))
            peer.sendall(
                f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{relay.port}\r\n"
                f"Cookie: {relay.cookie}\r\n\r\n".encode()
            )
            assert peer.recv(100).startswith(b"HTTP/1.1 403")


def test_while_the_registrar_is_away_it_says_so(artifact: Path, tmp_path: Path) -> None:
    registrar = LoopbackRegistrar(artifact, tmp_path, api_address=f"unix:{tmp_path}/api.sock")
    registrar.start()
    with opened(registrar, tmp_path / "log") as relay:
        relay.take_the_link()
        registrar.end()
        assert relay.ask("/services").status == 502
        registrar.start()
        try:
            assert relay.ask("/healthz").status == 200
        finally:
            registrar.end()


def test_what_cannot_be_is_said_in_one_line(registrar: LoopbackRegistrar, tmp_path: Path) -> None:
    def said(*args: str, config: Path = registrar.config) -> tuple[int, str]:
        process = registrar.place.popen(
            [registrar.artifact, "page", *args, "--config", config], log=tmp_path / "said", env=registrar.env
        )
        code = process.wait(20)
        text = (tmp_path / "said").read_text()
        (tmp_path / "said").unlink()
        return code, text

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, text = said("--port", str(port))
        assert code == 1 and str(port) in text and len(text.splitlines()) == 1
    for wrong in ("x", "65536"):
        code, text = said("--port", wrong)
        assert code == 2 and wrong in text
    nowhere = tmp_path / "nowhere.yaml"
    nowhere.write_text(f"api_address: unix:{tmp_path}/nothing.sock\n")
    code, text = said(config=nowhere)
    assert code == 1 and "is `envoy-docker-shim server` running?" in text and len(text.splitlines()) == 1


def test_with_page_off_there_is_none_to_open(artifact: Path, tmp_path: Path) -> None:
    registrar = LoopbackRegistrar(artifact, tmp_path, api_address=f"unix:{tmp_path}/api.sock", page=False)
    with registrar.running():
        registrar.wait_until_healthy()
        done = registrar.command("page", check=False)
    assert done.returncode == 1 and "page: off" in done.stderr
