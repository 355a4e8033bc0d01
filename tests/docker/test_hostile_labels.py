"""Labels that are no names, through a real Docker and Envoy: they decide names and mode, nothing else."""

import json
import re
from typing import Any

import pytest

from shim.core.envoy.modes import none_of_the_modes
from shim.core.text import NAME_LIMIT
from tests.harness.docker import Dockerd
from tests.harness.stack import Stack

pytestmark = [pytest.mark.docker, pytest.mark.envoy, pytest.mark.usefixtures("clean")]

HOSTILE = {
    "quotes": 'a"b\'c\\"}],"x":{"',
    "newlines": "line\r\nHost: evil\n\nERROR registrar forged",
    "unicode": "\u202edorp\u200b \U0001f433 pr\u00f6d \u540d\u524d \ud7ff",
    "long": "x" * 10_000,
    "commands": "%REQ(authorization)% $(reboot) {{.Id}} ${HOME}",
    "paths": "../../etc/passwd\t/run/secrets",
    "blank": " \n\t ",
}


def listener(stack: Stack, port: int) -> dict[str, Any]:
    """What Envoy runs on this port."""
    dump = stack.envoy.admin_json("/config_dump?resource=dynamic_listeners")
    (found,) = [
        each["active_state"]["listener"]
        for each in dump["configs"]
        if each["name"] == f"tcp/127.0.0.1:{port}"
    ]
    return dict(found)


def shape(document: Any) -> Any:
    """All but the texts, and without a listener's own number."""
    if isinstance(document, dict):
        return {key: shape(value) for key, value in document.items() if key != "port_value"}
    return [shape(value) for value in document] if isinstance(document, list) else type(document)


def run(dockerd: Dockerd, port: int, labels: dict[str, str]) -> None:
    dockerd.run_http(f"on{port}", "-p", f"127.0.0.1:{port}:80", labels=labels)


def test_each_is_served_under_a_clean_name_and_changes_nothing_else(stack: Stack) -> None:
    run(stack.dockerd, 8500, {"ServiceName": "plain", "EnvironmentName": "dev"})
    ports = {kind: 8501 + i for i, kind in enumerate(HOSTILE)}
    for kind, port in ports.items():
        run(stack.dockerd, port, {"ServiceName": HOSTILE[kind], "EnvironmentName": HOSTILE[kind]})
    assert stack.get(8500).text == "on8500\n"
    plain = listener(stack, 8500)
    for kind, port in ports.items():
        assert stack.get(port).text == f"on{port}\n", kind
        binding = stack.binding(port)
        for text in (binding["service"], binding["environment"]):
            assert text.isprintable() and len(text) <= NAME_LIMIT, kind
        assert re.fullmatch(rf"[A-Za-z0-9_-]+-{port}", binding["cluster"]), kind
        assert shape(listener(stack, port)) == shape(plain), kind
    # Names are never a second line of the log, and every name of Envoy's is one for Prometheus.
    lines = stack.registrar.log.read_text().splitlines()
    assert any("forged" in line for line in lines)
    assert not any(line.startswith(("ERROR", "Host")) for line in lines)
    names = re.findall(r'envoy_cluster_name="([^"]*)"', stack.envoy.admin("/stats/prometheus?usedonly"))
    assert names and all(re.fullmatch("[A-Za-z0-9_-]+", name) for name in names)


def test_names_that_are_the_same_once_cleaned_lead_to_their_own_containers(stack: Stack) -> None:
    run(stack.dockerd, 8520, {"ServiceName": "we.b"})
    stack.dockerd.run_http("other", "-p", "127.0.0.2:8520:80", labels={"ServiceName": "we_b"})
    stack.dockerd.run_http("third", "-p", "127.0.0.3:8520:80", labels={"ServiceName": "we/b"})
    answers = [stack.get(8520, address).text for address in ("127.0.0.1", "127.0.0.2", "127.0.0.3")]
    assert answers == ["on8520\n", "other\n", "third\n"]
    clusters = {b["cluster"] for b in stack.registrar.bindings()}
    assert len(clusters) == 3 and "we_b-8520" in clusters


@pytest.mark.parametrize("mode", ["HTTP\nX", "tcp;drop", "h" * 10_000, '"tcp"', "\uff54\uff43\uff50"])
def test_a_mode_that_is_none_is_auto_and_said_to_be_wrong(stack: Stack, mode: str) -> None:
    run(stack.dockerd, 8530, {"ProxyMode": mode})
    assert stack.get(8530).text == "on8530\n"
    binding = stack.binding(8530)
    assert binding["mode"] == "auto"
    assert none_of_the_modes() in binding["problem"] and len(binding["problem"]) < 200
    assert binding["problem"].isprintable()


def test_labels_that_are_none_of_ours_are_nowhere(stack: Stack) -> None:
    labels = {
        "servicename": "lower",
        "ServiceNames.80": "longer",
        "envoy.address": "192.0.2.1",
        "com.docker.compose.project": "secret-project",
        "SECRET": "hunter2",
    }
    run(stack.dockerd, 8540, labels)
    assert stack.get(8540).text == "on8540\n"
    everything = json.dumps(stack.registrar.bindings()) + json.dumps(listener(stack, 8540))
    everything += stack.registrar.log.read_text()
    for value in labels.values():
        assert value not in everything
