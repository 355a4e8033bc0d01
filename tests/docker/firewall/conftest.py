"""The whole system with Docker's own firewall, once a module and engine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker.firewall.rig import add_six, remove_all, stack_with
from tests.harness.engines import Engine
from tests.harness.stack import Stack


@pytest.fixture(scope="module")
def stack(artifact: Path, engine: Engine) -> Iterator[Stack]:
    with stack_with(artifact, engine) as running:
        add_six(running.dockerd)
        yield running


@pytest.fixture
def clean(stack: Stack) -> Iterator[None]:
    """Removes the containers of the test before the next one starts."""
    yield
    remove_all(stack.dockerd)
