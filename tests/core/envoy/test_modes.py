"""How the table of modes is told in a sentence, also when a third mode is in it."""

import pytest

from shim.core.envoy import modes
from shim.core.envoy.modes import MODES, TCP, mode_names, none_of_the_modes


def test_two_modes_make_an_or_and_a_neither() -> None:
    assert (mode_names(), mode_names("`")) == ("http or tcp", "`http` or `tcp`")
    assert none_of_the_modes() == "neither http nor tcp"


def test_a_third_mode_makes_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modes, "MODES", {**MODES, "raw": TCP._replace(name="raw")})
    assert mode_names("`") == "`http`, `tcp` or `raw`"
    assert none_of_the_modes() == "none of http, tcp and raw"
