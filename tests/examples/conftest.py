"""The README's host, once an engine: IPv6 for the containers, and another machine on the wire."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.engines import Engine
from tests.harness.stack import Stack


@pytest.fixture(scope="package")
def stack(artifact: Path, engine: Engine) -> Iterator[Stack]:
    with Stack(artifact, engine, "--ipv6", "--fixed-cidr-v6=fd00:d0c::/64", neighbour=True) as running:
        yield running
