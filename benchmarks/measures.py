"""What is measured, and who takes part in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

from benchmarks.ceiling import Ceiling
from benchmarks.draining import Drain, drain, drain_exactly
from benchmarks.place import Figures, Place
from benchmarks.producing import produce
from benchmarks.programs import Contestant
from benchmarks.waking import idling, lateness, memory, pick_up

Entrants: TypeAlias = Mapping[str, Callable[[], Figures]]
ASYNCQ, GO = "asyncq", "asynq_go"
FROM_GO = "asyncq, tasks from Go"
GO_AS_IT_COMES = "asynq_go, looking every 1 s"
"""Its default. What it is measured with wakes soonest, and asks Redis a thousand times a second."""
CEILING = "ceiling: the same calls, replayed"
BARE_PING = {
    "socket": "bare PING, blocking socket",
    "redis-py": "bare PING, redis-py, awaited",
}
BARE_COROUTINES = "the coroutines alone"
BARE_EVALSHA = {client: f"bare EVALSHA, {client}" for client in ("redis-py", "asyncq")}


@dataclass(frozen=True)
class Measure:
    """One comparison. `figure` is the one that stands first, in `unit`."""

    key: str
    title: str
    figure: str
    unit: str
    entrants: Entrants
    rounds: int | None = None
    """If it takes too long for as many as the others."""
    more_is_better: bool = True


class Measures:
    """All measures of one run, for the contestants that there are."""

    def __init__(self, place: Place, contestants: Mapping[str, Contestant]) -> None:
        self._place = place
        self._all = contestants
        asyncq = contestants.get(ASYNCQ)
        self._ceiling = Ceiling(place, asyncq) if asyncq else None

    def all(self) -> list[Measure]:
        """In the order of the report."""
        return [
            *self._enqueues(),
            *self._drains(),
            *self._large_drains(),
            self._sleeping(),
            *self._waking(),
            *self._costs(),
        ]

    def _enqueues(self) -> list[Measure]:
        return [
            self._enqueue("enqueue-serial", "Enqueue one after another", 1),
            self._enqueue("enqueue-concurrent", "Enqueue concurrently, 100 in flight", 100),
            Measure(
                "enqueue-concurrent-64",
                "Enqueue concurrently, 64 in flight",
                "rate",
                "tasks/s",
                {
                    name: partial(produce, self._place, one, "enqueue-concurrent", 64)
                    for name, one in self._all.items()
                    if name in (ASYNCQ, GO)
                },
            ),
            self._enqueue("enqueue-bulk", "Enqueue in bulk", 1),
        ]

    def _enqueue(self, action: str, title: str, in_flight: int) -> Measure:
        entrants = {
            name: partial(produce, self._place, one, action, in_flight)
            for name, one in self._all.items()
        }
        beside: dict[str, Callable[[], Figures]] = {}
        if self._ceiling:
            beside[CEILING] = partial(self._ceiling.produce, action)
            if action == "enqueue-serial":
                for client, name in BARE_EVALSHA.items():
                    beside[name] = partial(self._ceiling.evalsha, client)
        return Measure(action, title, "rate", "tasks/s", {**entrants, **beside})

    def _drains(self) -> list[Measure]:
        return [
            self._drain(Drain(processes=processes, concurrency=concurrency))
            for processes in (1, 2)
            for concurrency in self._place.sizes.concurrencies
        ]

    def _drain(self, kind: Drain) -> Measure:
        most = self._place.sizes.backlog
        beside: dict[str, Callable[[], Figures]] = {}
        if self._ceiling and kind.concurrency == 100:
            beside[CEILING] = self._ceiling.drain
        return Measure(
            drain_key(kind.processes, kind.concurrency),
            f"Drain no-op tasks, {_processes(kind.processes)}, concurrency {kind.concurrency}",
            "rate",
            "tasks/s",
            {
                **{
                    name: partial(drain, self._place, one, kind, most)
                    for name, one in self._all.items()
                },
                **beside,
            },
            rounds=None if kind.concurrency == 100 else 1,
        )

    def _large_drains(self) -> list[Measure]:
        """Only asyncq: the others would take minutes each, and none is asked to keep its rate."""
        size = self._place.sizes.large_backlog
        return [
            Measure(
                large_key(processes, concurrency),
                f"Drain a backlog of {size:,}, {_processes(processes)}, concurrency {concurrency}",
                "rate",
                "tasks/s",
                {
                    name: partial(
                        drain_exactly, self._place, one, Drain("noop", processes, concurrency), size
                    )
                    for name, one in self._all.items()
                    if name == ASYNCQ
                },
                rounds=None if concurrency == 100 else 1,
            )
            for processes in (1, 2)
            for concurrency in self._place.sizes.concurrencies
        ]

    def _sleeping(self) -> Measure:
        kind, most = Drain("sleep10"), self._place.sizes.backlog
        entrants: dict[str, Callable[[], Figures]] = {
            name: partial(drain, self._place, one, kind, most) for name, one in self._all.items()
        }
        if self._ceiling:
            entrants[BARE_COROUTINES] = self._ceiling.coroutines
        title = "Drain tasks that sleep 10 ms, one process, concurrency 100"
        return Measure("sleep10", title, "rate", "tasks/s", entrants)

    def _waking(self) -> list[Measure]:
        entrants: dict[str, Callable[[], Figures]] = {
            name: partial(pick_up, self._place, one) for name, one in self._all.items()
        }
        if self._ceiling:
            for client, name in BARE_PING.items():
                entrants[name] = partial(self._ceiling.ping, client)
            if GO in self._all:
                asyncq, go = self._all[ASYNCQ], self._all[GO]
                entrants[FROM_GO] = partial(pick_up, self._place, asyncq, go)
                entrants[GO_AS_IT_COMES] = partial(pick_up, self._place, _as_it_comes(go))
        late: Entrants = {
            name: partial(lateness, self._place, one) for name, one in self._all.items()
        }
        return [
            Measure(
                "pick-up", "An idle worker picks a task up", "p50_ms", "ms", entrants,
                more_is_better=False,
            ),
            Measure(
                "lateness", "Delayed tasks, 2 to 8 s ahead, begin late", "p99_ms", "ms", late,
                rounds=1, more_is_better=False,
            ),
        ]  # fmt: skip

    def _costs(self) -> list[Measure]:
        idle = {name: partial(idling, self._place, one) for name, one in self._all.items()}
        if GO in self._all:
            idle[GO_AS_IT_COMES] = partial(idling, self._place, _as_it_comes(self._all[GO]))
        return [
            Measure(
                "memory", "Redis memory per pending task", "bytes_per_task", "bytes",
                {name: partial(memory, self._place, one) for name, one in self._all.items()},
                rounds=1, more_is_better=False,
            ),
            Measure(
                "idle", "An idle worker, one queue", "calls_per_s", "calls sent/s",
                idle, rounds=1, more_is_better=False,
            ),
        ]  # fmt: skip


def _as_it_comes(go: Contestant) -> Contestant:
    return replace(go, worker_flags=("--check-every", "1s"))


def drain_key(processes: int, concurrency: int) -> str:
    return f"drain-{processes}p-c{concurrency}"


def large_key(processes: int, concurrency: int) -> str:
    return f"drain-large-{processes}p-c{concurrency}"


def _processes(number: int) -> str:
    return "one process" if number == 1 else f"{number} processes"
