"""How `status` tells what is wrong with labels: a line for each thing, whatever the number of addresses."""

from typing import Any

from shim.core.doctor.problems import SHOWN, mislabelled


def binding(
    port: int, service: str = "web", container: str = "web-1", problem: str = "odd"
) -> dict[str, Any]:
    return {
        "protocol": "tcp",
        "address": "0.0.0.0",
        "port": port,
        "service": service,
        "container": container,
        "problem": problem,
    }


def test_the_addresses_and_names_of_one_container_share_a_line() -> None:
    bindings = [
        binding(80),
        binding(81, "db"),
        binding(82, problem=""),
        binding(83, container="web-2"),
        binding(84, problem="odder"),
    ]
    assert mislabelled({"bindings": bindings}) == [
        "tcp/0.0.0.0:80, tcp/0.0.0.0:81 (web, db): odd",
        "tcp/0.0.0.0:83 (web): odd",
        "tcp/0.0.0.0:84 (web): odder",
    ]


def test_of_many_addresses_some_are_told() -> None:
    (line,) = mislabelled({"bindings": [binding(port) for port in range(1, 1000)]})
    assert line.startswith("tcp/0.0.0.0:1, ") and line.endswith(f"tcp/0.0.0.0:{SHOWN}, ... (web): odd")
