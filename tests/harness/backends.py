"""Small real backends on threads, to be proxied to.

``HttpEcho`` answers with the request, byte for byte; ``TcpEcho`` is half-close aware; ``H2cEcho`` speaks
HTTP/2 without TLS.  Each binds as it is made (port 0: any), is a context manager, and leaves no thread.
Bodies over HTTP/2 stay below the first flow-control window (64 kB).
In another network namespace: ``python -m tests.harness.backends http|tcp|h2c PORT [HOST]``, which prints
``listening HOST PORT`` and serves until its stdin ends.
"""

import contextlib
import io
import json
import socket
import sys
import threading
from collections.abc import Iterable
from typing import BinaryIO

import h2.config
import h2.connection
import h2.events

CHUNK = 65536
IDLE_TIMEOUT = 30.0  # no test waits longer, so no thread outlives one

# What TcpEcho says once the client has half-closed: who gets it, lost nothing.
FAREWELL = b"<eof>"


class ThreadedServer:
    """Accepts on one thread, serves each connection on another; ``serve`` is what a subclass does with it."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family, backlog=512)
        self.host = host
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._closing = False
        self.accepted = 0
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def __enter__(self) -> "ThreadedServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def address(self) -> tuple[str, int]:
        return self.host, self.port

    def serve(self, peer: socket.socket) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Stop accepting, end every connection, and wait for the threads."""
        with self._lock:
            self._closing = True
            peers = list(self._open)
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for peer in peers:
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
        self._acceptor.join(IDLE_TIMEOUT)
        self._listener.close()
        for thread in self._threads:
            thread.join(IDLE_TIMEOUT)

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            peer.settimeout(IDLE_TIMEOUT)
            with self._lock:
                if self._closing:
                    peer.close()
                    return
                self.accepted += 1
                self._open.add(peer)
                thread = threading.Thread(target=self._run, args=(peer,), daemon=True)
                self._threads.append(thread)
            thread.start()

    def _run(self, peer: socket.socket) -> None:
        with peer:
            try:
                self.serve(peer)
            except OSError:
                pass  # the peer went away, or we are closing
            finally:
                with self._lock:
                    self._open.discard(peer)


class HttpEcho(ThreadedServer):
    """HTTP/1.1.  The answer's body is the request as it came: head, body with its framing, trailers.

    - ``/raw/HEX``: the answer is these bytes instead, and nothing else; then the connection closes.
    - ``/trailers``: the answer is chunked and ends with ``X-Sum: LENGTH``.
    - ``/refuse``: 417 as soon as the head is there, without reading a body.
    - ``Expect: 100-continue``: 100 is sent before the body is read.
    - ``Upgrade``: 101 with the same protocol, then every byte comes back.
    - ``/slow/NAME``: the answer waits for ``release(NAME)``.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self._released: dict[str, threading.Event] = {}
        super().__init__(host, port)

    def release(self, name: str) -> None:
        self._event(name).set()

    def _event(self, name: str) -> threading.Event:
        with self._lock:
            return self._released.setdefault(name, threading.Event())

    def serve(self, peer: socket.socket) -> None:
        with peer.makefile("rb") as stream:
            while (head := read_head(stream)) and self._exchange(peer, stream, head):
                pass

    def _exchange(self, peer: socket.socket, stream: io.BufferedReader, head: bytes) -> bool:
        """Answer one request; whether another may follow."""
        path = head.split(b" ", 2)[1].decode()
        headers = parse_headers(head)
        if path == "/refuse":
            peer.sendall(_response(b"417 Expectation Failed", b"no", b"Connection: close\r\n"))
            return False
        if "upgrade" in headers:
            self._upgrade(peer, stream, head, headers["upgrade"])
            return False
        if headers.get("expect", "").lower() == "100-continue":
            peer.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        request = head + read_wire_body(stream, headers)
        if path.startswith("/slow/"):
            self._event(path.removeprefix("/slow/")).wait(IDLE_TIMEOUT)
        if path.startswith("/raw/"):
            peer.sendall(bytes.fromhex(path.removeprefix("/raw/")))
            return False
        if path == "/trailers":
            peer.sendall(_with_trailers(request))
        else:
            peer.sendall(_response(b"200 OK", b"" if head.startswith(b"HEAD ") else request))
        return True

    def _upgrade(self, peer: socket.socket, stream: io.BufferedReader, head: bytes, protocol: str) -> None:
        fields = f"Upgrade: {protocol}\r\nConnection: Upgrade\r\nX-Head: {head.hex()}\r\n"
        peer.sendall(b"HTTP/1.1 101 Switching Protocols\r\n" + fields.encode() + b"\r\n")
        while data := stream.read1(CHUNK):
            peer.sendall(data)


class TcpEcho(ThreadedServer):
    """Sends back what comes; once the client has half-closed, FAREWELL, then closes.

    ``greeting`` is sent first, as servers do that speak first.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0, greeting: bytes = b"") -> None:
        self._greeting = greeting
        super().__init__(host, port)

    def serve(self, peer: socket.socket) -> None:
        peer.sendall(self._greeting)
        while data := peer.recv(CHUNK):
            peer.sendall(data)
        peer.sendall(FAREWELL)


