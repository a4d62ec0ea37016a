"""The parts of a server that is given `Statistics`: they do what the plain ones do, and count.

A server without statistics is made of the plain parts and pays nothing. What happens for every
task is two looks at the clock, around its handler, and a part of one pass over each batch of
outcomes.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from .._broker.broker import Fetched
from .._broker.connection import Call, CallHook, Connection
from .._broker.message import Leased
from .._broker.outcome import (
    Archived,
    Completed,
    Done,
    Outcome,
    Parked,
    Requeued,
    Retried,
    Revoked,
)
from ..config import ServerConfig
from ..errors import LeaseExpiredError, RedisError, RedisUnavailableError
from ..statistics import DURATION, OfType, Statistics
from .fetcher import Fetcher, Taken
from .guard import Guard
from .inflight import Ending, Running
from .processor import Processor
from .runner import Runner, _task
from .settler import Settler, _Entry

_LOOK_EVERY_S = 0.25

_WORDS: Mapping[type[Outcome], str] = {
    Done: "succeeded",
    Completed: "succeeded",
    Revoked: "revoked",
    Retried: "retried",
    Archived: "archived",
    Requeued: "requeued",
    Parked: "unreadable",
}
_LOST = "lost"
_REASONS: Mapping[Ending, str] = {
    Ending.TIMEOUT: "timeout",
    Ending.CANCELLED: "cancelled",
    Ending.LEASE_LOST: "lease_lost",
    Ending.SHUTDOWN: "shutdown",
}
_DURATIONS = tuple(DURATION.bounds)
_BRIEF_S = _DURATIONS[0]
_WAITS_OF_A_FETCH = 10
"""Of how many of its tasks is asked how long they were pending. Those of one fetch have waited for
about the same time, and a fetch of a worker that is not behind is no greater."""


class _Observed:
    statistics: Statistics
    """Set once, before the first task."""


class ObservedRunner(_Observed, Runner):
    """Notes when attempts begin and end."""

    def _call(self, running: Running) -> Awaitable[object]:
        running.began = time.monotonic()
        return self._handler(_task(running.leased.message))

    def _end(self, running: Running, result: object, error: BaseException | None) -> None:
        running.ended = time.monotonic()
        Runner._end(self, running, result, error)

    def _lose(self, running: Running) -> tuple[LeaseExpiredError, None]:
        _count(self.statistics, running, _LOST)
        return super()._lose(running)


class ObservedSettler(_Observed, Settler):
    """Counts attempts when their outcomes are about to be written, a batch at a time."""

    def _take(self, count: int) -> list[_Entry]:
        taken = super()._take(count)
        if taken:
            self.statistics.settled.observe(len(taken))
            self._count(taken)
        return taken

    def _count(self, entries: Sequence[_Entry]) -> None:
        """Almost all of a batch succeeded and are like the one before: each step for one of those
        is a cost of every task."""
        kind = queue = ""
        row = OfType()
        for entry in entries:
            running = entry.running
            if running is None or type(entry.outcome) is not Done or running.ending is not None:
                self._count_other(entry)
                continue
            message = running.leased.message
            if message.type != kind or message.queue != queue:
                kind, queue = message.type, message.queue
                row = self.statistics.of_type(queue, kind)
            row.succeeded += 1
            took = running.ended - running.began
            duration = row.duration
            duration.total += took
            duration.counts[0 if took <= _BRIEF_S else bisect_left(_DURATIONS, took)] += 1

    def _count_other(self, entry: _Entry) -> None:
        word = _WORDS[type(entry.outcome)]
        if entry.running is not None:
            _count(self.statistics, entry.running, word)
        else:
            self.statistics.of_type(entry.outcome.queue, "").outcomes[word] += 1


def _count(statistics: Statistics, running: Running, word: str) -> None:
    if not running.begun:
        return  # given back as it came, or cancelled before its turn: no attempt
    message = running.message
    row = statistics.of_type(message.queue, message.type)
    if word == "succeeded":
        row.succeeded += 1
    else:
        row.outcomes[word] += 1
    began = getattr(running, "began", None)
    if began is not None:  # else its time was up before its handler was called
        row.duration.observe(running.ended - began)
    if running.ending is not None:
        row.cut_short[_REASONS[running.ending]] += 1


class ObservedFetcher(_Observed, Fetcher):
    """Counts what each fetch brings, and how long some of it had been pending."""

    def _note(self, queue: str, limit: int, answer: Fetched | RedisError) -> Sequence[Taken]:
        if isinstance(answer, Fetched):
            self.statistics.fetched(queue, len(answer.tasks))
            for index, waited_us in answer.waited:
                held = answer.tasks[index]
                if isinstance(held, Leased):
                    row = self.statistics.of_type(queue, held.message.type)
                    row.pickup.observe(waited_us / 1e6)
        return super()._note(queue, limit, answer)


class ObservedGuard(_Observed, Guard):
    """Counts how often it has to step in."""

    def _report(self, late_s: float) -> None:
        culprit = self._culprit()
        self.statistics.blocked(culprit.message.type if culprit else "")
        super()._report(late_s)


@dataclass(frozen=True, slots=True)
class Kinds:
    """What the parts of a server are that differ with statistics and without."""

    fetcher: type[Fetcher]
    settler: type[Settler]
    runner: type[Runner]
    guard: type[Guard]
    asks_waits: int
    """As `Broker` takes it."""

    @classmethod
    def of(cls, config: ServerConfig) -> Kinds:
        if config.statistics is None:
            return cls(Fetcher, Settler, Runner, Guard, 0)
        return cls(
            ObservedFetcher, ObservedSettler, ObservedRunner, ObservedGuard, _WAITS_OF_A_FETCH
        )


class Serving(Protocol):
    """What is asked of the server itself, which no part of it knows."""

    @property
    def config(self) -> ServerConfig: ...

    @property
    def state(self) -> str: ...

    @property
    def patterns(self) -> Sequence[str]: ...


class Observation:
    """A server as `Statistics` sees it, for as long as it is entered."""

    def __init__(
        self, statistics: Statistics, server: Serving, processor: Processor, settler: Settler
    ) -> None:
        self._statistics = statistics
        self._server = server
        self._processor = processor
        self._settler = settler

    @classmethod
    def of(
        cls,
        server: Serving,
        connection: Connection,
        processor: Processor,
        parts: tuple[Settler, Fetcher, Runner, Guard],
    ) -> Observation | None:
        """Of the parts of a server, made as `Kinds` says. None if it keeps no statistics."""
        statistics = server.config.statistics
        if statistics is None:
            return None
        connection.on_call = _call_hook(statistics)
        for part in parts:
            if isinstance(part, _Observed):
                part.statistics = statistics
        return cls(statistics, server, processor, parts[0])

    def __enter__(self) -> None:
        self._statistics.attach(self, self._server.patterns)

    def __exit__(self, *_: object) -> None:
        self._statistics.detach(self)

    async def run(self) -> None:
        """Look at how late the event loop is, for ever."""
        while True:
            due = time.monotonic() + _LOOK_EVERY_S
            await asyncio.sleep(_LOOK_EVERY_S)
            self._statistics.turned(time.monotonic() - due)

    @property
    def state(self) -> str:
        return self._server.state

    @property
    def concurrency(self) -> int:
        return self._server.config.concurrency

    @property
    def busy(self) -> int:
        return self._processor.busy

    @property
    def unwritten(self) -> int:
        return self._settler.unwritten


def _call_hook(statistics: Statistics) -> CallHook:
    """What a `Connection` tells of its round trips."""

    def note(calls: Sequence[Call], seconds: float, error: BaseException | None) -> None:
        if error is not None and not isinstance(error, RedisError):
            return  # cancelled: nobody knows what would have come of it
        first = calls[0]
        operation = str(first.args[0]).lower() if first.script is None else first.script.name
        failed = "unavailable" if isinstance(error, RedisUnavailableError) else "refused"
        statistics.called(operation, seconds, failed if error is not None else "")

    return note
