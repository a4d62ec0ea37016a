"""A run as a page of Markdown."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.measures import ASYNCQ, CEILING
from benchmarks.reach import goals
from benchmarks.results import Result, Results, Spread

_NAMES = {
    "p50_ms": "p50, ms",
    "p99_ms": "p99, ms",
    "min_ms": "least, ms",
    "max_ms": "most, ms",
    "tasks": "tasks",
    "cpu_s_per_10000": "producer CPU s / 10 000",
    "worker_cpu_s_per_10000": "worker CPU s / 10 000",
    "redis_cpu_s_per_10000": "Redis CPU s / 10 000",
    "worker_rss_mib": "worker RSS, MiB",
    "worker_cpu_percent": "worker CPU, %",
    "cores_busy": "cores busy",
    "script_calls_per_1000": "script calls / 1 000",
    "commands_in_scripts_per_s": "commands in scripts/s",
}

_INTRODUCTION = """\
Made by `python -m nox -s bench`; [benchmarks.md](benchmarks.md) says what the measures mean. A
figure is the median of the rounds, with the least and the most in brackets."""


def markdown(run: Results) -> str:
    """The whole page."""
    parts = [
        "# Benchmark results",
        _INTRODUCTION,
        _circumstances(run),
        "## What asyncq must reach",
        _table(
            ["measure", "at least", "reached", ""],
            [
                [goal.measure, goal.needed, goal.reached or "not measured", _mark(goal.ok)]
                for goal in goals(run)
            ],
        ),
        "## Measures",
        *(part for result in run.measures.values() for part in _measure(result)),
        "## Contestants",
        _contestants(run),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _circumstances(run: Results) -> str:
    about, sizes = run.about, run.sizes
    return f"""\
* {about["date"]}; {about["cores"]} cores ({about["cpu"]}), {about["system"]}; load {about["load"]}
* {about["server"]} on loopback, without snapshots and append-only file
* rounds: {sizes["rounds"]}; contestants take turns within a round, each with as many tasks as take
  it about {sizes["seconds"]} s (0: a few hundred), in drains at most {sizes["backlog"]:,} for each
  process: rates are what is compared"""


def _measure(result: Result) -> Iterable[str]:
    if not result.runs and not result.without:
        return
    yield f"### {result.title}"
    if result.runs:
        yield _figures(result)
    if result.without:
        yield "\n".join(f"* {name}: {why}" for name, why in result.without.items())


def _figures(result: Result) -> str:
    others = [
        name
        for name in _NAMES
        if name != result.figure
        and any(name in run for runs in result.runs.values() for run in runs)
    ]
    spreads = {name: spread for name in result.runs if (spread := result.spread(name))}
    order = sorted(spreads, key=lambda name: spreads[name].median, reverse=result.more_is_better)
    share = CEILING in spreads
    return _table(
        ["", _NAMES.get(result.figure, result.unit), *(_NAMES[name] for name in others)]
        + (["of the ceiling"] if share else []),
        [
            [
                f"**{name}**" if name == ASYNCQ else name,
                _spread(spreads[name]),
                *(_median(result.spread(name, other)) for other in others),
            ]
            + ([f"{spreads[name].median / spreads[CEILING].median:.0%}"] if share else [])
            for name in order
        ],
    )


def _contestants(run: Results) -> str:
    rows = [
        [
            name,
            info.get("version", ""),
            info.get("kind", ""),
            info.get("runtime", ""),
            info.get("client", ""),
            info.get("configuration", ""),
        ]
        for name, info in run.contestants.items()
    ]
    table = _table(["", "version", "kind", "runtime", "Redis client", "configuration"], rows)
    missing = "\n".join(f"* {name} did not take part: {why}" for name, why in run.missing.items())
    return f"{table}\n\n{missing}" if missing else table


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines
    )


def _spread(spread: Spread) -> str:
    shown = _number(spread.median)
    if spread.least == spread.most:
        return shown
    return f"{shown} ({_number(spread.least)} to {_number(spread.most)})"


def _median(spread: Spread | None) -> str:
    return "" if spread is None else _number(spread.median)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"


def _mark(ok: bool | None) -> str:
    return {True: "yes", False: "**no**", None: ""}[ok]
