"""The configuration file and the environment: every key, and every wrong shape told in one line."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from shim.config.keys import KEYS, Config, ConfigError
from shim.config.load import load
from shim.core.endpoint import Endpoint
from shim.core.envoy.modes import MODES
from shim.core.envoy.sinks import Sinks
from shim.core.envoy.tracing import Collector
from shim.wire.words import DEFAULT_SOCKET

DEFAULTS = Config(
    socket=DEFAULT_SOCKET,
    api_address=Endpoint(path="/run/envoy-docker-shim/api.sock"),
    docker_host="unix:///var/run/docker.sock",
    default_mode=MODES["auto"],
    trusted_hops=0,
    tracing=None,
    metrics=Sinks(),
    access_log="off",
    page=True,
    traces_url=None,
    envoy_admin=Endpoint(path="/run/envoy/admin.sock"),
    scrape_address=Endpoint("127.0.0.1", 9901),
    firewall=True,
    fail_open=True,
    client_address="off",
    keep_ports=range(28200, 30000),
    keep_mark=0x7776,
    keep_table=7776,
    envoy_user="auto",
    max_header_kb=256,
    envoy_heap_mb=1536,
    log_level="info",
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("config") / "shim.yaml"


def read(file: Path, text: str, **environ: str) -> Config:
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    return load(str(file), environ)


@pytest.mark.parametrize("text", ["", "# nothing", "---", "{}", "null", "\ufeff"])
def test_an_empty_file_means_the_defaults(file: Path, text: str) -> None:
    assert read(file, text) == DEFAULTS == Config()


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("socket: /tmp/s", "socket", "/tmp/s"),
        (f"socket: /{'s' * 106}", "socket", f"/{'s' * 106}"),
        ("api_address: 0.0.0.0:80", "api_address", Endpoint("0.0.0.0", 80)),
        ("api_address: '[::1]:65535'", "api_address", Endpoint("::1", 65535)),
        ("api_address: localhost:1", "api_address", Endpoint("localhost", 1)),
        ("api_address: unix:/run/api", "api_address", Endpoint(path="/run/api")),
        ("docker_host: unix:///d", "docker_host", "unix:///d"),
        ("docker_host: tcp://d:2375", "docker_host", "tcp://d:2375"),
        ("docker_host: http://d:2375/", "docker_host", "http://d:2375/"),
        ("metrics: null", "metrics", Sinks()),
        ("metrics: {otlp: 'grpc://otel'}", "metrics", Sinks(otlp=Endpoint("otel", 4317))),
        ("metrics: {statsd: '127.0.0.1:8125'}", "metrics", Sinks(statsd=Endpoint("127.0.0.1", 8125))),
        (
            "metrics: {statsd: '[::1]:1', otlp: 'grpc://a:2', interval: 1.5}",
            "metrics",
            Sinks(Endpoint("a", 2), Endpoint("::1", 1), 1.5),
        ),
        ("page: off", "page", False),
        ("page: 'off'", "page", False),
        ("page: on", "page", True),
        ("traces_url: null", "traces_url", None),
        *[
            (f"traces_url: '{url}'", "traces_url", url)
            for url in (
                "http://j",
                "https://j:16686/search?service={service}",
                "http://[::1]:1/a?b={service}#c",
            )
        ],
        ("access_log: off", "access_log", "off"),
        ("access_log: 'off'", "access_log", "off"),
        ("access_log: stdout", "access_log", "stdout"),
        ("access_log: /var/log/envoy/a b.log", "access_log", "/var/log/envoy/a b.log"),
        ("client_address: keep", "client_address", "keep"),
        ("client_address: off", "client_address", "off"),
        ("client_address: 'off'", "client_address", "off"),
        ("keep_ports: 1-65535", "keep_ports", range(1, 65536)),
        ("keep_ports: 7-7", "keep_ports", range(7, 8)),
        ("keep_mark: 0xffffffff", "keep_mark", 0xFFFFFFFF),
        ("keep_table: 256", "keep_table", 256),
        ("default_mode: tcp", "default_mode", MODES["tcp"]),
        ("trusted_hops: 3", "trusted_hops", 3),
        ("tracing:", "tracing", None),
        ("log_level: debug", "log_level", "debug"),
        ("envoy_admin: 127.0.0.2:9902", "envoy_admin", Endpoint("127.0.0.2", 9902)),
        ("envoy_user: www-data", "envoy_user", "www-data"),
        ("envoy_user: 101", "envoy_user", 101),
        ("max_header_kb: 8192", "max_header_kb", 8192),
        ("envoy_heap_mb: 128", "envoy_heap_mb", 128),
        (
            "tracing: {otlp: 'grpc://c'}",
            "tracing",
            Collector("otlp", Endpoint("c", 4317), "/api/v2/spans", 100.0),
        ),
        ("tracing: {local: true}", "tracing", Collector("local", kept=2000)),
        ("tracing: {local: 500, sampling: 1}", "tracing", Collector("local", sampling=1.0, kept=500)),
        ("tracing: {local: false}", "tracing", None),
        ("tracing: {otlp: 'grpc://c', local: false}", "tracing", Collector("otlp", Endpoint("c", 4317))),
        (
            "tracing: {zipkin: 'http://[fd00::1]:1/x', sampling: 0.5}",
            "tracing",
            Collector("zipkin", Endpoint("fd00::1", 1), "/x", 0.5),
        ),
    ],
)
def test_each_key_sets_its_own_and_nothing_else(file: Path, text: str, key: str, value: Any) -> None:
    assert read(file, text) == dataclasses.replace(Config(), **{key: value})


@pytest.mark.parametrize(
    ("variable", "value", "key", "meant"),
    [
        ("SHIM_SOCKET", "/e", "socket", "/e"),
        ("SHIM_API_ADDR", "unix:/e", "api_address", Endpoint(path="/e")),
        ("DOCKER_HOST", "tcp://e:1", "docker_host", "tcp://e:1"),
    ],
)
def test_the_environment_wins_unless_it_is_empty(
    file: Path, variable: str, value: str, key: str, meant: Any
) -> None:
    text = "{socket: /f, api_address: 'f:1', docker_host: 'unix:///f'}"
    plain = read(file, text)
    assert read(file, text, **{variable: ""}) == plain
    assert read(file, text, **{variable: value}) == dataclasses.replace(plain, **{key: meant})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SHIM_SOCKET", "e"),
        ("SHIM_API_ADDR", "e"),
        ("DOCKER_HOST", "ssh://e"),
        ("SHIM_SOCKET", "/\udcff" * 60),
    ],
)
def test_a_wrong_variable_is_named_as_such(file: Path, variable: str, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(file, "", **{variable: value})
    assert str(caught.value).startswith(f"environment: {variable}: {value!r:.30}")


def test_the_default_file_may_be_absent_and_a_named_one_may_not(tmp_path: Path) -> None:
    missing = str(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match=r"none\.yaml: no such file"):
        load(missing, {})


def wrong(key: str, *values: str) -> list[tuple[str, str]]:
    return [(f"{key}: {value}", key) for value in values]


BIG = "0x" + "f" * 5000  # Python writes no decimal number this long
WRONG = [
    *[(text, "whole") for text in ("7", "text", "[]", "[socket]", "true", "1.5", "'x'", "2020-01-01", BIG)],
    *[(text, "unknown key") for text in ("sockett: /x", "7: x", "null: x", "'': x", "{socket: /x, y: z}")],
    *[(text, "unknown key") for text in ('"a\\nb": 1', f"? {BIG}\n: 1", "? !!binary YQ==\n: 1", "1.0: {}")],
    *wrong("socket", "", "''", "x", "7", "[]", "{}", "/" + "x" * 107, "/" + "é" * 60, '"/\\0"', "true", BIG),
    *wrong("api_address", "x", "'x:'", "':80'", "'x:0'", "'x:65536'", "'x: 80'", "80", "'::1:80'", "'[x:80'"),
    *wrong("api_address", "unix:", "unix:x", "'x:٨٠'", "'a@b:80'", "'a/b:80'", "'x..y:80'", '"x\\0:80"'),
    *wrong("api_address", f"{'x' * 64}:80"),
    *wrong("docker_host", "x", "unix://x", "tcp://x", "ssh://x:22", "'unix://'", "npipe:////./x", "7"),
    *wrong("metrics", "7", "{}", "{interval: 5}", "{statsd: 'a:b'}", "{statsd: localhost:8125}", "{x: 1}"),
    *wrong(
        "metrics", "{otlp: 'udp://a'}", "{otlp: 'grpc://a', interval: 0}", "{otlp: 'grpc://a', interval: x}"
    ),
    *wrong("access_log", "true", "on", "null", "stderr", "a.log", "/var/log/", '"/a\\nb"', f"/{'x' * 1024}"),
    *wrong("page", "1", "null", "''", "shown", "[off]", BIG),
    *wrong("traces_url", "7", "''", "x", "j:16686", "ftp://j/", "'javascript:alert(1)'", "'http://'", "//j"),
    *wrong(
        "traces_url",
        "'http://a@j/'",
        "'http://j/ x'",
        '"http://j/\\n"',
        "'http://[j/'",
        "'http://j:x/'",
        "http://é/",
    ),
    *wrong("client_address", "true", "on", "0", "Keep", "no-keep"),
    *wrong("keep_ports", "1", "1-", "0-7", "8-7", "1-65536", "[1, 2]", "'1 - 2'", "1-2-3"),
    *wrong("keep_mark", "0", "4294967296", "x"),
    *wrong("keep_table", "255", "32766", "main"),
    *wrong("default_mode", "udp", "HTTP", "7", "[http]", "true", "{http: tcp}"),
    *wrong("trusted_hops", "-1", "101", "1.5", "'1'", "true", ".nan", ".inf", "[1]", BIG),
    *wrong("tracing", "7", "[]", "{}", "{sampling: 1}", "{otlp: 'grpc://a', zipkin: 'http://b'}"),
    *[
        (f"tracing: {{otlp: {url}}}", "tracing.otlp")
        for url in ("7", "x", "'https://x'", "'grpc://'", "'grpc://x:y'")
    ],
    *[
        (f"tracing: {{otlp: {url}}}", "tracing.otlp")
        for url in ("'grpc://[x'", "'grpc://x:99999'", "'grpc://a@b'")
    ],
    *[
        (f"tracing: {{zipkin: {url}}}", "tracing.zipkin")
        for url in ("'grpc://x'", "'http://x/?q'", "'http://x y'")
    ],
    *[
        (f"tracing: {{otlp: 'grpc://a', sampling: {n}}}", "tracing.sampling")
        for n in ("-1", "101", "x", ".nan", BIG)
    ],
    *[(f"tracing: {{local: {n}}}", "tracing.local") for n in ("99", "10001", "1.5", "yes please", "null")],
    ("tracing: {local: true, otlp: 'grpc://a'}", "leave otlp or local out"),
    ("tracing: {local: 100, zipkin: 'http://a'}", "leave zipkin or local out"),
    ("tracing: {jaeger: x}", "tracing.jaeger"),
    *wrong("envoy_admin", "x", "unix:x", "7"),
    *wrong("scrape_address", "x", "unix:/x", "7"),
    *wrong("envoy_user", "", "''", "-1", "a b", "-x", "[envoy]", "true", "1.5", "4294967295", BIG),
    *wrong("max_header_kb", "7", "8193", "'256'", "true", "1.5", BIG),
    *wrong("envoy_heap_mb", "127", "x", ".inf"),
    *wrong("log_level", "trace", "INFO", "10"),
    *[
        (text, "YAML")
        for text in ("{", "a: b: c", "\tx: 1", "- [", "'", "&a *b", "a: *b", "%", "\0", "a: b\nc", "@x")
    ],
    *[(text, "YAML") for text in ("? [a]\n: 1", "x: !!python/object:os.system y", "[" * 400, "--- 1\n--- 2")],
    *[
        (text, "YAML")
        for text in ("x: !!int ''", "x: !!bool y", "x: !!timestamp y", "x: !!float ''", "x: !!int y")
    ],
    *[(text, "YAML") for text in ("x: 2020-13-45", "x: " + "1:" * 300 + "1.0", "x: !!binary é", "{<<: 7}")],
    ("\udcff", "cannot be read"),
]


@pytest.mark.parametrize(
    ("text", "named"), WRONG, ids=[text[:30].encode("unicode_escape").decode() for text, _ in WRONG]
)
def test_a_wrong_shape_is_told_in_one_line_with_file_key_and_value(file: Path, text: str, named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(file, text)
    complaint = str(caught.value)
    assert complaint.startswith(f"{file}: ") and named in complaint
    assert len(complaint.splitlines()) == 1 and len(complaint) < 600
    assert complaint.isprintable()


def test_a_directory_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(str(tmp_path), {})


NAMES = st.sampled_from([*KEYS, "otlp", "zipkin", "sampling"]) | st.text()
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.dates() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


def check(file: Path, text: str) -> None:
    try:
        read(file, text)
    except ConfigError as error:
        assert len(str(error).splitlines()) == 1


@given(st.dictionaries(NAMES, VALUES, max_size=3) | VALUES)
def test_any_document_is_a_configuration_or_a_config_error(file: Path, document: object) -> None:
    check(file, yaml.safe_dump(document))


TAGS = (
    "!!int",
    "!!float",
    "!!bool",
    "!!timestamp",
    "!!binary",
    "!!set",
    "!!omap",
    "!!pairs",
    "!!null",
    "!!seq",
)


@given(
    st.text() | st.lists(st.sampled_from([*TAGS, *"&*a: \n-?{}[]|>'\"#%,1.", "<<", "socket"])).map("".join)
)
@example("&a {socket: *a}")
@example("tracing: &a {tracing: *a}")
@example("&a {<<: *a}")
def test_any_text_is_a_configuration_or_a_config_error(file: Path, text: str) -> None:
    check(file, text.encode("utf-8", "replace").decode())
