"""The whole system, once a module and engine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.engines import Engine
from tests.harness.stack import Stack


@pytest.fixture(scope="module")
def stack(artifact: Path, engine: Engine) -> Iterator[Stack]:
    with Stack(artifact, engine, neighbour=True) as running:
        yield running


@pytest.fixture
def clean(stack: Stack) -> Iterator[None]:
    """Removes the containers of the test before the next one starts."""
    yield
    if left := stack.dockerd.docker("ps", "--all", "--quiet").split():
        stack.dockerd.docker("rm", "--force", *left)
