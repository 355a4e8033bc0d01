"""What README and docs/ quote is what there is."""

import json
import re
import shlex
from pathlib import Path

from shim.commands.roles import ROLES
from shim.commands.status import COLUMNS
from shim.config.load import load
from shim.core.envoy.modes import MODES
from tests.examples.documents import EXAMPLES, LABELS, PAGES, README, UNITS, blocks, first_cells, table_rows


def test_the_installation_by_hand_quotes_daemon_json() -> None:
    assert [json.loads(block) for block in blocks("json", "docs/operating.md")] == [
        json.loads((EXAMPLES / "daemon.json").read_text())
    ]


def test_the_lines_for_metrics_and_tracing_load(tmp_path: Path) -> None:
    *others, block = (
        text for text in blocks("yaml", "docs/metrics-and-tracing.md") if "scrape_configs" not in text
    )
    file = tmp_path / "config.yaml"
    for text in others:
        file.write_text(text)
        assert load(str(file), {}) != load(None, {})
    for text, kind in (
        (block, "otlp"),
        (block.replace("  otlp:", "  # otlp:").replace("  # zipkin:", "  zipkin:"), "zipkin"),
    ):
        file.write_text(text)
        tracing = load(str(file), {}).tracing
        assert tracing is not None and tracing.kind == kind


def test_the_commands_that_pages_name_exist() -> None:
    text = "\n".join([*blocks("sh"), *re.findall(r"`([^`\n]+)`", "\n".join(PAGES.values()))])
    words = set(re.findall(r"(?:^|\s)envoy-docker-shim ([a-z]+)", text, re.MULTILINE))
    assert {"install", "up", "status"} <= words
    # `systemctl enable ... envoy-docker-shim envoy`
    assert words <= {*ROLES, "envoy"}


def test_the_readmes_status_has_todays_columns() -> None:
    (head,) = re.findall(r"^STATE .*$", PAGES[README], re.MULTILINE)
    assert tuple(head.split()) == COLUMNS


def test_the_readmes_labels_are_the_first_of_all() -> None:
    told = tuple(first_cells(README, "Labels"))
    assert len(told) >= 4 and told == LABELS[: len(told)]


def test_the_readmes_examples_use_labels_and_modes_that_exist() -> None:
    runs = [line for block in blocks("sh", README) for line in block.splitlines() if "docker run" in line]
    assert runs
    for line in runs:
        for label in re.findall(r"--label (\S+)", line):
            name, _, value = label.partition("=")
            assert name in LABELS
            assert name != "ProxyMode" or value in MODES


def test_the_readmes_costs_are_those_of_the_performance_page() -> None:
    """The figures of both pages, not their words: they are told shorter in one."""
    told = " ".join(" ".join(row) for row in table_rows("docs/performance.md", "Figures"))
    for _, *figures in table_rows(README, "What it costs"):
        for figure in figures:
            assert re.search(rf"(?<![\d.,]){re.escape(figure)}(?![\d.,]*\d)", told), figure


def test_drain_times_are_the_units() -> None:
    """An hour, wherever it is said in seconds."""
    (exec_start,) = re.findall(r"^ExecStart=(envoy .*)$", (UNITS / "envoy.service").read_text(), re.MULTILINE)
    words = shlex.split(exec_start)
    drain = words[words.index("--drain-time-s") + 1]
    assert int(drain) == 3600
    said = re.findall(r"--drain-time-s\W+(\d+)", "\n".join(PAGES.values()))
    said += re.findall(r"--drain-time-s\W+(\d+)", (EXAMPLES / "compose.yaml").read_text())
    said += re.findall(r"--drain-time-s\W+(\d+)", (EXAMPLES / "envoy.yaml").read_text())
    assert len(said) >= 3 and set(said) == {drain}
