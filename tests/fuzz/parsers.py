"""What reads one text: each gives a result that can be used as it is, or its own error, and no other."""

import json
import os
import tempfile
from ipaddress import ip_address
from itertools import islice
from typing import Any

from shim.config.keys import ConfigError
from shim.config.load import load
from shim.core.binding import binding_from_flags
from shim.core.discovery.request import ADMIN_LIMIT, VERSION_LIMIT, parse_request
from shim.core.docker.containers import addresses_of, published_by
from shim.core.docker.labels import LABELS, describe, service_of, serving_of
from shim.core.envoy.filters import HttpOptions
from shim.core.envoy.modes import MODES, Serving
from shim.core.envoy.templates import Templates
from shim.core.leases.cluster_names import cluster_names
from shim.core.logs.entry import Shape, failed, is_of, parse
from shim.core.service import Service, unnamed_service
from shim.core.text import NAME_LIMIT
from shim.core.traces.kept import KeptSpans, as_tree
from shim.core.traces.otlp import Decoder, count
from shim.core.traces.waterfall import Drawing
from shim.host.procfs import flags_of
from shim.registrar.docker import ID_LIMIT, UnexpectedAnswer, _started_container
from shim.registrar.nack_reasons import local_admin, rejections
from shim.wire.flags import FlagError, format_address, parse_flags
from shim.wire.traffic import traffic_in, traffic_line
from shim.wire.words import MARK, NAME
from tests.builders import make_binding

STAT_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
TEMPLATES = Templates(HttpOptions())


def words_of(data: bytes) -> list[str]:
    return data.decode("utf-8", "surrogateescape").split("\0")


def flags(data: bytes) -> None:
    """docker-proxy's flags."""
    try:
        found = parse_flags(words_of(data))
    except FlagError as error:
        assert "\n" not in str(error)
        return
    proto, host_ip, host_port, ip, port, given = found
    assert 0 < host_port < 65536
    assert 0 < port < 65536
    written = ["-proto", proto, f"-host-ip={host_ip}", f"--host-port={host_port}", "-container-ip", ip]
    written += [f"-container-port={port}", *(["-use-listen-fd"] if given else [])]
    assert parse_flags(written) == found
    try:
        binding = binding_from_flags(written)
    except FlagError:
        assert proto not in ("tcp", "udp")
        return
    assert str(binding) == f"{proto}/{format_address(host_ip, host_port)} -> {format_address(ip, port)}"


def cmdline(data: bytes) -> None:
    """/proc/PID/cmdline."""
    argv = words_of(data)
    found = flags_of(argv)
    if found is None:
        return
    assert found == argv[len(argv) - len(found) :]
    parked = argv[1] == "-c" and argv[2].startswith(MARK) and argv[3] == NAME
    assert parked or argv[1] == "-IS"
    try:
        binding_from_flags(found)
    except FlagError:
        pass


