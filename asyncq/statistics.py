"""`Statistics`: what a server counts of its own work, in plain numbers, for any monitoring.

Redis knows how many tasks there are; only the worker knows how long they took. A server that is
given `ServerConfig(statistics=Statistics())` counts; any other one counts nothing and pays nothing.
`asyncq.metrics` shows the numbers to Prometheus. Names and units are Prometheus's, too.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

K = TypeVar("K")
V = TypeVar("V")

LOOP_SILENT_S = 5.0
"""After so long without a turn the event loop counts as blocked; it is looked at four times a
second. By feel: the guard thread keeps the leases of what runs meanwhile."""
REDIS_SILENT_S = 15.0
"""After so long without an answer Redis counts as away; a server asks at least every five."""

OTHER = "(other)"
"""Stands for the types beyond the limit."""

_SECONDS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
_WAITED = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
_CALLS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
_SIZES = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its name, and what its numbers mean."""

    name: str
    """A counter's without `_total`."""
    kind: Literal["counter", "gauge", "histogram"]
    """What its values are."""
    help: str
    """What it counts."""
    labels: Sequence[str] = ()
    """The names of its labels."""
    bounds: Sequence[float] = ()
    """Of a histogram: the upper bounds of its buckets but for the last, which has none."""


ATTEMPTS = Family(
    "asyncq_worker_attempts",
    "counter",
    "Attempts that ended: succeeded, retried, archived, revoked, requeued (the server left),"
    " lost (so was the lease), unreadable (set aside).",
    ("queue", "type", "outcome"),
)
CUT_SHORT = Family(
    "asyncq_worker_attempts_cut_short",
    "counter",
    "Attempts that the server cancelled: timeout, cancelled (by somebody), lease_lost, shutdown.",
    ("queue", "type", "reason"),
)
DURATION = Family(
    "asyncq_worker_attempt_duration_seconds",
    "histogram",
    "How long attempts ran, from the first line of the handler (middleware included) to its end.",
    ("queue", "type"),
    _SECONDS,
)
PICKUP = Family(
    "asyncq_worker_pickup_latency_seconds",
    "histogram",
    "How long tasks were pending when a worker took them, by Redis's clock; of a delayed or retried"
    " task, since it was due and moved. A sample: of each fetch up to ten tasks.",
    ("queue", "type"),
    _WAITED,
)
PROCESSES = Family("asyncq_worker_processes", "gauge", "Worker processes.")
ENDED = Family(
    "asyncq_worker_processes_ended",
    "counter",
    "Worker processes of `asyncq worker --processes` that are gone, whatever for.",
)
BUSY = Family("asyncq_worker_busy_slots", "gauge", "Handlers that run now.")
CONCURRENCY = Family("asyncq_worker_concurrency", "gauge", "Handlers that may run at a time.")
READY = Family("asyncq_worker_ready", "gauge", "Worker processes that take tasks.")
UNWRITTEN = Family(
    "asyncq_worker_unwritten_outcomes", "gauge", "Attempts that ended and Redis does not know of."
)
FETCHED = Family(
    "asyncq_worker_fetch_batch_size", "histogram", "Tasks in one fetch.", ("queue",), _SIZES
)
SETTLED = Family(
    "asyncq_worker_settle_batch_size", "histogram", "Outcomes in one write.", (), _SIZES
)
CALLS = Family(
    "asyncq_worker_redis_call_duration_seconds",
    "histogram",
    "Round trips to Redis, by the first operation in each; without the waits for new tasks.",
    ("operation",),
    _CALLS,
)
CALL_ERRORS = Family(
    "asyncq_worker_redis_call_errors",
    "counter",
    "Round trips that failed: unavailable, or refused.",
    ("operation", "error"),
)
LAG = Family(
    "asyncq_worker_event_loop_lag_seconds",
    "histogram",
    "How late the event loop was for a call it was asked to make, four times a second.",
    (),
    _CALLS,
)
BLOCKED = Family(
    "asyncq_worker_event_loop_blocked",
    "counter",
    "How often the event loop was blocked for so long that the guard stepped in, by the type of the"
    " task whose handler blocked it.",
    ("type",),
)
FAMILIES = (
    ATTEMPTS,
    CUT_SHORT,
    DURATION,
    PICKUP,
    PROCESSES,
    ENDED,
    BUSY,
    CONCURRENCY,
    READY,
    UNWRITTEN,
    FETCHED,
    SETTLED,
    CALLS,
    CALL_ERRORS,
    LAG,
    BLOCKED,
)

Value = float | Sequence[float]
"""A number; of a histogram the count of each bucket, not cumulated, and then the sum."""

