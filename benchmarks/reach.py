"""What asyncq must reach, and whether it did: computed from a run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.measures import (
    ASYNCQ,
    BARE_COROUTINES,
    BARE_EVALSHA,
    BARE_PING,
    CEILING,
    FROM_GO,
    GO,
    drain_key,
    large_key,
)
from benchmarks.results import Results

ONE, TWO = drain_key(1, 100), drain_key(2, 100)
NEVER_EARLY_MS = 0.0


@dataclass(frozen=True)
class Goal:
    """One row. `reached` and `ok` are None if the run has not measured what it takes."""

    measure: str
    needed: str
    reached: str | None
    ok: bool | None


def goals(run: Results) -> list[Goal]:
    """The rows in the order of their promise."""
    return [
        *_against_peers(run),
        *_against_itself(run),
        *_against_the_floor(run),
        *_waking(run),
        *_costs(run),
        *_shares_of_the_ceiling(run),
    ]


def _against_peers(run: Results) -> list[Goal]:
    drain = run.median(ONE, ASYNCQ)
    peer, peer_rate = _best(run, [ONE], _peers(run))
    _, go_rate = _best(run, _drains(run, 1), [GO])
    goals = [
        _ratio("drain no-op, one process, concurrency 100", drain, peer_rate, 12, peer),
        _ratio("the same", drain, go_rate, 4, "Go asynq at its best concurrency"),
    ]
    peer, peer_rate = _best(run, ["enqueue-concurrent"], _peers(run))
    concurrent = run.median("enqueue-concurrent", ASYNCQ)
    goals += [
        _ratio("enqueue concurrently", concurrent, peer_rate, 6, peer),
        _ratio(
            "the same", concurrent, run.median("enqueue-concurrent-64", GO), 1,
            "Go asynq with 64 goroutines",
        ),
    ]  # fmt: skip
    peer, peer_rate = _best(run, ["enqueue-bulk"], _peers(run))
    bulk = run.median("enqueue-bulk", ASYNCQ)
    return [
        *goals,
        _ratio("enqueue in bulk", bulk, peer_rate, 6, peer),
        _ratio("the same", bulk, concurrent, 1.5, "asyncq's own concurrent enqueue"),
    ]


def _against_itself(run: Results) -> list[Goal]:
    one, two = run.median(ONE, ASYNCQ), run.median(TWO, ASYNCQ)
    busy = run.median(TWO, ASYNCQ, "cores_busy")
    size = f"{run.sizes['large_backlog']:,}"
    scaling = _ratio("drain, two processes", two, one, 1.4, "one process, or cores 95 % busy")
    if scaling.reached is not None and busy is not None:
        shown = f"{scaling.reached}; cores {busy:.0%} busy"
        scaling = Goal(scaling.measure, scaling.needed, shown, scaling.ok or busy >= 0.95)
    large = run.median(large_key(1, 100), ASYNCQ)
    return [_ratio(f"drain of {size}", large, one, 0.95, "the ordinary backlog"), scaling]


def _against_the_floor(run: Results) -> list[Goal]:
    serial = run.median("enqueue-serial", ASYNCQ)
    peer, peer_rate = _best(run, ["enqueue-serial"], _peers(run, "asyncio"))
    sleeping = run.median("sleep10", ASYNCQ)
    return [
        _ratio("enqueue one after another", serial, peer_rate, 1, peer),
        *(
            _ratio("the same", serial, run.median("enqueue-serial", bare), 0.85, bare)
            for bare in BARE_EVALSHA.values()
        ),
        _ratio(
            "tasks that sleep 10 ms, concurrency 100", sleeping,
            run.median("sleep10", BARE_COROUTINES), 0.9, "the same coroutines without a queue",
        ),
    ]  # fmt: skip


def _waking(run: Results) -> list[Goal]:
    late = run.median("lateness", ASYNCQ, "p99_ms")
    result = run.measures.get("lateness")
    least = result.spread(ASYNCQ, "min_ms") if result else None
    early = None if least is None else least.least
    return [
        *(
            _at_most(
                f"pick-up latency p50, {name}", run.median("pick-up", name),
                _pick_up_limit(run, bare), "ms", f"1.5 times {bare}, and 0.5 ms",
            )
            for bare in BARE_PING.values()
            for name in (ASYNCQ, FROM_GO)
        ),
        _at_most("delayed tasks, p99 lateness", late, 25, "ms"),
        Goal(
            "delayed tasks, the earliest", "never early",
            None if early is None else f"{early:.2f} ms",
            None if early is None else early >= NEVER_EARLY_MS,
        ),
    ]  # fmt: skip


def _pick_up_limit(run: Results, bare: str) -> float | None:
    ping = run.median("pick-up", bare, "p50_ms")
    return None if ping is None else 1.5 * ping + 0.5


def _costs(run: Results) -> list[Goal]:
    ours, go = (
        None if (found := run.median("memory", name)) is None else float(round(found))
        for name in (ASYNCQ, GO)
    )
    return [
        _at_most("Redis memory per pending task, whole bytes", ours, go, "bytes", "Go"),
        _at_most("idle worker, calls sent per second", run.median("idle", ASYNCQ), 2, "calls/s"),
    ]


def _shares_of_the_ceiling(run: Results) -> list[Goal]:
    two, ceiling = run.median(TWO, ASYNCQ), run.median(TWO, CEILING)
    return [_ratio("share of the Redis ceiling, two processes", two, ceiling, 0.6, "the ceiling")]


def _ratio(
    measure: str, ours: float | None, theirs: float | None, needed: float, whom: str | None
) -> Goal:
    said = f"{needed:g} times {whom or 'the fastest peer'}"
    if ours is None or not theirs:
        return Goal(measure, said, None, None)
    return Goal(measure, said, f"{ours / theirs:.2f} ({ours:,.0f} to {theirs:,.0f})",
                ours / theirs >= needed)  # fmt: skip


def _at_most(
    measure: str, ours: float | None, limit: float | None, unit: str, why: str = ""
) -> Goal:
    shown = "" if limit is None else f"{limit:,.2f} {unit}"
    said = f"at most {shown} ({why})" if why and shown else f"at most {shown or why}"
    if ours is None or limit is None:
        return Goal(measure, said, None, None)
    return Goal(measure, said, f"{ours:,.2f} {unit}", ours <= limit)


def _peers(run: Results, kind: str | None = None) -> list[str]:
    """Python libraries other than asyncq."""
    return [
        name
        for name, info in run.contestants.items()
        if name not in (ASYNCQ, GO) and (kind is None or info["kind"] == kind)
    ]


def _drains(run: Results, processes: int) -> list[str]:
    return [key for key in run.measures if key.startswith(f"drain-{processes}p-")]


def _best(
    run: Results, measures: Sequence[str], names: Iterable[str]
) -> tuple[str | None, float | None]:
    """Who has the highest rate, and that."""
    rates = {
        name: max(found)
        for name in names
        if (found := [r for key in measures if (r := run.median(key, name)) is not None])
    }
    best = max(rates, key=rates.__getitem__, default=None)
    return best, rates[best] if best else None
