"""``./build.sh soak``: exit status 0 when nothing unexpected happened, 1 when something did."""

import argparse
import json
import random
import sys
from pathlib import Path

import tests.soak
from tests.harness.engines import ENGINES, ROOT
from tests.soak.journal import PROMISE
from tests.soak.report import make_report, text_of
from tests.soak.soak import Plan, soak


def main() -> int:
    parser = argparse.ArgumentParser(
        "./build.sh soak",
        description=tests.soak.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--engine", choices=ENGINES, default="28")
    parser.add_argument("--seed", type=int, help="of an earlier run, to have its choices again")
    parser.add_argument("--artifact", type=Path, default=ROOT / "dist" / "envoy-docker-shim")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument(
        "--promise",
        type=float,
        metavar="SECONDS",
        default=PROMISE,
        help="how soon all is well after a cause has gone (%(default)s): more on a busy machine",
    )
    parser.add_argument("--logs", type=Path, metavar="DIR", help="keep the programs' logs there")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 32) if options.seed is None else options.seed
    print(f"{options.minutes:g} minutes on engine {options.engine}, --seed {seed}", flush=True)
    plan = Plan(options.engine, options.minutes * 60, seed, options.promise)
    report = make_report(soak(options.artifact.resolve(), plan, options.logs))
    print(text_of(report))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    return 1 if report["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
