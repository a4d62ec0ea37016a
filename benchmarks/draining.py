"""How fast workers run the tasks of a backlog, and what that costs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks import processes
from benchmarks.contestants.board import Slot
from benchmarks.place import Figures, Place, until
from benchmarks.processes import Usage
from benchmarks.programs import Contestant, Workers
from benchmarks.server import Server


@dataclass(frozen=True)
class Drain:
    """One worker process or several, and what they find."""

    workload: str = "noop"
    processes: int = 1
    concurrency: int = 100


def drain(place: Place, contestant: Contestant, kind: Drain, most: int) -> Figures:
    """Runs as many tasks as take the contestant a few seconds, at most so many per process."""
    calibration = Drain(kind.workload)
    count = place.count(
        contestant,
        f"drain {kind.workload}",
        most,
        lambda probe: drain_exactly(place, contestant, calibration, probe)["rate"],
    )
    return drain_exactly(place, contestant, kind, min(most, count) * kind.processes)


def drain_exactly(place: Place, contestant: Contestant, kind: Drain, count: int) -> Figures:
    """Runs so many tasks, however long that takes."""
    seen = place.fresh()
    contestant.ask("fill", redis=place.server.url, count=count, workload=kind.workload)
    place.server.redis.config_resetstat()
    with contestant.working(
        kind.processes,
        redis=place.server.url,
        concurrency=kind.concurrency,
        workload=kind.workload,
        board=place.board_path,
    ) as workers:
        watch = _Watch(place.server, workers)
        until(seen, count, workers, watch.look)
        end = _Instant.now(place.server, workers, seen.runs())
        slots = seen.slots()
    script_calls = place.server.script_calls()
    return {
        "rate": rate(slots, watch.samples, count),
        "tasks": float(count),
        "worker_processes_seen": float(len(slots)),
        "script_calls_per_1000": script_calls / count * 1000,
        **_costs(watch.first, end),
    }


def rate(slots: Sequence[Slot], samples: Sequence[tuple[int, int]], count: int) -> float:
    """Tasks per second, from when the last process has begun until the last task.

    `samples` are times and how many tasks had been run then. A process that has joined only when
    most was done (or a child that replaced another) does not shorten the time that is counted.
    """
    begin, end = max(slot.first_ns for slot in slots), max(slot.last_ns for slot in slots)
    done = _runs_at(begin, samples)
    if len(slots) == 1 or done > count / 2:
        begin, done = min(slot.first_ns for slot in slots), 0
    return (count - done) / max(1, end - begin) * 1e9


def _runs_at(moment: int, samples: Sequence[tuple[int, int]]) -> float:
    """Between two looks the number is taken to have grown evenly."""
    before, runs = 0, 0
    for at, later in samples:
        if at >= moment:
            return runs + (later - runs) * (moment - before) / max(1, at - before)
        before, runs = at, later
    return runs


@dataclass
class _Watch:
    """Looks on while tasks are run."""

    server: Server
    workers: Workers
    samples: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    first: _Instant | None = None

    def look(self, runs: int) -> None:
        self.samples.append((time.time_ns(), runs))
        if runs and self.first is None:
            self.first = _Instant.now(self.server, self.workers, runs)


@dataclass(frozen=True)
class _Instant:
    """What had been used when so many tasks had been run."""

    runs: int
    redis_cpu_s: float
    workers: Usage | None
    machine: tuple[int, int] | None

    @classmethod
    def now(cls, server: Server, workers: Workers, runs: int) -> _Instant:
        return cls(
            runs,
            server.cpu_seconds(),
            processes.usage(workers.sessions),
            processes.machine_ticks(),
        )


def _costs(first: _Instant | None, end: _Instant) -> Figures:
    if first is None or end.runs <= first.runs:
        return {}  # over before it could be looked at
    tens = (end.runs - first.runs) / 10_000
    costs = {"redis_cpu_s_per_10000": (end.redis_cpu_s - first.redis_cpu_s) / tens}
    if first.workers and end.workers:
        used = end.workers.cpu_seconds - first.workers.cpu_seconds
        costs["worker_cpu_s_per_10000"] = used / tens
        costs["worker_rss_mib"] = end.workers.resident_bytes / 2**20
    if first.machine and end.machine and end.machine[1] > first.machine[1]:
        busy = end.machine[0] - first.machine[0]
        costs["cores_busy"] = busy / (end.machine[1] - first.machine[1])
    return costs
