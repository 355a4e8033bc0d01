"""``envoy-docker-shim page``: the registrar's page for a browser on this host, until it is told to end.

The API is a Unix socket, which no browser opens.  So this opens a port of 127.0.0.1 and passes on what may
pass its door (page_door.py).
"""

import signal
import socket
from argparse import ArgumentParser, ArgumentTypeError

import trio

from shim.commands.common import CommandError, complain, configuration, parser
from shim.commands.page_door import Door
from shim.core.endpoint import Endpoint
from shim.host.peer_credentials import user_of
from shim.registrar.http_client import Reply, ask
from shim.registrar.http_connection import Request, Response
from shim.registrar.http_server import HttpServer

HERE = "127.0.0.1"
BACKLOG = 64
PATIENCE = 20.0  # seconds for an answer of the registrar
# Bytes of one; 10,000 services are about 8 MB.
LIMIT = 64 << 20
# What a client says that the registrar is to know (the door knows its own origin), and what is said anew.
PASSED_ON = ("accept", "sec-fetch-site")
OWN = (b"content-length", b"content-type", b"transfer-encoding", b"connection", b"date", b"server")


def arguments() -> ArgumentParser:
    """Its parser."""
    made = parser(
        "page",
        "Open the registrar's page on a port of 127.0.0.1, until Ctrl-C. The link that it prints works once.",
        "page",
        "page --port 8000",
    )
    made.add_argument("--port", type=_port, default=0, metavar="N", help="default: any that is free")
    return made


def main(args: list[str]) -> int:
    """Serve it.  0 once it is told to end, 1 when it cannot, 2 for bad usage."""
    options = arguments().parse_args(args)
    api = configuration(options.config).api_address
    try:
        with socket.socket() as sock:
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind((HERE, options.port))
            except OSError as error:
                raise CommandError(f"--port {options.port}: {error.strerror}: take another one") from None
            sock.listen(BACKLOG)
            trio.run(_serve, sock, api)
    except CommandError as error:
        complain(str(error))
        return 1
    return 0


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 6 and int(text) < 65536):
        raise ArgumentTypeError(f"{text[:20]!r} is no port: 1 to 65535, or 0 for any that is free")
    return int(text)


async def _serve(sock: socket.socket, api: Endpoint) -> None:
    """Until a signal.  Raises CommandError where there is no page to show."""
    await _look(api)
    port = sock.getsockname()[1]
    door = Door(port, lambda link: print(f"A browser is in. For another one: {link}", flush=True))

    async def handle(request: Request) -> Response:
        return door.refusal(request) or await _passed_on(request, api)

    server = HttpServer(handle, lambda connection: None, user_of)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.serve, sock)
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            print(f"The page, until Ctrl-C: {door.link}", flush=True)
            async for _ in signals:
                nursery.cancel_scope.cancel()
                return


async def _look(api: Endpoint) -> None:
    """Whether there is a page.  Raises CommandError."""
    try:
        answer = await _ask(api, "/", {})
    except PermissionError:
        raise CommandError(
            f"the registrar's API on {api} is for root and Envoy's group: run this as root"
        ) from None
    except (OSError, ValueError) as error:
        raise CommandError(
            f"the registrar does not answer on {api} ({error}): is `envoy-docker-shim server` running?"
        ) from None
    if answer.status != 200:
        raise CommandError(
            f"the registrar on {api} shows no page: `page: off` in its configuration, or too old"
        )


async def _passed_on(request: Request, api: Endpoint) -> Response:
    headers = {name: request.headers[name] for name in PASSED_ON if name in request.headers}
    try:
        return await _ask(api, request.target, headers)
    except (OSError, ValueError) as error:
        reason = f"the registrar does not answer: {error}\n"
        return Response(502, reason.encode(), "text/plain; charset=utf-8", (("cache-control", "no-store"),))


async def _ask(api: Endpoint, target: str, headers: dict[str, str]) -> Response:
    """What the registrar answers to GET, whatever it is.  Raises OSError; ValueError: it is no answer."""
    try:
        with trio.fail_after(PATIENCE):
            return _response(await ask(api, target, LIMIT, headers))
    except trio.TooSlowError:
        raise OSError(f"no answer in {PATIENCE:.0f} s") from None


def _response(reply: Reply) -> Response:
    content_type = next((value for name, value in reply.headers if name == b"content-type"), b"text/plain")
    more = tuple(
        (name.decode("latin-1"), value.decode("latin-1")) for name, value in reply.headers if name not in OWN
    )
    return Response(reply.status, bytes(reply.body), content_type.decode("latin-1"), more)
