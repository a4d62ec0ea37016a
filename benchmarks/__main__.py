"""Measures asyncq and its rivals in one run: `python -m benchmarks`, or `nox -s bench`."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import environments, results, server
from benchmarks.measures import ASYNCQ, Measures
from benchmarks.picture import draw
from benchmarks.place import FULL, QUICK, Place, Sizes
from benchmarks.programs import ROOT, Contestant, ContestantError
from benchmarks.report import markdown
from benchmarks.results import Results

FIGURES = "benchmarks-results.json"
QUICK_CONTESTANTS = ("asyncq", "asynq_go", "arq")


def main(arguments: Sequence[str] | None = None) -> None:
    given = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _leave)
    if given.redraw:
        write(Results.read(given.redraw), given.out)
        return
    sizes = QUICK if given.quick else FULL
    if given.rounds:
        sizes = replace(sizes, rounds=given.rounds)
    names = given.only or (QUICK_CONTESTANTS if given.quick else environments.names())
    with tempfile.TemporaryDirectory(prefix="asyncq-bench-") as directory:
        place = Path(directory) / "board"
        found = run(names, sizes, given.envs.resolve(), place, given.measure, given.out)
    write(found, given.out)
    failed = [result.title for result in found.measures.values() if ASYNCQ in result.without]
    if failed or ASYNCQ in found.missing:
        sys.exit(f"asyncq failed: {failed or found.missing[ASYNCQ]}")


def run(
    names: Sequence[str], sizes: Sizes, envs: Path, board: Path, only: Sequence[str], out: Path
) -> Results:
    """Everything that is measured; `only` names measures by how their keys begin.

    The figures are written after each measure: a run that is broken off is not lost.
    """
    contestants: dict[str, Contestant] = {}
    missing: dict[str, str] = {}
    for name in names:
        tell(f"preparing {name}")
        try:
            contestants[name] = environments.prepare(name, envs)
        except ContestantError as error:
            missing[name] = str(error)
            tell(f"  {name} is missing: {error}")
    with server.running() as redis:
        found = Results(
            results.about(redis),
            results.described(sizes),
            results.informed(list(contestants.values())),
            missing,
        )
        for measure in Measures(Place(redis, board, sizes), contestants).all():
            if not only or any(measure.key.startswith(begin) for begin in only):
                tell(measure.title)
                found.measures[measure.key] = results.measure(measure, sizes.rounds, tell)
                found.write(out / FIGURES)
    return found


def write(found: Results, out: Path) -> None:
    """The figures as JSON, the page and the picture."""
    found.write(out / FIGURES)
    (out / "benchmarks-results.md").write_text(markdown(found))
    try:
        draw(found, out / "benchmarks.svg")
    except ImportError:
        tell("no picture: matplotlib is not installed (nox -s bench installs it)")
    tell(f"written to {out}")


def _leave(signal_number: int, _: object) -> None:
    sys.exit(128 + signal_number)  # by way of every `finally`: servers and workers end


def tell(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {line}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="minutes, not hours: does it work")
    parser.add_argument(
        "--only", action="append", choices=environments.names(), help="a contestant; repeat it"
    )
    parser.add_argument(
        "--measure", action="append", default=[], metavar="KEY",
        help="a measure, or how the keys of several begin; repeat it",
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, help="instead of 3")
    parser.add_argument(
        "--out", type=Path, default=ROOT / ".nox" / "bench-results", metavar="DIRECTORY"
    )
    parser.add_argument(
        "--envs", type=Path, default=ROOT / ".nox" / "bench-envs", metavar="DIRECTORY",
        help="where the environments of the contestants are kept",
    )  # fmt: skip
    parser.add_argument(
        "--redraw", type=Path, metavar="JSON", help="write the page and picture of an earlier run"
    )
    return parser


if __name__ == "__main__":
    main()
