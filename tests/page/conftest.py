"""One host with a real dockerd, registrar, Envoy and Chromium for all that is looked at."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import cannot
from tests.harness.browser import Browser
from tests.harness.engines import Missing
from tests.harness.netns import Place
from tests.harness.stack import Stack


@pytest.fixture(scope="package")
def stack(artifact: Path) -> Iterator[Stack]:
    settings = {
        "traces_url": "http://jaeger.example:16686/search?service={service}&env={environment}",
        "tracing": {"local": True},
    }
    with Stack(artifact, "20.10", settings=settings) as running:
        yield running


@pytest.fixture(scope="package")
def browser(stack: Stack) -> Iterator[Browser]:
    yield from started(stack.host, stack.host.dir / "browser")


def started(place: Place, directory: Path) -> Iterator[Browser]:
    try:
        made = Browser(place, directory)
    except Missing as problem:
        cannot(str(problem))
        raise  # never reached
    with made:
        yield made
