"""The tables of docs/reference.md are the code's."""

import re

import pytest

from shim.__main__ import main
from shim.commands.roles import ROLES
from shim.config.keys import KEYS
from shim.config.load import load
from shim.core.docker.labels import LABELS
from shim.core.docker.orchestrators import ORCHESTRATORS
from shim.core.envoy.access_log import FIELDS
from shim.core.envoy.modes import MODES
from shim.core.envoy.tracing import ATTRIBUTES, HOST_NAME, SPANS_PATH
from shim.core.leases.server_first import KNOWN_PORTS
from shim.registrar.api import DISCOVERY, KINDS, PAGES
from tests.examples.documents import EXAMPLES, first_cells, prose, table_rows, tables

PAGE = "docs/reference.md"


def test_the_table_of_keys_is_the_codes() -> None:
    assert table_rows(PAGE, "Configuration") == [
        [f"`{key.name}`", key.shown_default, f"`{key.environment}`" if key.environment else "", key.meaning]
        for key in KEYS.values()
    ]


def test_the_variables_override_the_file() -> None:
    overridden = {row[2].strip("`"): row[0].strip("`") for row in table_rows(PAGE, "Configuration") if row[2]}
    values = {
        "SHIM_SOCKET": "/run/x.sock",
        "SHIM_API_ADDR": "127.0.0.1:1",
        "DOCKER_HOST": "tcp://docker.test:2375",
    }
    assert set(overridden) == set(values)
    loaded = load(str(EXAMPLES / "envoy-docker-shim.yaml"), values)
    assert {variable: str(getattr(loaded, key)) for variable, key in overridden.items()} == values


def test_the_table_of_labels_is_the_codes() -> None:
    assert table_rows(PAGE, "Labels") == [
        [f"`{label.name}`", label.meaning, label.default] for label in LABELS
    ]


def test_the_table_of_who_starts_containers_is_the_codes() -> None:
    *told, docker = table_rows(PAGE, "Swarm, ECS, Nomad")
    assert told == [[row.name, row.service, row.environment] for row in ORCHESTRATORS]
    assert docker[0] == "Docker alone"


def test_the_table_of_modes_is_the_codes() -> None:
    assert table_rows("docs/how-it-works.md", "Modes") == [
        [f"`{mode.name}`", mode.meaning] for mode in MODES.values()
    ]


def test_the_ports_that_are_known_to_speak_first_are_the_codes() -> None:
    (listed,) = re.findall(
        r"container's ports ([\d, and]+)\s+are tcp from the start", prose("docs/how-it-works.md")
    )
    assert [int(port) for port in re.findall(r"\d+", listed)] == list(KNOWN_PORTS)


def test_the_table_of_requests_is_the_codes() -> None:
    *pages, spans, discovery = table_rows(PAGE, "API")
    assert pages == [[f"`GET {path}`", page.meaning] for path, page in PAGES.items()]
    assert spans[0] == f"`POST {SPANS_PATH}`"
    assert re.findall(r":(\w+)`", discovery[0]) == list(KINDS)
    assert f"`POST {DISCOVERY}" in discovery[0]


def test_every_attribute_that_a_span_is_given_is_listed() -> None:
    listed = first_cells("docs/metrics-and-tracing.md", "What is in a span")
    assert listed[: len(ATTRIBUTES) + 1] == [*ATTRIBUTES, HOST_NAME]


def test_the_table_of_a_logs_line_is_the_codes() -> None:
    page = table_rows("docs/metrics-and-tracing.md", "What is in a line")
    assert page == [[f"`{field.name}`", field.meaning] for field in FIELDS]


def test_the_table_of_commands_is_complete() -> None:
    # A relay is only ever what a UDP shim turns into.
    assert set(first_cells(PAGE, "Commands")) >= {*ROLES} - {"relay"}
    assert [row[0].strip("`") for row in table_rows(PAGE, "Commands")][-1] == "version"


def _options(text: str) -> set[str]:
    return set(re.findall(r"--[a-z-]+", text)) - {"--help"}


@pytest.mark.parametrize("row", table_rows(PAGE, "Commands"), ids=lambda row: row[0].strip("`"))
def test_a_commands_options_are_those_of_its_help(
    row: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = row[0].strip("`")
    monkeypatch.setattr("sys.argv", ["envoy-docker-shim", command, "--help"])
    with pytest.raises(SystemExit):
        main()
    described = capsys.readouterr().out.partition("\nexamples:")[0]
    assert _options(row[1]) == _options(described)


def test_every_option_is_explained() -> None:
    commands, options = tables(PAGE, "Commands")
    used = {option for row in commands for option in _options(row[1])}
    assert {option for row in options for option in _options(row[0])} == used
