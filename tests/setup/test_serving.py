"""What is waited for when ports are to be served, and what is not."""

import re
from typing import Any

import pytest

from shim.core.setup.facts import Port
from shim.setup.serving import await_ports
from shim.setup.tools import SetupError

UDP = Port("udp", "0.0.0.0", 53, "dns")
OTHER = Port("udp", "0.0.0.0", 54, "other")
BOUND = 0.05


def status(*ports: Port) -> dict[str, Any]:
    """The registrar's, where these are served."""
    return {
        "bindings": [
            {"protocol": p.proto, "address": p.ip, "port": p.port, "state": "serving", "rejected_by": {}}
            for p in ports
        ]
    }


def test_ports_that_are_served_are_waited_for_no_longer() -> None:
    await_ports([UDP], lambda: status(UDP), lambda: [UDP], BOUND)


def test_a_port_that_is_published_and_not_served_is_named() -> None:
    with pytest.raises(SetupError, match=re.escape(f"{UDP} at 0.0.0.0 has no shim")):
        await_ports([UDP], status, lambda: [UDP], BOUND)


def test_a_container_that_has_ended_meanwhile_is_nobodys_fault() -> None:
    await_ports([UDP, OTHER], lambda: status(OTHER), lambda: [OTHER], BOUND)
    with pytest.raises(SetupError, match=r"still: 54/udp \(other\) at 0.0.0.0 has no shim$"):
        await_ports([UDP, OTHER], status, lambda: [OTHER], BOUND)