Snapshot = Mapping[str, Sequence[tuple[Sequence[str], Value]]]
"""By the name of the family: the values of the labels, and the value."""


@dataclass(frozen=True, slots=True)
class Health:
    """What is wrong with a worker; each is empty if nothing is."""

    alive: str
    """Why the process may have to be started anew."""
    ready: str
    """Why it takes no tasks now."""


class Source(Protocol):
    """A server at work, as its numbers of this moment are read. Any thread may ask."""

    @property
    def state(self) -> str:
        """As `Server.state`."""
        ...

    @property
    def concurrency(self) -> int:
        """Handlers that may run at a time."""
        ...

    @property
    def busy(self) -> int:
        """Handlers that run now."""
        ...

    @property
    def unwritten(self) -> int:
        """Outcomes that Redis does not have yet."""
        ...


class Histogram:
    """How many values were how large."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """Of the values up to each bound and beyond the one before; then of those beyond all."""
        self.total = 0.0

    def observe(self, value: float) -> None:
        """One more."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def value(self) -> Sequence[float]:
        """As it stands in a `Snapshot`."""
        return [*self.counts, self.total]


class OfType:
    """What was counted of one type of task in one queue. Owned by the event loop."""

    __slots__ = ("cut_short", "duration", "outcomes", "pickup", "succeeded")

    def __init__(self) -> None:
        self.succeeded = 0  # apart from the others: it is counted for almost every task
        self.outcomes: Counter[str] = Counter()
        self.cut_short: Counter[str] = Counter()
        self.duration = Histogram(DURATION.bounds)
        self.pickup = Histogram(PICKUP.bounds)


