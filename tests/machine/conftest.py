"""A booted host for each test: it starts in about a second, and what a test did to it is nobody else's."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.conftest import cannot
from tests.harness.engines import Engine, Missing
from tests.harness.machine import Machine


@contextmanager
def booted(engine: Engine) -> Iterator[Machine]:
    """A running machine; where none can be made the test is skipped, or fails as tests.conftest says."""
    try:
        made = Machine(engine)
    except Missing as problem:
        cannot(str(problem))
        raise  # never reached
    with made:
        yield made


@pytest.fixture
def machine(engine: Engine) -> Iterator[Machine]:
    with booted(engine) as running:
        yield running
