"""How the table of modes is told in a sentence, with two of them and with more."""

import pytest

from shim.core.envoy import modes
from shim.core.envoy.modes import HTTP, TCP, mode_names, none_of_the_modes


@pytest.mark.parametrize(
    ("names", "listed", "quoted", "none"),
    [
        (("http", "tcp"), "http or tcp", "`http` or `tcp`", "neither http nor tcp"),
        (("http", "tcp", "raw"), "http, tcp or raw", "`http`, `tcp` or `raw`", "none of http, tcp and raw"),
    ],
)
def test_the_table_is_told_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], listed: str, quoted: str, none: str
) -> None:
    monkeypatch.setattr(modes, "MODES", {name: (HTTP if name == "http" else TCP) for name in names})
    assert (mode_names(), mode_names("`"), none_of_the_modes()) == (listed, quoted, none)