class Statistics:
    """Numbers that one server, or several of one event loop, count.

    `type_limit` is how many types of tasks are told apart, beyond the patterns that a mux has
    registered: producers choose types, and each one costs memory here and in the monitoring. All
    further ones are counted together, as `(other)`. Labels of queues are those of the servers.

    Servers write, on their event loop; `snapshot` may be called from any thread.

    Raises `ValueError` for a negative limit.
    """

    def __init__(self, *, type_limit: int = 100) -> None:
        if type_limit < 0:
            raise ValueError(f"type_limit= must be 0 or more, got {type_limit}")
        self.last_turn = 0.0
        """When the event loop was last seen turning, by `time.monotonic()`; 0 for never."""
        self.last_reply = 0.0
        """When Redis last answered, by `time.monotonic()`; 0 for never."""
        self.lag = Histogram(LAG.bounds)
        self.settled = Histogram(SETTLED.bounds)
        self.by_queue: dict[str, dict[str, OfType]] = {}
        """By queue and type of the tasks; ask `of_type` for what is not there."""
        self._type_limit = type_limit
        self._known: set[str] = {OTHER, ""}  # an unreadable task has no type
        self._strangers = 0
        self._fetched: dict[str, Histogram] = {}
        self._calls: dict[str, Histogram] = {}
        self._call_errors: Counter[tuple[str, str]] = Counter()
        self._blocked: Counter[str] = Counter()
        self._blocked_lock = threading.Lock()  # guards of several servers are several threads
        self._sources: list[Source] = []

    # What servers tell

    def attach(self, source: Source, types: Iterable[str]) -> None:
        """Read the numbers of this moment from a server too; `types` always count by themselves."""
        self.last_turn = self.last_reply = time.monotonic()  # it has just pinged Redis
        self._known.update(types)
        self._sources = [*self._sources, source]

    def detach(self, source: Source) -> None:
        """The server is closed."""
        self._sources = [other for other in self._sources if other is not source]

    def of_type(self, queue: str, type: str) -> OfType:
        """What is counted of such tasks."""
        by_type = self.by_queue.setdefault(queue, {})
        label = self._label(type)
        row = by_type.get(label)
        if row is None:
            row = by_type[label] = OfType()
        return row

    def fetched(self, queue: str, size: int) -> None:
        """Redis gave so many tasks of a queue."""
        histogram = self._fetched.get(queue)
        if histogram is None:
            histogram = self._fetched[queue] = Histogram(FETCHED.bounds)
        histogram.observe(size)

    def called(self, operation: str, seconds: float, error: str) -> None:
        """A round trip ended; `error` is empty if it did not fail."""
        histogram = self._calls.get(operation)
        if histogram is None:
            histogram = self._calls[operation] = Histogram(CALLS.bounds)
        histogram.observe(seconds)
        if error:
            self._call_errors[operation, error] += 1
        else:
            self.last_reply = time.monotonic()

    def turned(self, late_s: float) -> None:
        """The event loop turned, so late."""
        self.last_turn = time.monotonic()
        self.lag.observe(max(0.0, late_s))

    def blocked(self, type: str) -> None:
        """A handler of this type blocks the event loop; empty if nobody knows which."""
        with self._blocked_lock:
            self._blocked[self._label(type) if type else ""] += 1

    # What monitoring asks

    @property
    def state(self) -> str:
        """That of the server; `starting` before there is one, `closed` when it is gone. Of
        several, of one that is not `active`."""
        states = [source.state for source in self._sources]
        if not states:
            return "closed" if self.last_turn else "starting"
        return next((state for state in states if state != "active"), "active")

    def health(self) -> Health:
        """Whether the event loop turns, and whether tasks are taken."""
        now = time.monotonic()
        silent_s = now - self.last_turn if self.last_turn else 0.0
        blocked = ""
        if silent_s > LOOP_SILENT_S and self.state != "closed":
            blocked = f"the event loop has been blocked for {silent_s:.0f} s"
        return Health(blocked, blocked or self._unready(now))

    def snapshot(self) -> Snapshot:
        """All numbers now, by the names of `FAMILIES`. It can be written as JSON, and read back."""
        sources = self._sources
        return {
            **self._of_types(),
            PROCESSES.name: [((), 1)],
            ENDED.name: [((), 0)],
            BUSY.name: [((), sum(source.busy for source in sources))],
            CONCURRENCY.name: [((), sum(source.concurrency for source in sources))],
            READY.name: [((), int(not self.health().ready))],
            UNWRITTEN.name: [((), sum(source.unwritten for source in sources))],
            FETCHED.name: [((queue,), h.value) for queue, h in _items(self._fetched)],
            SETTLED.name: [((), self.settled.value)],
            CALLS.name: [((operation,), h.value) for operation, h in _items(self._calls)],
            CALL_ERRORS.name: [(labels, n) for labels, n in _items(self._call_errors)],
            LAG.name: [((), self.lag.value)],
            BLOCKED.name: [((of_type,), count) for of_type, count in _items(self._blocked)],
        }

    def _unready(self, now: float) -> str:
        state = self.state
        if state == "stopped":
            return "it takes no new tasks"
        if state != "active":
            return f"it is {state}"
        silent_s = now - self.last_reply
        if silent_s > REDIS_SILENT_S:
            return f"Redis has not answered for {silent_s:.0f} s"
        return ""

    def _of_types(self) -> Snapshot:
        attempts: list[tuple[Sequence[str], Value]] = []
        cut_short: list[tuple[Sequence[str], Value]] = []
        duration: list[tuple[Sequence[str], Value]] = []
        pickup: list[tuple[Sequence[str], Value]] = []
        for queue, by_type in _items(self.by_queue):
            for kind, row in _items(by_type):
                outcomes = {"succeeded": row.succeeded, **row.outcomes}
                attempts += [((queue, kind, word), n) for word, n in outcomes.items()]
                cut_short += [((queue, kind, word), n) for word, n in _items(row.cut_short)]
                if any(row.duration.counts):
                    duration.append(((queue, kind), row.duration.value))
                if any(row.pickup.counts):
                    pickup.append(((queue, kind), row.pickup.value))
        return {
            ATTEMPTS.name: attempts,
            CUT_SHORT.name: cut_short,
            DURATION.name: duration,
            PICKUP.name: pickup,
        }

    def _label(self, type: str) -> str:
        if type in self._known:
            return type
        if self._strangers >= self._type_limit:
            return OTHER
        self._strangers += 1
        self._known.add(type)
        return type


def merged(snapshots: Iterable[Snapshot]) -> Snapshot:
    """The sums of several servers' numbers."""
    sums: dict[str, dict[tuple[str, ...], Value]] = {}
    for snapshot in snapshots:
        for name, samples in snapshot.items():
            of_family = sums.setdefault(name, {})
            for labels, value in samples:
                known = of_family.get(tuple(labels))
                of_family[tuple(labels)] = value if known is None else _sum(known, value)
    return {name: list(of_family.items()) for name, of_family in sums.items()}


def lasting(snapshot: Snapshot) -> Snapshot:
    """What remains of the numbers of a server that is gone: all but those of a moment."""
    return {
        family.name: snapshot[family.name]
        for family in FAMILIES
        if family.kind != "gauge" and family.name in snapshot
    }


def _sum(one: Value, other: Value) -> Value:
    if isinstance(one, Sequence) and isinstance(other, Sequence):
        return [a + b for a, b in zip(one, other, strict=True)]
    if isinstance(one, Sequence) or isinstance(other, Sequence):
        raise TypeError("a histogram and a number have no sum")
    return one + other


def _items(mapping: Mapping[K, V]) -> list[tuple[K, V]]:
    """Of a copy that is made in one step, since the event loop goes on writing."""
    return list(dict(mapping).items())
