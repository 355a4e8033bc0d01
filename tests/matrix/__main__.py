"""`./build.sh matrix`: runs the core cases with each combination of versions, and prints a table.

Not part of CI: a combination takes half a minute, and there are about twenty.
"""

import argparse
import os
import re
import subprocess
import sys
import time

from tests.harness.engines import ROOT, Missing, find_engine
from tests.harness.registrar import SHIV_ROOT
from tests.matrix.axes import BUILD, TOO_OLD, Cell, cells, get_envoy, python_directory, with_shell

# A container's way from `docker run` to its end, in each mode, over each kind of address.
CORE = (
    "tests/docker/test_first.py",
    "tests/docker/test_modes.py::test_http_mode_serves_each_kind_of_host_address_and_no_other",
    "tests/docker/test_modes.py::test_tcp_mode_serves_each_kind_of_host_address_and_no_other",
    "tests/docker/test_modes.py::test_a_websocket_passes_http_mode_and_carries_any_bytes",
    "tests/docker/test_modes.py::test_grpc_over_h2c_passes_http_mode_with_its_trailers",
    "tests/docker/test_lifecycle.py::test_a_port_is_free_although_clients_still_hold_connections_to_it",
    "tests/docker/test_lifecycle.py::test_a_container_starts_without_a_registrar_and_is_served_once_there_is_one",
    "tests/docker/test_lifecycle.py::"
    "test_a_killed_registrars_successor_finds_all_by_itself_and_envoy_notices_nothing",
    "tests/docker/test_tracing_and_stats.py",
    "tests/docker/test_udp.py::test_twenty_clients_at_once_get_their_own_datagrams_back",
    "tests/docker/test_udp.py::test_removing_a_container_frees_its_port_at_once",
    "tests/docker/firewall/test_ways.py::test_whoever_asks_is_served_through_envoy_and_named",
)
COLUMNS = ("ENGINE", "ENVOY", "SH", "PYTHON", "PASSED", "FAILED", "SECONDS")
WIDTHS = (9, 8, 9, 11, 8, 8, 8)


def main() -> int:
    """Run all, or one axis.  0 when every case passed, 1 otherwise."""
    parser = argparse.ArgumentParser("./build.sh matrix", description="The core cases over all versions.")
    parser.add_argument("--only", choices=("engine", "envoy", "sh", "python"), default="", help="one axis")
    parser.add_argument("cases", nargs="*", default=CORE, help="tests to run, as pytest's arguments")
    options = parser.parse_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    print(row(COLUMNS), flush=True)
    good = True
    for cell in cells(options.only):
        try:
            versions = (find_engine(cell.engine).version, cell.envoy, cell.shell, cell.python or "machine's")
        except Missing as problem:
            print(f"{cell.engine}: {problem}")
            good = False
            continue
        began = time.monotonic()
        passed, failed, output = run(cell, options.cases)
        took = f"{time.monotonic() - began:.0f}"
        print(row((*versions, str(passed), str(failed), took)), flush=True)
        for line in re.findall(r"^(?:FAILED|ERROR) .*$", output, re.MULTILINE):
            print(f"  {line}")
        if not passed and not failed:
            print(output[-2000:])
        good = good and passed > 0 and not failed
    if options.only in ("", "envoy"):
        for version in TOO_OLD:
            print(row(("-", version, "-", "-")) + refusal(version))
    return 0 if good else 1


def row(cells: tuple[str, ...]) -> str:
    """One line of the table."""
    return "".join(cell.ljust(width) for cell, width in zip(cells, WIDTHS, strict=False))


def run(cell: Cell, cases: tuple[str, ...]) -> tuple[int, int, str]:
    """(passed, failed, output) of the cases with this combination; errors count as failures."""
    env = {**os.environ, "EDS_ENGINES": cell.engine, "EDS_ENVOY": str(get_envoy(cell.envoy))}
    if cell.python:
        env["PATH"] = f"{python_directory(cell.python)}:{env['PATH']}"
    pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short", *cases]
    done = subprocess.run(
        with_shell(cell.shell, pytest), check=False, cwd=ROOT, env=env, capture_output=True, text=True
    )
    output = done.stdout + done.stderr
    (BUILD / f"{'-'.join(filter(None, cell))}.log").write_text(output)

    def count(what: str) -> int:
        found = re.findall(rf"(\d+) {what}", output.splitlines()[-1] if output else "")
        return int(found[0]) if found else 0

    return count("passed"), count("failed") + count("errors?"), output


def refusal(version: str) -> str:
    """What an Envoy that is too old says of our bootstrap."""
    env = {**os.environ, "SHIV_ROOT": str(SHIV_ROOT)}
    bootstrap = BUILD / "bootstrap.yaml"
    with bootstrap.open("wb") as output:
        subprocess.run([os.environ["EDS_ARTIFACT"], "bootstrap"], check=True, stdout=output, env=env)
    check = [str(get_envoy(version)), "--mode", "validate", "-c", str(bootstrap)]
    said = subprocess.run(check, check=False, capture_output=True, text=True).stderr
    found = re.findall(r"no such\s+field: '\w+'", said)
    return f"does not start: {' '.join(found[0].split())}" if found else said[-300:]


if __name__ == "__main__":
    sys.exit(main())
