"""The rows of the table: how a default is shown, and what a text may be."""

from typing import Any

import pytest

from shim.config.keys import Key
from shim.config.values import some_text
from shim.core.envoy.modes import MODES


@pytest.mark.parametrize(
    ("default", "shown"),
    [(None, "none"), ("", "empty"), (0, "`0`"), ("/run/x", "`/run/x`"), (MODES["tcp"], "`tcp`")],
)
def test_a_default_is_shown_as_documentation_writes_it(default: Any, shown: str) -> None:
    assert Key("key", default, "meaning", some_text, "").shown_default == shown


@pytest.mark.parametrize("value", [None, 0, True, [], {}, b"x", ""])
def test_what_is_no_text_is_told_so(value: object) -> None:
    with pytest.raises(ValueError, match="must be a text"):
        some_text(value)
