"""A booted host for each test: it starts in about two seconds, and what a test did to it is nobody else's."""

from collections.abc import Iterator

import pytest

from tests.conftest import cannot
from tests.harness.engines import Engine, Missing
from tests.harness.machine import Machine


@pytest.fixture
def machine(engine: Engine) -> Iterator[Machine]:
    try:
        made = Machine(engine)
    except Missing as problem:
        cannot(str(problem))
        raise  # never reached
    with made as running:
        yield running
