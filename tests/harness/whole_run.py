"""Every test: most beside each other, those marked `alone` after them; `python -m tests.harness.whole_run`.

Most of the time a test waits: for a daemon to start, for a lease to end.  So half as many workers again as
there are processors share the files among them, which keeps these at work for three quarters of the time.
What measures time, or loads the machine on purpose, is marked `alone` and has it to itself.

What failed is run once more by itself, unless more failed than accident explains.  The run fails by what
failed twice; what failed once is named at the end, for that is a race to be found.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FAILED = ROOT / ".pytest_cache" / "v" / "cache" / "lastfailed"
ACCIDENTS = 8
NOTHING_COLLECTED = 5
SKIPPED = 10  # the exit code of a part in which a test was skipped that may not be


def pytest(*arguments: str) -> int:
    """Pytest's exit code: 0 passed, 1 some failed, above: it could not run them."""
    print("== pytest", *arguments, flush=True)
    return subprocess.run([sys.executable, "-m", "pytest", *arguments], cwd=ROOT, check=False).returncode


def failed() -> set[str]:
    """The tests that pytest's cache holds as failed."""
    if not FAILED.exists():
        return set()
    return set(json.loads(FAILED.read_text()))


def with_tests_that_run_alone() -> list[str]:
    """The files that have such: to collect all the others takes six seconds."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    return [str(file.relative_to(ROOT)) for file in files if "mark.alone" in file.read_text()]


def verdict(codes: Sequence[int], first: set[str], again: set[str]) -> tuple[int, list[str]]:
    """The run's exit code and what to say, of the codes of each part and of what failed first and again.

    A code above 1 is pytest's own failure (interrupted, wrong usage) and is passed on.
    """
    if worst := max((code for code in codes if code != NOTHING_COLLECTED), default=0):
        if worst > 1:
            return worst, []
        if not first:
            return 1, ["a part failed, and no test of it: see above"]
    lines = [f"failed once, then passed alone: {name}" for name in sorted(first - again)]
    lines += [f"failed: {name}" for name in sorted(again)]
    return int(bool(again)), lines


def main() -> int:
    """Run all of it; returns the exit code."""
    FAILED.unlink(missing_ok=True)
    workers = str(max(2, 3 * (os.cpu_count() or 1) // 2))
    # What it makes is needed from the second minute on.
    with subprocess.Popen([sys.executable, "-m", "tests.harness.prepare"], cwd=ROOT):
        codes = [pytest("-n", workers, "--dist", "loadfile", "--no-loadscope-reorder", "-m", "not alone")]
    codes.append(pytest("-m", "alone", *with_tests_that_run_alone()))
    first = again = failed()
    if first and len(first) <= ACCIDENTS and max(codes) == 1:
        pytest("--last-failed", "--last-failed-no-failures", "none")
        again = failed()
    code, lines = verdict(codes, first, again)
    print(*(f"== {line}" for line in lines), sep="\n", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
