"""The host that the pages are about, once an engine: IPv6 for the containers, another machine, tracing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.engines import Engine
from tests.harness.stack import Stack


@pytest.fixture(scope="package")
def stack(artifact: Path, engine: Engine) -> Iterator[Stack]:
    with Stack(
        artifact,
        engine,
        "--ipv6",
        "--fixed-cidr-v6=fd00:d0c::/64",
        settings={"tracing": {"otlp": "grpc://127.0.0.1:4317"}},
        neighbour=True,
    ) as running:
        yield running
