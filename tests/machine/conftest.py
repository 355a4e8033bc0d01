"""A booted host for each test: it starts in about a second, and what a test did to it is nobody else's."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.conftest import or_cannot
from tests.harness.engines import Engine
from tests.harness.machine import Machine
from tests.harness.wait import eventually


@contextmanager
def booted(engine: Engine) -> Iterator[Machine]:
    """A running machine; where none can be made the test is skipped, or fails as tests.conftest says."""
    with or_cannot(Machine, engine) as made:
        yield made


@pytest.fixture
def machine(engine: Engine) -> Iterator[Machine]:
    with booted(engine) as running:
        yield running


def statistics(machine: Machine) -> str:
    """Envoy's page for Prometheus; it is there twice a second (docs/security.md, "Bounds")."""

    def page() -> str:
        answer = machine.host.http_get("http://127.0.0.1:9901/stats/prometheus?usedonly")
        return answer.text if answer.status == 200 else ""

    return eventually(page, 10, "the page of statistics")
