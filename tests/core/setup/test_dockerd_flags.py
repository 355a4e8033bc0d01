"""dockerd's command line, however it is written."""

import pytest

from shim.core.setup.dockerd_flags import dockerd_flags


@pytest.mark.parametrize(
    ("words", "flags"),
    [
        (["/usr/bin/dockerd"], {}),
        ([""], {}),
        (["dockerd", "--debug"], {"debug": "true"}),
        (["dockerd", "-H", "fd://"], {"H": "fd://"}),
        (["dockerd", "--iptables=false", "--debug", "x"], {"iptables": "false", "debug": "true"}),
        (["dockerd", "--config-file", "/x", "--live-restore"], {"config-file": "/x", "live-restore": "true"}),
    ],
)
def test_any_command_line_is_read(words: list[str], flags: dict[str, str]) -> None:
    assert dockerd_flags(words) == flags
