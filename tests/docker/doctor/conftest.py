"""One healthy host for all faults."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker.doctor.rig import Rig
from tests.harness.engines import find_engine


@pytest.fixture(scope="package")
def rig(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """One engine does for all: none of it is the engine's doing."""
    made = Rig(artifact, find_engine("28"), tmp_path_factory.mktemp("doctor"))
    with made.running():
        yield made
