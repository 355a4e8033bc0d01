"""A local user keeps a registrar from finding its shims soon."""

import subprocess
import sys
import time
from statistics import median

from shim.host.procfs import find_shims
from shim.wire.words import MARK
from tests.attacks import huge
from tests.attacks.places import NOBODY

COUNT = 150
ROUNDS = 5


def search() -> float:
    """Seconds that a search takes."""
    took = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        list(find_shims())
        took.append(time.perf_counter() - began)
    return median(took)


def test_huge_command_lines_of_another_user_cost_a_search_next_to_nothing() -> None:
    before = search()
    command = [sys.executable, str(huge.__file__), str(NOBODY), str(COUNT), MARK]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as attacker:
        assert attacker.stdout is not None and attacker.stdin is not None
        try:
            assert attacker.stdout.readline() == b"there\n"
            during = search()
        finally:
            attacker.stdin.close()
    print(f"{COUNT} command lines of 2 MB: {before * 1000:.0f} ms -> {during * 1000:.0f} ms")
    assert during < before + 0.05
