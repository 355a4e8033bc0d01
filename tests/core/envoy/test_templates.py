"""The templates' bytes are those of the dicts that they stand for, whatever the texts."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shim.core.binding import Address, Backend, Binding
from shim.core.endpoint import Endpoint
from shim.core.envoy.access_log import OFF, PROTOCOLS, WORDS, AccessLog, looks_for_tls
from shim.core.envoy.filters import Extras, HttpOptions
from shim.core.envoy.modes import MODES, Serving
from shim.core.envoy.templates import Template, Templates, origin_of
from shim.core.envoy.tracing import Collector
from shim.core.service import Service
from tests.builders import make_binding, make_cluster, make_listener, make_service

OPTIONS = [
    HttpOptions(),
    HttpOptions(None, 2),
    HttpOptions(Collector("otlp", Endpoint("c", 4317), "", 12.5)),
    HttpOptions(Collector("zipkin", Endpoint("zipkin", 9411), "/api/v2/spans", 100.0)),
    HttpOptions(Collector("local", sampling=5.0, kept=2000)),
]
IDS = ["none", "hops", "otlp", "zipkin", "local"]
TEXTS = st.text(st.characters())
SERVICES = st.builds(Service, **dict.fromkeys(Service._fields, TEXTS))
EXTRAS = st.sampled_from([Extras(), Extras(False, 1.0, "1s", "2s"), Extras(sampling=1.0)])
SERVINGS = st.builds(
    Serving, st.sampled_from(list(MODES.values())), access_log=st.sampled_from(WORDS), extras=EXTRAS
)
HTTP = Serving(MODES["http"])
BINDINGS = st.builds(
    Binding,
    st.builds(
        Address,
        st.just("tcp"),
        st.sampled_from(["0.0.0.0", "::", "127.0.0.1", "fd00::1"]),
        st.integers(1, 65535),
    ),
    st.builds(Backend, st.ip_addresses().map(str), st.integers(1, 65535)),
)


def dumped(resource: object) -> bytes:
    return json.dumps(resource, separators=(",", ":")).encode()


def doubled(service: Service) -> Service:
    """Zipkin's operation and tags are format strings, in which a % is written twice."""
    return Service(*(text.replace("%", "%%") for text in service))


@pytest.mark.parametrize("options", OPTIONS, ids=IDS)
@given(binding=BINDINGS, name=TEXTS, service=SERVICES, serving=SERVINGS)
@example(make_binding(), "web", make_service('@@port@@ "@@name@@" %REQ(X)% \\ \n @@', "100%"), HTTP)
@example(make_binding(port=1000), "1000000007", make_service("1000000007"), HTTP)
@example(make_binding(backend_port=443), "web", make_service("100%"), Serving(MODES["tcp"], access_log="on"))
def test_a_listener_is_the_dict_that_it_stands_for(
    options: HttpOptions, binding: Binding, name: str, service: Service, serving: Serving
) -> None:
    address = binding.address
    place = (str(address), address.ip, address.port, name, name)
    free = address.ip not in ("0.0.0.0", "::")
    zipkin = options.tracing is not None and options.tracing.kind == "zipkin"
    shown = doubled(service) if zipkin else service
    if serving.access_log != OFF:
        looks = serving.mode.name == "auto" or looks_for_tls(serving.access_log, binding.backend.port)
        tls = serving.mode.name != "http" and looks
        options = options._replace(log=AccessLog("/var/log/envoy/a.log", doubled(service), tls))
    asked = serving.extras.applied_to(options)
    origin = origin_of(service, binding.backend)
    wanted = make_listener(serving.mode.name, *place, shown, asked, freebind=free, origin=origin)
    templates = Templates(options._replace(log=None), "/var/log/envoy/a.log")
    made = b"".join(templates.listener(binding, name, service, serving))
    assert made == dumped(wanted)
    assert json.loads(made)["address"]["socket_address"]["port_value"] == address.port


@given(BINDINGS, st.sampled_from(["auto", "http", "tcp"]), st.integers(1, 65535))
@example(make_binding(ip="10.0.0.1"), "http", 1000000009 % 65536)
def test_a_second_listener_is_the_first_but_for_what_keeps_the_clients_address(
    binding: Binding, mode: str, port: int
) -> None:
    templates, serving = Templates(HttpOptions()), Serving(MODES[mode])
    first = json.loads(b"".join(templates.listener(binding, "web", make_service(), serving)))
    second = json.loads(b"".join(templates.listener(binding, "web", make_service(), serving, port)))
    loopback = "::1" if ":" in binding.address.ip else "127.0.0.1"
    assert second["address"]["socket_address"] == {"address": loopback, "port_value": port}
    for chain in second["filter_chains"]:
        assert chain["filter_chain_match"].pop("destination_port") == binding.address.port
        if not chain["filter_chain_match"]:
            del chain["filter_chain_match"]
    assert [found["name"] for found in second["listener_filters"][:2]] == ["original_dst", "original_src"]
    del second["listener_filters"][:2]
    first.setdefault("listener_filters", [])
    assert second.pop("transparent") is True
    first.pop("freebind", None)
    assert second == {**first, "name": f"{binding.address}#keep", "address": second["address"]}


def test_a_second_listener_that_looks_for_names_in_tls_does_so_behind_its_own_filters() -> None:
    binding, serving = make_binding(backend_port=8443), Serving(MODES["tcp"], access_log="on")
    made = Templates(HttpOptions()).listener(binding, "web", make_service(), serving, 28200)
    second = json.loads(b"".join(made))
    filters = [found["name"] for found in second["listener_filters"]]
    assert filters == ["original_dst", "original_src", "tls_inspector"]
    matches = [chain["filter_chain_match"] for chain in second["filter_chains"]]
    port = {"destination_port": binding.address.port}
    assert matches == [port, *({**port, "application_protocols": [name]} for name in PROTOCOLS)]


@given(st.text(st.characters()), BINDINGS, st.sampled_from(list(MODES)))
def test_a_cluster_is_the_dict_that_it_stands_for(name: str, binding: Binding, mode: str) -> None:
    backend = binding.backend
    made = b"".join(Templates(HttpOptions()).cluster(name, backend, MODES[mode].upstream))
    assert made == dumped(make_cluster(mode, name, *backend))


@pytest.mark.parametrize(
    ("resource", "filled"),
    [
        ("@@a@@", '"1"'),
        (["@@a@@", "x@@b@@y"], '["1","x\\"y"]'),
        ({"k": "@@b@@@@a@@"}, '{"k":"\\"1"}'),
        ({"p": 1_000_000_007, "q": "@@a@@"}, '{"p":80,"q":"1"}'),
        ({}, "{}"),
    ],
)
def test_holes_are_filled_wherever_they_are(resource: object, filled: str) -> None:
    assert b"".join(Template(resource).fill(a="1", b='"', port=80)).decode() == filled


def test_a_hole_without_a_value_is_a_mistake_of_ours() -> None:
    with pytest.raises(KeyError):
        Template("@@a@@").fill(b="1")


def test_what_all_have_in_common_is_kept_once() -> None:
    templates = Templates(HttpOptions())
    one = templates.listener(make_binding(port=1), "a", make_service("a"), HTTP)
    other = templates.listener(make_binding(port=2), "b", make_service("b"), HTTP)
    own = [piece for piece, its in zip(one, other, strict=True) if piece is not its]
    assert sum(map(len, one)) > 1000
    assert sum(map(len, own)) < 100
