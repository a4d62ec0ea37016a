"""What was found: every run of every measure, and what could not be measured and why."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from benchmarks import processes
from benchmarks.measures import Measure
from benchmarks.place import Figures, Sizes
from benchmarks.programs import Contestant, ContestantError, UnsupportedError
from benchmarks.server import Server


@dataclass(frozen=True)
class Spread:
    """A figure over the rounds."""

    median: float
    least: float
    most: float


@dataclass
class Result:
    """One measure."""

    title: str
    figure: str
    unit: str
    more_is_better: bool
    runs: dict[str, list[dict[str, float]]] = field(
        default_factory=dict[str, list[dict[str, float]]]
    )
    """By entrant, one of each round."""
    without: dict[str, str] = field(default_factory=dict[str, str])
    """Entrants that have no figures, and why."""

    def spread(self, entrant: str, figure: str = "") -> Spread | None:
        """None if the entrant has no such figure."""
        name = figure or self.figure
        values = [run[name] for run in self.runs.get(entrant, []) if name in run]
        return Spread(median(values), min(values), max(values)) if values else None


@dataclass
class Results:
    """A whole run; `write` makes it a file."""

    about: dict[str, str]
    sizes: dict[str, object]
    contestants: dict[str, dict[str, str]]
    missing: dict[str, str]
    """Contestants that did not take part, and why."""
    measures: dict[str, Result] = field(default_factory=dict[str, Result])

    def median(self, measure: str, entrant: str, figure: str = "") -> float | None:
        result = self.measures.get(measure)
        spread = result.spread(entrant, figure) if result else None
        return spread.median if spread else None

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> Results:
        data = json.loads(path.read_text())
        data["measures"] = {key: Result(**value) for key, value in data["measures"].items()}
        return cls(**data)


def measure(found: Measure, rounds: int, tell: Callable[[str], None]) -> Result:
    """Runs a measure round by round, in each round every entrant, in turning order.

    An entrant that fails is left out from then on, with the reason: it does not end the run.
    """
    result = Result(found.title, found.figure, found.unit, found.more_is_better)
    for number in range(min(rounds, found.rounds or rounds)):
        for name in _turned(list(found.entrants), number):
            if name in result.without:
                continue
            try:
                figures: Figures = found.entrants[name]()
            except UnsupportedError as error:
                result.without[name] = f"not offered: {error}"
            except ContestantError as error:
                result.without[name] = f"failed: {error}"
            else:
                result.runs.setdefault(name, []).append(dict(figures))
            tell(f"  round {number + 1}  {name:34} {_shown(result, name)}")
    return result


def about(server: Server) -> dict[str, str]:
    """The circumstances of the run."""
    cores = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cores": str(cores) if usable == cores else f"{usable} of {cores}",
        "cpu": processes.cpu_model(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "server": f"{server.name} {server.version}",
        "load": f"{os.getloadavg()[0]:.1f} before the run",
    }


def described(sizes: Sizes) -> dict[str, object]:
    """As JSON has it."""
    return {**asdict(sizes), "concurrencies": list(sizes.concurrencies)}


def informed(contestants: Sequence[Contestant]) -> dict[str, dict[str, str]]:
    return {one.name: one.info for one in contestants}


def _turned(names: list[str], number: int) -> list[str]:
    by = number % max(1, len(names))
    return names[by:] + names[:by]


def _shown(result: Result, name: str) -> str:
    if name in result.without:
        return result.without[name]
    last = result.runs[name][-1][result.figure]
    return f"{last:12,.2f} {result.unit}"
