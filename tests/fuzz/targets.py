"""Every target by its name, with inputs to begin from."""

import json
from collections.abc import Callable
from typing import NamedTuple

from shim.wire.traffic import FIELDS, traffic_line
from shim.wire.words import MARK, NAME
from tests.builders import make_binding, make_export, make_flags, make_poll, make_span
from tests.fuzz import machines, parsers, servers
from tests.harness.fake_dockerd import make_container


class Target(NamedTuple):
    run: Callable[[bytes], None]
    seeds: list[bytes]


FLAGS = "\0".join(make_flags()).encode()
SIX = "\0".join(make_flags(make_binding(ip="::", proto="udp", backend_ip="fd00::2"))).encode()
METADATA = {"envoy-docker-shim": {"admin": "127.0.0.1:9901"}}
POLL = make_poll("0123abcd", node="host1", resource_names=["web-8080"])
HTTP = [
    b"GET /304 HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcHEAD / HTTP/1.0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nA: b\r\n\r\n",
    b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\nConnection: close, upgrade\r\nUpgrade: h2c\r\n\r\n",
]
YAML = b"""socket: /run/x
api_address: 127.0.0.1:1
docker_host: tcp://[::1]:2375
default_mode: tcp
trusted_hops: 1
envoy_admin: localhost:9901
log_level: debug
tracing: {otlp: "grpc://c:4317", sampling: 1.5}
access_log: /var/log/envoy/access.log
metrics: {statsd: "127.0.0.1:8125", otlp: "grpc://c", interval: 5}
"""
LABELS = {"ServiceName": 'a"\n\u202e', "EnvironmentName": "\U0001f433", "ProxyMode": "tcp", "other": "x"}
REFUSED = {"name": "tcp/0.0.0.0:80", "error_state": {"details": "cannot bind", "failed_configuration": {}}}
LINE = {"time": "2026-11-25T23:56:52.114Z", "duration_ms": 1, "service.name": "web", "url.path": "/\x1b[2J"}
LINE |= {"http.response.status_code": 200, "client.address": "::1", "response_flags": "UF"}
START = {"Type": "container", "Action": "start", "Actor": {"ID": "0123456789ab"}}

TARGETS = {
    "flags": Target(parsers.flags, [FLAGS, SIX, FLAGS.replace(b"\0-", b"\0--") + b"\0-use-listen-fd=T"]),
    "cmdline": Target(
        parsers.cmdline,
        [
            b"\0".join([b"/bin/sh", b"-c", MARK.encode() + b"\n", NAME.encode(), FLAGS]),
            b"\0".join([b"python3", b"-IS", b"/usr/local/bin/x", b"relay", SIX]),
            b"\0".join([b"python3", b"-IS", b"-c", b"# envoy-docker-shim", b"x", FLAGS]),
        ],
    ),
    "config": Target(
        parsers.config,
        [b"", YAML, b"tracing: {zipkin: 'http://[::1]/a'}", b"tracing: {local: 2000}", b"a: !!int ''"],
    ),
    "labels": Target(
        parsers.labels,
        [
            json.dumps(make_container(labels=LABELS)).encode(),
            b'a"\\\0{"b"}\0' + b"c" * 10_000,
            b"web\nline\0pr\xc3\xb6d\0HTTP \0\xff",
        ],
    ),
    "question": Target(
        parsers.question,
        [POLL, json.dumps({"node": {"id": "a\n", "metadata": METADATA}, "version_info": "a~1"}).encode()],
    ),
    "log_line": Target(parsers.log_line, [json.dumps(LINE).encode()]),
    "spans": Target(
        parsers.spans,
        [make_export(make_span(), make_span(id="2" * 16, parent="3" * 16, error=True, odd="\x1b\u202e"))],
    ),
    "traffic": Target(parsers.traffic, [traffic_line(dict.fromkeys(FIELDS, 7)).encode()]),
    "event": Target(parsers.event, [json.dumps(START).encode()]),
    "refusals": Target(
        parsers.refusals, [json.dumps({"configs": [REFUSED]}).encode(), b"127.0.0.1:9901", b"[::1]:1"]
    ),
    "http": Target(servers.http, [bytes([n]) + request for n, request in enumerate(HTTP)]),
    "registration": Target(
        servers.registration,
        [
            b"\0register\0" + FLAGS + b"\n",
            b"\0adopt\x001\0" + SIX + b"\n",
            b"\1register\0" + FLAGS + b"\n",
            b"\0claim\0" + FLAGS + b"\n",
        ],
    ),
    # A publish, an Envoy, two polls, a release, an end, and so on.
    "registry": Target(
        machines.registry,
        [
            b"\1\0\0\6\0\x08\0\1\0\x08\0\0\0\4\0\5\0\x0d",
            b"\0\1\2\3\0\0\2\1\0\6\1\x09\1\0\1\x0a\1\0\x0b\1\x0c",
        ],
    ),
    "decision": Target(machines.decision, [b"\0\0\1\3\1\0\4\0\5\1\1\6\7", b"\2\0\5\4\2\3\2\1\0\2\1"]),
}
