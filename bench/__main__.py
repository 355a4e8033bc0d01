"""bench/run [PART ...] [--quick] [--engine 28|20.10|both]

Measures our file and docker-proxy by turns, prints the table, and writes bench/results.json, results.svg and
RESULTS.md, in which parts that were not measured stay as they were. The exit status is 1 if a part failed;
a target that was missed is told, and is no failure.
"""

import argparse
import os
import signal
import sys
import time
import traceback

from bench.chart import chart
from bench.compiled import HERE
from bench.machine import cpu_ticks, describe_machine, describe_versions
from bench.parts import PARTS, Part, chosen
from bench.plan import PATH, Plan
from bench.report import markdown, text_table
from bench.results import Measured, Results, Run

ENGINES = {"28": ("28",), "20.10": ("20.10",), "both": ("28", "20.10")}


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="bench/run", description=__doc__, usage=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"any of: {', '.join(PARTS)}, or a part of a name"
    )
    parser.add_argument("--quick", action="store_true", help="fewer samples")
    parser.add_argument("--engine", choices=ENGINES, default="both", help="both is the default")
    options = parser.parse_args(argv)
    try:
        parts = chosen(options.parts)
    except LookupError as error:
        parser.error(str(error))
    # As dockerd has it under a service manager: the shims' Python is the system's.
    os.environ["PATH"] = PATH
    # Ended by a signal, it still removes its machines.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    # A shell that starts us in its background ignores it for us, and so for proxies: they miss an early stop.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    plan = Plan(options.quick, ENGINES[options.engine])
    date = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    run = Run(" ".join(["bench/run", *argv]), describe_machine(), describe_versions(plan))
    new = Results({date: run}, {part.name: _measure(part, plan, date) for part in parts})
    results = Results.read(HERE / "results.json")
    results.merge(new)
    texts = {"results.json": results.text(), "results.svg": chart(results), "RESULTS.md": markdown(results)}
    for name, text in texts.items():
        (HERE / name).write_text(text)
    rows = list(new.rows())
    print(f"\n{text_table([row for _, row in rows])}\n")
    failures = {name: part.failure for name, part in new.parts.items() if part.failure}
    for name, failure in failures.items():
        print(f"FAILED {name}: {failure}")
    missed = [f"{name}: {row.title}" for name, row in rows if row.met is False]
    print(f"{len(rows)} rows, {len(missed)} targets missed{''.join(f'{chr(10)}  {x}' for x in missed)}")
    print(f"written: {', '.join(str(HERE / name) for name in texts)}")
    return 1 if failures else 0


def _measure(part: Part, plan: Plan, date: str) -> Measured:
    began = time.monotonic()
    print(f"== {part.title} ({part.name})", file=sys.stderr, flush=True)
    found = Measured(date)
    ticks, stolen = cpu_ticks()
    try:
        for row in part.measure(plan):
            found.rows.append(row.result())
        if not found.rows:
            raise AssertionError("it measured nothing")
    except ModuleNotFoundError as error:
        found.failure = f"not there: {error}"
    except Exception as error:  # whatever it is: the other parts go on
        traceback.print_exc()
        found.failure = f"{type(error).__name__}: {str(error)[:300]}".replace("\n", " ")
    found.seconds = time.monotonic() - began
    ticks_after, stolen_after = cpu_ticks()
    found.stolen = (stolen_after - stolen) / max(ticks_after - ticks, 1) * 100
    failed = ", FAILED" if found.failure else ""
    print(f"   {found.seconds:.0f} s{failed}", file=sys.stderr, flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
