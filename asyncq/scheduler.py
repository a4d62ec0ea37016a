"""`Scheduler`: enqueues tasks again and again, each due time once."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, tzinfo
from math import ceil
from secrets import token_hex
from typing import Any, get_args

from typing_extensions import Unpack

from . import _threads, cron
from ._background import Background
from ._broker.arguments import NewTask
from ._broker.broker import Enqueued, passing
from ._broker.codec import task_info
from ._broker.connection import Connection
from ._broker.scheduling import DueAnswer, Scheduling
from ._clock import Clock
from ._entry import LATE_MS, Entry, Missed
from ._worker.heartbeat import Identity
from ._worker.loop import Backoff, Complaints, run_every, wait_any
from .client import RedisSource, connection_source, new_task
from .errors import RedisError, RedisReplyError
from .info import SchedulerEntry, TaskInfo
from .options import Duration, EnqueueOptions, seconds
from .task import Task, TaskState

PreEnqueue = Callable[[Task, EnqueueOptions], Awaitable[object] | object]
"""`pre_enqueue(task, options)`: told before a scheduler tries to enqueue; plain or async."""

PostEnqueue = Callable[[TaskInfo | None, Exception | None], Awaitable[object] | object]
"""`post_enqueue(info, error)`: told what a scheduler enqueued, or why it could not; plain or
async."""

TraceEnd = Callable[[TaskInfo | None, Exception | None], None]
Trace = Callable[[Task, str], tuple[Task, TraceEnd]]
"""`trace(task, queue)`: called when an entry is due; returns the task to enqueue, with headers of
its own, and what is told the outcome as `post_enqueue` is. That is not called for a due time
which another scheduler enqueued, or nobody. What either raises is logged, and holds up nothing."""

_HOOK_S = 10.0
"""How long a hook may take; the enqueue waits for `pre_enqueue`. By feel."""
_AT_ONCE = 12
"""How many enqueues are on their way at a time: fewer than there are connections."""

_log = logging.getLogger("asyncq")


@dataclass(frozen=True, slots=True)
class _Due:
    """A due time of an entry, and what is enqueued for it."""

    entry: Entry
    ms: int
    new: NewTask
    end: TraceEnd | None


class Scheduler(Background):
    """Enqueues registered tasks when their specs are due.

        scheduler = Scheduler(url)
        scheduler.register("*/15 * * * *", Task("report:refresh"), queue="low")
        scheduler.register("@every 30s", heartbeat_task(), name="heartbeat")
        async with scheduler: ...         # or: await scheduler.run()

    Run as many as you like: each due time is enqueued once, by whichever is first, and all
    agree on the due times by Redis's clock. An entry is the same in all of them if it has the
    same name, or without one the same spec, zone, type, payload, headers and options.

    `location` is the time zone of specs that name none: a `tzinfo` or the name of a zone.
    `missed` is what becomes of due times that are past by more than a minute, as after an outage:
    "skip" them, one task "once" for all of an entry's, or "all" of them. `heartbeat_interval` is
    how often the scheduler shows itself in Redis. `pre_enqueue(task, options)` is told before each
    attempt, `post_enqueue(info, error)` what came of it, if it was this scheduler's. `trace` is
    `asyncq.otel.schedule_trace()`: a span for each due time, and its context in the task's headers.

    Raises what `Client` raises, and `TypeError` or `ValueError` for a setting that cannot be.
    """

    _what = "scheduler"

    def __init__(
        self,
        redis: RedisSource | None = None,
        *,
        location: tzinfo | str = UTC,
        heartbeat_interval: Duration = 10,
        missed: Missed = "skip",
        pre_enqueue: PreEnqueue | None = None,
        post_enqueue: PostEnqueue | None = None,
        trace: Trace | None = None,
        _clock: Clock | None = None,
    ) -> None:
        super().__init__()
        self._redis = redis
        self._location = _zone(location)
        self._heartbeat_s = seconds("heartbeat_interval", heartbeat_interval)
        if self._heartbeat_s <= 0:
            raise ValueError(f"heartbeat_interval= must be more than 0, got {heartbeat_interval!r}")
        if missed not in get_args(Missed):
            raise ValueError(f"missed= takes one of {', '.join(get_args(Missed))}, got {missed!r}")
        self._missed: Missed = missed
        self._pre_enqueue = _hook("pre_enqueue", "(task, options)", pre_enqueue)
        self._post_enqueue = _hook("post_enqueue", "(info, error)", post_enqueue)
        self._trace: Trace | None = _hook("trace", "(task, queue)", trace)
        self._clock = _clock or Clock()
        self._connection = Connection.open(connection_source(redis))
        self._scheduling = Scheduling(self._connection, self._clock)
        identity = Identity(self._clock)
        self._id = f"{identity.host}:{identity.pid}:{identity.id}"
        self._entries: dict[str, Entry] = {}
        self._changed = asyncio.Event()
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._jobs: set[asyncio.Task[None]] = set()
        self._complaints = Complaints()

    @property
    def redis(self) -> RedisSource | None:
        """What was given to find Redis by."""
        return self._redis

    @property
    def id(self) -> str:
        """The name under which it is listed in Redis: host, process and a random id."""
        return self._id

    @property
    def where(self) -> str:
        """The address of Redis, without secrets."""
        return self._connection.where

    @property
    def entries(self) -> list[SchedulerEntry]:
        """What is registered, in that order. `next` is None until the scheduler has started."""
        return [entry.info() for entry in self._entries.values()]

    def register(
        self, spec: str, task: Task, *, name: str | None = None, **options: Unpack[EnqueueOptions]
    ) -> str:
        """Enqueue `task` whenever `spec` is due; returns the id of the entry.

        Before the start or while running. `options` override those of the task. The name is what
        schedulers know the entry by, so that it stays the same when its spec or task change.

        Raises `ValueError` for a spec that cannot be read, an option out of range, or an entry
        that is there already, and `TypeError` for what is no spec, task or option.
        """
        entry = self.make_entry(spec, task, name, options)
        self.add_entry(entry)
        return entry.id

    def unregister(self, entry_id: str) -> None:
        """Enqueue an entry no more. Raises `ValueError` if there is none with this id."""
        if self._entries.pop(entry_id, None) is None:
            raise ValueError(f"there is no entry {entry_id!r}; register returns the ids")
        self._changed.set()

    def __repr__(self) -> str:
        return f"<Scheduler {self._id} at {self.where}: {self._state}>"

    # For the periodic task manager, which looks at entries before it registers them

    def make_entry(self, spec: str, task: Task, name: str | None, options: EnqueueOptions) -> Entry:
        """An entry that is not registered yet. Raises as `register` does."""
        return Entry(spec, task, options, name=name, zone=self._location, clock=self._clock)

    def add_entry(self, entry: Entry) -> None:
        """Register it. Raises `ValueError` if it is there already."""
        for other in self._entries.values():
            if other.place.key == entry.place.key:
                raise ValueError(_already(entry, other))
        self._entries[entry.id] = entry
        self._changed.set()

    # Its life

    async def _live(self, started: Callable[[], None]) -> None:
        try:
            await self._first_beat()
            count = len(self._entries)
            _log.info("scheduling %d %s", count, "entry" if count == 1 else "entries")
            started()
            async with asyncio.TaskGroup() as parts:
                parts.create_task(
                    run_every(
                        "scheduler",
                        self._step,
                        self._heartbeat_s,
                        stop=self._stop,
                        wake=self._changed,
                        at_once=True,
                    )
                )
                parts.create_task(
                    run_every("scheduler heartbeat", self._beat, self._heartbeat_s, stop=self._stop)
                )
            await self._finish_jobs()
            await self._clear()
        finally:
            for job in self._jobs:
                job.cancel()
            await self._connection.aclose()

    async def _first_beat(self) -> None:
        """As `_beat`; but what Redis refuses just now, such as writes while its memory is full, is
        no reason not to start."""
        try:
            await self._beat()
        except RedisReplyError as error:
            if not error.passing:
                raise
            self._complaints.log("scheduler", error)

    async def _step(self) -> float | None:
        """Begin to enqueue what is due. Returns in how many seconds the next is."""
        entries = list(self._entries.values())
        await self._mark([entry for entry in entries if not entry.known])
        soonest: float | None = None
        for entry in entries:
            if not entry.known or entry.busy:
                continue
            due_ms = entry.due_ms(self._missed)
            if due_ms is None:
                continue
            wait_s = (due_ms - entry.now_ms()) / 1000
            if wait_s <= 0:
                entry.busy = True
                self._spawn(self._attend(entry, due_ms))
            elif soonest is None or wait_s < soonest:
                soonest = wait_s
        return soonest

    async def _beat(self) -> None:
        """Show the scheduler, and hear from Redis what others have done and what time it is."""
        if await self._mark(list(self._entries.values())):
            self._changed.set()
        ttl_s = max(1, ceil(2 * self._heartbeat_s))
        await self._scheduling.write_entries(self._id, self.entries, ttl_s)

    async def _mark(self, entries: Sequence[Entry]) -> bool:
        """Whether there was news of any of them."""
        news = False
        asked = [entry.local_s() for entry in entries]
        marks = await self._scheduling.marks([(e.place, e.begins_anew) for e in entries])
        for entry, mark, asked_s in zip(entries, marks, asked, strict=True):
            if isinstance(mark, RedisError):
                self._complaints.log(f"scheduler: {entry}", mark)
            else:
                news = entry.remember(mark, asked_s) or news
        return news

    async def _finish_jobs(self) -> None:
        """What was begun is finished, unless it takes too long."""
        loop = asyncio.get_running_loop()
        until = loop.time() + _HOOK_S
        while self._jobs and loop.time() < until:
            # Each of them may begin another.
            await asyncio.wait(self._jobs, timeout=until - loop.time())

    async def _clear(self) -> None:
        try:
            await self._scheduling.clear(self._id, list(self._entries))
        except RedisError as error:
            _log.warning("the scheduler stays listed for a while: %s", error)

    def _spawn(self, job: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(job)
        self._jobs.add(task)
        task.add_done_callback(self._jobs.discard)

    # One due time

    async def _attend(self, entry: Entry, due_ms: int) -> None:
        """Enqueue an entry for one due time, if no other scheduler does."""
        try:
            if self._pre_enqueue is not None:
                await _call("pre_enqueue", self._pre_enqueue, entry.task, entry.options)
            await self._enqueue(entry, due_ms)
        except Exception as error:  # noqa: BLE001 - one entry must not end the others
            self._complaints.log(f"scheduler: {entry}", error)
            await wait_any(1.0, self._stop)
        finally:
            entry.busy = False
            self._changed.set()

    async def _enqueue(self, entry: Entry, due_ms: int) -> None:
        due, token = self._begin(entry, due_ms), token_hex(8)
        late_ms = LATE_MS if self._missed == "skip" else None
        backoff = Backoff()
        failure: RedisError | None = None
        while True:
            try:
                async with self._places:
                    asked_s = entry.local_s()
                    answer = await self._scheduling.enqueue_due(
                        entry.place, due.new, due_ms, token, late_ms
                    )
            except RedisError as error:
                failure = error
            else:
                entry.hear(answer.now_ms, asked_s)
                if answer.verdict == "early":
                    await wait_any((due_ms - answer.now_ms) / 1000, self._stop)
                    if not self._stop.is_set():
                        continue
                    return
                failure = _to_send_again(answer)
                if failure is None:
                    self._conclude(due, answer)
                    return
            if not passing(failure):
                self._conclude_refused(due, failure)
                return
            self._complaints.log(f"scheduler: {entry} is due", failure)
            await wait_any(backoff.next(), self._stop)
            if self._stop.is_set():
                return  # still due: others enqueue it, or this one when it is back

    def _begin(self, entry: Entry, due_ms: int) -> _Due:
        task: Task = entry.task
        end: TraceEnd | None = None
        if self._trace is not None:
            with _failure_logged("trace"):
                task, end = self._trace(task, entry.composed.queue)
        return _Due(entry, due_ms, new_task(task, entry.composed), end)

    def _conclude(self, due: _Due, answer: DueAnswer) -> None:
        entry = due.entry
        if answer.verdict == "taken":
            entry.done(answer.last_due_ms)
            return
        if answer.verdict == "late":
            entry.done(due.ms, ran=False)
            _log.warning("scheduler: %s could not be enqueued in time and is skipped", entry)
            return
        if isinstance(answer.result, Enqueued):
            entry.done(due.ms)
            self._spawn(self._follow_up(due, answer.result, answer.now_ms))
            return
        # A conflict with another task: done with, as in asynq.
        entry.done(due.ms)
        _log.info("scheduler: %s: %s", entry, answer.result)
        self._tell(due, None, answer.result)

    def _conclude_refused(self, due: _Due, error: RedisError) -> None:
        due.entry.done(due.ms, ran=False)
        _log.error("scheduler: %s was not enqueued: %s", due.entry, error)
        self._tell(due, None, error)

    async def _follow_up(self, due: _Due, stored: Enqueued, now_ms: int) -> None:
        entry, message = due.entry, due.new.message
        _log.debug("scheduler: enqueued %s as %s", entry, message.id)
        due_s = now_ms / 1000 if stored.state is TaskState.PENDING else stored.due_ms / 1000
        self._tell(due, task_info(message, stored.state, next_process_at=due_s or None), None)
        try:
            await self._scheduling.record(entry.id, message.id, now_ms)
        except RedisError as error:
            _log.warning("scheduler: the history of %s lacks an event: %s", entry, error)

    def _tell(self, due: _Due, info: TaskInfo | None, error: Exception | None) -> None:
        if due.end is not None:
            with _failure_logged("trace"):
                due.end(info, error)
        if self._post_enqueue is not None:
            self._spawn(_call("post_enqueue", self._post_enqueue, info, error))


def _to_send_again(answer: DueAnswer) -> RedisError | None:
    """Why Redis would not take it, if it may take it a moment later."""
    return answer.result if isinstance(answer.result, RedisError) else None


async def _call(name: str, hook: Any, *arguments: object) -> None:
    """A user's hook; what it raises is logged, and it is not waited for too long."""
    with _failure_logged(name):
        async with asyncio.timeout(_HOOK_S):
            if inspect.iscoroutinefunction(hook):
                await hook(*arguments)
                return
            made = await _threads.run(name, lambda _: hook(*arguments), None)
            if inspect.isawaitable(made):
                await made


@contextmanager
def _failure_logged(name: str) -> Generator[None]:
    try:
        yield
    except Exception:  # noqa: BLE001 - user code
        _log.exception("the hook %s of the scheduler failed", name)


def _hook(name: str, form: str, value: Any) -> Any:
    if value is not None and not callable(value):
        raise TypeError(f"{name}= takes a function {name}{form}, got {value!r}")
    return value


def _zone(location: object) -> tzinfo:
    if isinstance(location, str):
        return cron.read_zone(location)
    if isinstance(location, tzinfo):
        return location
    raise TypeError(
        "location= takes the name of a time zone such as 'Europe/Berlin', or a tzinfo,"
        f" got {location!r}"
    )


def _already(entry: Entry, other: Entry) -> str:
    if entry.name is not None:
        return (
            f"an entry named {entry.name!r} is registered already: {other}; names tell entries of"
            " a queue apart"
        )
    return (
        f"{entry} is registered already, with the same task and options; give one of them a name="
        " to have it enqueued twice"
    )
