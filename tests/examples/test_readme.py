"""What the README quotes and lists is what there is."""

import json
import re
from pathlib import Path

from shim.__main__ import ROLES
from shim.config.keys import KEYS, Config
from shim.config.load import load
from shim.core.envoy.modes import MODES, Mode
from tests.examples.documents import EXAMPLES, LABELS, README, blocks, table_rows
from tests.harness.engines import ROOT


def test_the_readme_quotes_daemon_json() -> None:
    assert [json.loads(block) for block in blocks("json")] == [
        json.loads((EXAMPLES / "daemon.json").read_text())
    ]


def test_the_readmes_tracing_lines_load(tmp_path: Path) -> None:
    (block,) = blocks("yaml")
    file = tmp_path / "config.yaml"
    for text, kind in (
        (block, "otlp"),
        (block.replace("  otlp:", "  # otlp:").replace("  # zipkin:", "  zipkin:"), "zipkin"),
    ):
        file.write_text(text)
        tracing = load(str(file), {}).tracing
        assert tracing is not None and tracing.kind == kind


def test_the_readmes_commands_exist() -> None:
    text = "\n".join([*blocks("sh"), *re.findall(r"`([^`\n]+)`", README)])
    words = set(re.findall(r"(?:^|\s)envoy-docker-shim ([a-z]+)", text, re.MULTILINE))
    assert {"server", "bootstrap", "up", "status"} <= words
    assert words <= {*ROLES, "envoy"}  # `systemctl enable ... envoy-docker-shim envoy`


def test_the_readmes_links_and_paths_exist() -> None:
    for target in re.findall(r"\]\(([^):]+)\)", README):
        assert (ROOT / target).exists(), target
    for target in re.findall(r"`((?:examples|contrib|tests|shim|dist|\.ci)/[\w./-]+)`", README):
        assert target.startswith("dist/") or (ROOT / target).exists(), target
    map_of_the_tree = README.split("## Developing", 1)[1].split("```")[1]
    for line in map_of_the_tree.strip().splitlines():
        for folder in re.findall(r"(?:^|(?<= ))[\w/]+/(?= )", line.split("  ")[0] + " "):
            assert (ROOT / folder).is_dir(), folder


def test_the_readmes_table_of_keys_is_the_configuration() -> None:
    rows = table_rows("Configuration")
    assert [row[0].strip("`") for row in rows] == list(KEYS)
    for key, default, *_ in rows:
        value = getattr(Config(), key.strip("`"))
        shown = value.name if isinstance(value, Mode) else value
        assert default == ("none" if value is None else f"`{shown}`")


def test_the_readmes_variables_override_the_file() -> None:
    overridden = {row[2].strip("`"): row[0].strip("`") for row in table_rows("Configuration") if row[2]}
    values = {
        "SHIM_SOCKET": "/run/x.sock",
        "SHIM_API_ADDR": "127.0.0.1:1",
        "DOCKER_HOST": "tcp://docker.test:2375",
    }
    assert set(overridden) == set(values)
    loaded = load(str(EXAMPLES / "envoy-docker-shim.yaml"), values)
    assert {variable: str(getattr(loaded, key)) for variable, key in overridden.items()} == values


def test_the_readmes_table_of_labels_is_complete() -> None:
    assert tuple(row[0].strip("`") for row in table_rows("Labels")) == LABELS
    assert all(f"`{mode}`" in table_rows("Labels")[2][1] for mode in MODES)
