"""How the table of modes is told in a sentence, however many rows it has."""

import pytest

from shim.core.envoy import modes
from shim.core.envoy.modes import TCP, mode_names, none_of_the_modes


@pytest.mark.parametrize(
    ("names", "listed", "none"),
    [
        (["a", "b"], "`a` or `b`", "neither a nor b"),
        (["a", "b", "c"], "`a`, `b` or `c`", "none of a, b and c"),
        (["a", "b", "c", "d"], "`a`, `b`, `c` or `d`", "none of a, b, c and d"),
    ],
)
def test_modes_are_listed_in_plain_english(
    monkeypatch: pytest.MonkeyPatch, names: list[str], listed: str, none: str
) -> None:
    monkeypatch.setattr(modes, "MODES", {name: TCP._replace(name=name) for name in names})
    assert mode_names("`") == listed
    assert mode_names() == listed.replace("`", "")
    assert none_of_the_modes() == none
