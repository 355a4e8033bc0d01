"""``envoy-docker-shim page``: the registrar's page for a browser on this host, until it is told to end.

The API is a Unix socket, which no browser opens.  So this opens a port of 127.0.0.1 and passes on what may
pass its door (page_door.py).
"""

import signal
import socket
from argparse import ArgumentParser, ArgumentTypeError

import h11
import trio

from shim.commands.common import CommandError, complain, configuration, parser
from shim.commands.page_door import Door
from shim.core.endpoint import Endpoint
from shim.host.peer_credentials import user_of
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
        answer = await ask(api, "/", {})
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
        return await ask(api, request.target, headers)
    except (OSError, ValueError) as error:
        reason = f"the registrar does not answer: {error}\n"
        return Response(502, reason.encode(), "text/plain; charset=utf-8", (("cache-control", "no-store"),))


async def ask(api: Endpoint, target: str, headers: dict[str, str]) -> Response:
    """What the registrar answers to GET, whatever it is.  Raises OSError; ValueError: it is no answer."""
    try:
        with trio.fail_after(PATIENCE):
            if api.path:
                stream = await trio.open_unix_socket(api.path)
            else:
                stream = await trio.open_tcp_stream(api.host, api.port)
            async with stream:
                return await _exchange(stream, target, headers)
    except trio.TooSlowError:
        raise OSError(f"no answer in {PATIENCE:.0f} s") from None
    except trio.BrokenResourceError as error:
        raise OSError(str(error)) from None
    except h11.ProtocolError as error:
        raise ValueError(str(error)) from None


async def _exchange(stream: trio.SocketStream, target: str, headers: dict[str, str]) -> Response:
    connection = h11.Connection(h11.CLIENT)
    said = [("Host", "localhost"), ("Connection", "close"), *headers.items()]
    question = connection.send(h11.Request(method="GET", target=target, headers=said))
    await stream.send_all((question or b"") + (connection.send(h11.EndOfMessage()) or b""))
    head: h11.Response | None = None
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(bytes(await stream.receive_some(65536)))
        elif isinstance(event, h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > LIMIT:
                raise ValueError(f"an answer of more than {LIMIT >> 20} MB")
            await trio.lowlevel.checkpoint()
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            return _response(head, bytes(body))
        else:
            raise ValueError("it has no answer")


def _response(head: h11.Response, body: bytes) -> Response:
    content_type = next((value for name, value in head.headers if name == b"content-type"), b"text/plain")
    more = tuple(
        (name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers if name not in OWN
    )
    return Response(head.status_code, body, content_type.decode("latin-1"), more)
