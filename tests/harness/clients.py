"""Clients that show what is on the wire: nothing normalised, nothing added."""

import socket
from collections.abc import Sequence
from typing import BinaryIO, NamedTuple

import h2.config
import h2.connection
import h2.events

from tests.harness.backends import CHUNK, parse_headers, read_chunked, read_head, text_headers

TIMEOUT = 10.0

Address = tuple[str, int]


class Answer(NamedTuple):
    """``head`` is byte for byte; ``body`` is with its framing when it is chunked."""

    head: bytes
    body: bytes

    @property
    def status(self) -> int:
        return int(self.head.split(b" ", 2)[1])

    @property
    def headers(self) -> dict[str, str]:
        return parse_headers(self.head)


class H2Answer(NamedTuple):
    headers: list[tuple[str, str]]
    body: bytes
    trailers: list[tuple[str, str]]


def connect(address: Address) -> socket.socket:
    return socket.create_connection(address, TIMEOUT)


def exchange(address: Address, request: bytes) -> Answer:
    """Send these bytes on a connection of their own, and read one answer."""
    with connect(address) as peer, peer.makefile("rb") as stream:
        peer.sendall(request)
        return read_answer(stream, no_body=request.startswith(b"HEAD "))


def get(address: Address, path: str = "/", fields: Sequence[str] = ()) -> Answer:
    return exchange(address, head("GET", path, fields))


def head(method: str, path: str, fields: Sequence[str] = (), host: str = "example.test") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *fields]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def read_answer(stream: BinaryIO, *, no_body: bool = False) -> Answer:
    start = read_head(stream)
    if not start:
        raise ConnectionError("closed without an answer")
    fields = parse_headers(start)
    if no_body or start.split(b" ", 2)[1][:1] == b"1":
        return Answer(start, b"")
    if "chunked" in fields.get("transfer-encoding", ""):
        return Answer(start, read_chunked(stream))
    length = fields.get("content-length")
    return Answer(start, stream.read() if length is None else stream.read(int(length)))


def h2_exchange(address: Address, headers: Sequence[tuple[str, str]], body: bytes = b"") -> H2Answer:
    """One request over HTTP/2 by prior knowledge."""
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    connection.initiate_connection()
    connection.send_headers(1, list(headers), end_stream=not body)
    if body:
        connection.send_data(1, body, end_stream=True)
    with connect(address) as peer:
        peer.sendall(connection.data_to_send())
        answer = H2Answer([], b"", [])
        while data := peer.recv(CHUNK):
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    answer = answer._replace(headers=text_headers(event.headers))
                elif isinstance(event, h2.events.DataReceived):
                    answer = answer._replace(body=answer.body + event.data)
                elif isinstance(event, h2.events.TrailersReceived):
                    answer = answer._replace(trailers=text_headers(event.headers))
                elif isinstance(event, h2.events.StreamEnded):
                    return answer
            peer.sendall(connection.data_to_send())
    raise ConnectionError("closed without an answer")
