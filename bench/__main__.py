"""bench/run [PART ...] [--quick] [--engine 28|20.10|both]

Measures our file and docker-proxy by turns, prints the table, and writes bench/results.json, results.svg and
RESULTS.md. The exit status is 1 if a part failed; a target that was missed is told, and is no failure.
"""

import argparse
import os
import signal
import sys
import time
import traceback
from dataclasses import replace

from bench.chart import chart
from bench.compiled import HERE
from bench.machine import cpu_ticks, describe_machine, describe_versions
from bench.parts import PARTS, Part, chosen
from bench.plan import PATH, Plan
from bench.report import Report, markdown, text_table

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
    plan = Plan(options.quick, ENGINES[options.engine])
    report = Report(
        time.strftime("%Y-%m-%d %H:%M %Z"),
        " ".join(["bench/run", *argv]),
        describe_machine(),
        describe_versions(plan),
    )
    for part in parts:
        _run(part, plan, report)
    (HERE / "results.json").write_text(report.as_json())
    (HERE / "results.svg").write_text(chart(report.rows))
    (HERE / "RESULTS.md").write_text(markdown(report))
    print(f"\n{text_table(report.rows)}\n")
    for name, text in report.failures.items():
        print(f"FAILED {name}: {text}")
    missed = [f"{row.part}: {row.title}" for row in report.rows if row.met is False]
    print(
        f"{len(report.rows)} rows, {len(missed)} targets missed{''.join(f'{chr(10)}  {x}' for x in missed)}"
    )
    print(f"written: {', '.join(str(HERE / name) for name in ('RESULTS.md', 'results.json', 'results.svg'))}")
    return 1 if report.failures else 0


def _run(part: Part, plan: Plan, report: Report) -> None:
    began = time.monotonic()
    print(f"== {part.title} ({part.name})", file=sys.stderr, flush=True)
    before, (ticks, stolen) = len(report.rows), cpu_ticks()
    try:
        for row in part.measure(plan):
            report.rows.append(replace(row, part=part.name))
        if len(report.rows) == before:
            raise AssertionError("it measured nothing")
    except ModuleNotFoundError as error:
        report.failures[part.name] = f"not there: {error}"
    except Exception as error:  # whatever it is: the other parts go on
        traceback.print_exc()
        report.failures[part.name] = f"{type(error).__name__}: {str(error)[:300]}".replace("\n", " ")
    report.took[part.name] = time.monotonic() - began
    ticks_after, stolen_after = cpu_ticks()
    report.stolen[part.name] = (stolen_after - stolen) / max(ticks_after - ticks, 1) * 100
    failed = ", FAILED" if part.name in report.failures else ""
    print(f"   {report.took[part.name]:.0f} s{failed}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