class H2cEcho(ThreadedServer):
    """HTTP/2 by prior knowledge, answering as a gRPC server does.

    The body comes back; the request's headers as JSON in ``x-request-headers``; trailers say grpc-status 0.
    """

    def serve(self, peer: socket.socket) -> None:
        connection = server_connection(peer)
        streams: dict[int, tuple[list[tuple[str, str]], bytearray]] = {}
        while data := peer.recv(CHUNK):
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    assert event.headers is not None
                    streams[event.stream_id] = (text_headers(event.headers), bytearray())
                elif isinstance(event, h2.events.DataReceived):
                    streams[event.stream_id][1].extend(event.data)
                    connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, h2.events.StreamEnded):
                    self._answer(connection, event.stream_id, *streams.pop(event.stream_id))
            peer.sendall(connection.data_to_send())

    def _answer(
        self,
        connection: h2.connection.H2Connection,
        stream: int,
        headers: list[tuple[str, str]],
        body: bytearray,
    ) -> None:
        kind = dict(headers).get("content-type", "application/octet-stream")
        seen = json.dumps(headers)
        connection.send_headers(
            stream, [(":status", "200"), ("content-type", kind), ("x-request-headers", seen)]
        )
        connection.send_data(stream, bytes(body))
        connection.send_headers(stream, [("grpc-status", "0"), ("x-trailer", "yes")], end_stream=True)


def server_connection(peer: socket.socket) -> h2.connection.H2Connection:
    """An h2 server on ``peer`` that has sent its preface."""
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    connection.initiate_connection()
    peer.sendall(connection.data_to_send())
    return connection


def text_headers(headers: Iterable[tuple[bytes | str, bytes | str]]) -> list[tuple[str, str]]:
    return [(_text(name), _text(value)) for name, value in headers]


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")


def parse_headers(head: bytes) -> dict[str, str]:
    """A head's fields, names in lower case; of two with one name the last."""
    lines = head.decode("latin-1").split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines if line)
    return {name.lower(): value.strip() for name, _, value in pairs}


def read_head(stream: BinaryIO) -> bytes:
    """Up to and with the empty line; empty at the end of the stream."""
    head = b""
    while line := stream.readline():
        head += line
        if line in (b"\r\n", b"\n"):
            return head
    return b""


def read_chunked(stream: BinaryIO) -> bytes:
    """A chunked body as it is on the wire, with its trailers."""
    wire = b""
    while line := stream.readline():
        wire += line
        size = int(line.split(b";")[0], 16)
        if size == 0:
            return wire + read_head(stream)
        wire += stream.read(size + 2)
    raise ConnectionError("ended inside a chunked body")


def read_wire_body(stream: BinaryIO, headers: dict[str, str]) -> bytes:
    """A body as it is on the wire."""
    if "chunked" in headers.get("transfer-encoding", ""):
        return read_chunked(stream)
    return stream.read(int(headers.get("content-length", "0")))


def read_body(stream: BinaryIO, headers: dict[str, str]) -> bytes:
    """A body without its framing."""
    wire = read_wire_body(stream, headers)
    return dechunk(wire) if "chunked" in headers.get("transfer-encoding", "") else wire


def dechunk(wire: bytes) -> bytes:
    """What a chunked body says, trailers left out."""
    body = b""
    while True:
        line, _, wire = wire.partition(b"\r\n")
        size = int(line.split(b";")[0], 16)
        if size == 0:
            return body
        body, wire = body + wire[:size], wire[size + 2 :]


def _response(status: bytes, body: bytes, fields: bytes = b"") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n%s\r\n%s" % (status, len(body), fields, body)


def _with_trailers(body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
    return head + b"%x\r\n%s\r\n0\r\nX-Sum: %d\r\n\r\n" % (len(body), body, len(body))


KINDS: dict[str, type[ThreadedServer]] = {"http": HttpEcho, "tcp": TcpEcho, "h2c": H2cEcho}


def main(kind: str, port: str, host: str = "127.0.0.1") -> None:
    with KINDS[kind](host, int(port)) as server:
        print("listening", server.host, server.port, flush=True)
        sys.stdin.buffer.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
