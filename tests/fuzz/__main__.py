"""`python -m tests.fuzz TARGET --seconds N`; see the package.  Ends with 1 where something was found."""

import argparse
import importlib
import logging
import sys
import time
from pathlib import Path
from random import Random

FOUND = Path(".build/fuzz")


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.fuzz")
    parser.add_argument("target")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    logging.disable()
    corpus = FOUND / options.target
    corpus.mkdir(parents=True, exist_ok=True)
    try:
        # Only where somebody installed it: it has no wheel for every Python that we test with.
        guided = importlib.import_module("atheris")
    except ImportError:
        print("no atheris: mutations of the seeds, without guidance", file=sys.stderr)
        return unguided(options.target, options.seconds, options.seed, corpus)
    with guided.instrument_imports(include=["shim", "h11"]):
        from tests.fuzz.targets import TARGETS
    target = TARGETS[options.target]
    for number, seed in enumerate(target.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    arguments = [
        *(f"-max_total_time={options.seconds}", f"-seed={options.seed}", "-max_len=16384", "-timeout=20"),
        *("-print_final_stats=1", "-rss_limit_mb=2048", f"-artifact_prefix={FOUND}/{options.target}-"),
    ]
    guided.Setup([sys.argv[0], *arguments, str(corpus)], target.run)
    guided.Fuzz()
    return 0


def unguided(name: str, seconds: int, seed: int, corpus: Path) -> int:
    from tests.fuzz.mutate import mutations
    from tests.fuzz.targets import TARGETS

    target = TARGETS[name]
    deadline = time.monotonic() + seconds
    for count, data in enumerate(mutations(target.seeds, Random(seed))):
        if time.monotonic() > deadline:
            print(f"{name}: {count} inputs, nothing found")
            return 0
        try:
            target.run(data)
        except BaseException:
            (corpus.parent / f"{name}-found").write_bytes(data)
            print(f"{name}: found after {count} inputs, kept in {corpus.parent}/{name}-found")
            raise
    return 0


if __name__ == "__main__":
    sys.exit(main())
