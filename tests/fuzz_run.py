"""Fuzzes for long: python tests/fuzz_run.py [--count N] [--seed N] [--atheris] [TARGET ...]

Without `--atheris` seeds are mutated blindly, which is some hundred thousand inputs a second for
the codec. With it (pip install atheris) the coverage of asyncq's own code leads.
"""

from __future__ import annotations

import argparse
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

LONGEST_S = 1.0
"""An input that takes longer hangs."""


def run(name: str, count: int, seed: int) -> None:
    """Blind mutations of one target's seeds."""
    from fuzz_targets import SEEDS, TARGETS, Mutator

    target, mutator = TARGETS[name], Mutator(SEEDS[name], seed)
    begun, slowest = time.perf_counter(), 0.0
    for _ in range(count):
        data = mutator.next()
        start = time.process_time()  # that of this process only: the machine may be busy
        try:
            target(data)
        except BaseException:
            sys.stderr.write(f"{name}: failed on {data!r}\n")
            raise
        took = time.process_time() - start
        if took > slowest:
            slowest = took
            if took > LONGEST_S:
                raise TimeoutError(f"{name}: {took:.1f} s for {data!r}")
    seconds = time.perf_counter() - begun
    sys.stdout.write(
        f"{name}: {count} inputs in {seconds:.1f} s ({count / seconds:.0f} a second),"
        f" the slowest {slowest * 1000:.1f} ms, nothing but documented errors\n"
    )


def run_atheris(name: str, count: int, seed: int) -> None:
    """Led by coverage; it ends the process itself."""
    atheris: Any = import_module("atheris")  # only for this
    with atheris.instrument_imports(include=["asyncq"]):
        from fuzz_targets import SEEDS, TARGETS
    directory = Path("fuzz-corpus") / name
    directory.mkdir(parents=True, exist_ok=True)
    for n, data in enumerate(SEEDS[name]):
        (directory / f"seed-{n}").write_bytes(data)
    flags: list[Any] = [f"-runs={count}", f"-seed={seed}", "-max_len=512", "-timeout=5"]
    atheris.Setup([sys.argv[0], *flags, str(directory)], TARGETS[name])
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="as in fuzz_targets.py")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--atheris", action="store_true")
    args = parser.parse_args()
    if args.atheris and len(args.targets) != 1:
        parser.error("--atheris takes one target, and ends the process")
    for name in args.targets or import_module("fuzz_targets").TARGETS:
        (run_atheris if args.atheris else run)(name, args.count, args.seed)


if __name__ == "__main__":
    main()