def config(data: bytes) -> None:
    """The configuration file: one that loads makes listeners, too."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        try:
            found = load(file.name, {})
        except ConfigError as error:
            assert len(str(error).splitlines()) == 1, str(error)
            return
    binding = make_binding()
    templates = Templates(HttpOptions(found.tracing, found.trusted_hops), found.access_log_file)
    service = unnamed_service(binding.backend)
    serving = Serving(found.default_mode, access_log="off" if found.access_log == "off" else "on")
    listener = templates.listener(binding, "web", service, serving)
    assert json.loads(b"".join(listener))["name"] == str(binding.address)
    os.fsencode(found.socket)
    str(found.api_address)


def labels(data: bytes) -> None:
    """Docker's container, or its labels: short clean names, and JSON that says what was meant."""
    container = _container(data)
    service, serving = service_of(container), serving_of(container, Serving(MODES["tcp"]))
    for text in service:
        assert text.isprintable()
        assert len(text) <= NAME_LIMIT
    assert service.name
    assert serving.mode in MODES.values()
    assert "\n" not in describe(service, serving) + serving.problem
    assert all(address for address in addresses_of(container))
    assert all(isinstance(port, int) for _, port in published_by(container))
    binding = make_binding()
    names = list(islice(cluster_names(service, binding), 3))
    assert len(set(names)) == 3
    for name in names:
        assert set(name) <= STAT_NAME
        cluster = json.loads(b"".join(TEMPLATES.cluster(name, binding.backend, serving.mode.upstream)))
        assert cluster["name"] == name
    listener = json.loads(b"".join(TEMPLATES.listener(binding, names[0], service, serving)))
    assert listener["name"] == str(binding.address)
    addresses = [a["socket_address"] for key, a in listener.items() if key == "address"]
    assert addresses == [{"address": "0.0.0.0", "port_value": 8080}]
    other = Service(*("x" if text else "" for text in service))
    assert _shape(listener) == _shape(
        json.loads(b"".join(TEMPLATES.listener(binding, "web", other, serving)))
    )


def _container(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        values = words_of(data)
        keys = (*(label.name for label in LABELS), "com.docker.compose.service", "com.docker.compose.project")
        document = {"Names": values[:1], "Labels": dict(zip(keys, values, strict=False))}
    return document if isinstance(document, dict) else {"Labels": document}


def _shape(document: Any) -> Any:
    """Without the texts: what a label may not change."""
    if isinstance(document, dict):
        return {key: _shape(value) for key, value in document.items()}
    if isinstance(document, list):
        return [_shape(value) for value in document]
    return type(document)


def log_line(data: bytes) -> None:
    """A line of the access log, or of whatever is where it should be: one printable line for a terminal."""
    found = parse(data)
    if found is not None:
        failed(found)
        is_of(found, "web")
        assert Shape(str).line(found).isprintable()


def spans(data: bytes) -> None:
    """A request of OTLP: spans, which can be kept, told and shown."""
    kept = KeptSpans(100)
    try:
        assert count(data) >= 0
        for span in Decoder().spans(data):
            kept.add(span)
    except ValueError as error:
        assert len(str(error)) < 100
    drawing = Drawing(str)
    for trace in kept.traces(100):
        rows = [span._asdict() | {"depth": depth} for depth, span in as_tree(trace.spans)]
        assert len(rows) == len(trace.spans)
        shown = [*drawing.trace({"id": trace.root.trace, "spans": rows}), drawing.line(rows[0])]
        assert all(line.isprintable() for line in shown)
        json.dumps(rows)


def traffic(data: bytes) -> None:
    """What a relay tells of its traffic."""
    found = traffic_in(data.decode("ascii", "replace"))
    if found is not None:
        assert traffic_in(traffic_line(found)) == found
        assert min(found.values()) >= 0


def question(data: bytes) -> None:
    """A discovery request."""
    try:
        found = parse_request(data)
        assert len(found.build) < 22
    except ValueError as error:
        assert len(str(error)) <= 200
        return
    assert found.node
    assert found.node.isprintable()
    assert len(found.node) <= NAME_LIMIT
    assert len(found.version) <= VERSION_LIMIT
    assert len(found.admin) <= ADMIN_LIMIT


def event(data: bytes) -> None:
    """A line of Docker's events."""
    try:
        assert len(_started_container(data)) <= ID_LIMIT
    except UnexpectedAnswer as error:
        assert len(str(error)) < 1000


def refusals(data: bytes) -> None:
    """What an Envoy's admin, or whoever is at that address, says; and that address."""
    try:
        admin = local_admin(data.decode("utf-8", "replace"))
        assert admin.path.startswith("/") or ip_address(admin.host).is_loopback, admin
    except ValueError:
        pass
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return
    try:
        found = rejections(document)
    except ValueError:
        return
    assert all(isinstance(name, str) and len(reason) < 400 for name, reason in found.items())
