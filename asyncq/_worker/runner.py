"""Runs one attempt: calls the handler, ends it when it must end, and hands over its outcome."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import time
import traceback
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from types import FrameType, MappingProxyType, TracebackType
from typing import Any

from .. import payload
from .._broker.broker import Broker
from .._broker.message import NO_HEADERS, Leased, TaskMessage
from .._broker.outcome import Outcome, Retried
from .._clock import Clock
from ..config import ErrorHandler
from ..context import TaskContext, enter
from ..errors import InvalidResultError, LeaseExpiredError, RevokeTask, TaskTimeoutError
from ..handler import Handler
from ..task import Task
from . import verdict
from .deadlines import Deadlines
from .inflight import Ending, Inflight, Running
from .settler import Settler
from .timing import Timing

_log = logging.getLogger("asyncq")

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType]

_DEFAULT_TIMEOUT_S = 30 * 60
"""For a task with neither time-out nor deadline, which no correct client makes; asynq's."""
_LATEST_S = 253_402_300_799
"""The end of the year 9999, the last that a datetime knows. A message may name any number."""

# Of a coroutine, a generator, or an asynchronous generator.
_FRAMES = ("cr_frame", "gi_frame", "ag_frame")
_AWAITED = ("cr_await", "gi_yieldfrom", "ag_await")


class Runner:
    """Runs attempts, each in an asyncio task of its own. Owns their timers and their ends."""

    def __init__(
        self,
        broker: Broker,
        inflight: Inflight,
        settler: Settler,
        handler: Handler,
        policy: verdict.Policy,
        *,
        clock: Clock,
        timing: Timing,
        error_handler: ErrorHandler | None,
        state: object,
        on_free: Callable[[], None],
        on_told: Callable[[], None],
    ) -> None:
        self._broker = broker
        self._inflight = inflight
        self._settler = settler
        self._handler = handler
        self._policy = policy
        self._clock = clock
        self._timing = timing
        self._error_handler = error_handler
        self._state = state
        self._on_free = on_free
        self._on_told = on_told
        self._context_of_all = contextvars.copy_context()
        self._deadlines = Deadlines(inflight, self._time_out)
        self._telling: set[asyncio.Task[None]] = set()
        self._unkept: set[str] = set()  # task types whose results were dropped, warned of once

    @property
    def telling(self) -> int:
        """How many calls of the error handler have not ended."""
        return len(self._telling)

    def hold(self, leased: Leased) -> Running:
        """Keep the lease of a task, which does not run yet. Its time begins."""
        now = self._clock.now()
        deadline = _deadline(leased.message, now)
        running = Running(leased, now, deadline, time.monotonic() + (deadline - now))
        self._inflight.add(running)
        self._deadlines.watch(running)
        return running

    def start(self, running: Running) -> None:
        """Begin an attempt that is held. Its slot is taken until `on_free` is called."""
        # Not what is current: it is often another attempt whose end makes room for this one.
        running.context = self._context_of_all.copy()
        loop = asyncio.get_running_loop()
        running.task = loop.create_task(self._run(running), context=running.context)

    def give_back(self, running: Running) -> None:
        """Put a task that is held and was not started back at the head of its queue."""
        running.handled = True
        self._settler.put(verdict.on_shutdown(running.leased), running)

    def cancel(self, running: Running, ending: Ending) -> None:
        """End an attempt for a reason; the first reason stands. Nothing happens after its end."""
        if running.handled or running.ending is not None:
            return
        running.ending = ending
        if running.begun and running.task is not None:
            running.task.cancel()
        loop = asyncio.get_running_loop()
        running.timer = loop.call_later(self._timing.cancel, self.abandon, running)

    def _time_out(self, running: Running) -> None:
        self.cancel(running, Ending.TIMEOUT)

    def abandon(self, running: Running) -> None:
        """Stop waiting for a handler that does not end: its outcome is written, its slot freed."""
        if running.handled:
            return
        _log.error(
            "%s is abandoned: %s, and its handler did not end within %g s; it is at\n%s",
            running,
            running.ending.value if running.ending else "no reason",
            self._timing.cancel,
            _place(running.task),
            extra=running.log_fields(),
        )
        context = running.context or self._context_of_all.copy()
        context.run(self._end, running, None, asyncio.CancelledError())

    async def told(self) -> None:
        """Return when the error handler has ended everywhere, or should have."""
        if self._telling:
            await asyncio.wait(self._telling, timeout=self._timing.error_handler + 1)

    async def _run(self, running: Running) -> None:
        running.begun = True
        result: object = None
        error: BaseException | None = None
        # Nothing that a handler raises may reach the loop: SystemExit would end the worker.
        try:
            enter(partial(self._context, running))
            if running.ending is not None:
                raise asyncio.CancelledError
            if running.deadline <= running.started:
                raise TaskTimeoutError
            result = await self._call(running)
        except BaseException as raised:  # noqa: BLE001 - see above
            error = raised
        if running.handled:
            _log.warning("%s: its abandoned handler has ended", running, extra=running.log_fields())
            return
        self._end(running, result, error)

    def _call(self, running: Running) -> Awaitable[object]:
        return self._handler(_task(running.leased.message))

    def _end(self, running: Running, result: object, error: BaseException | None) -> None:
        running.handled = True
        if running.timer is not None:
            running.timer.cancel()
        try:
            self._conclude(running, result, error)
        finally:
            self._on_free()

    def _conclude(self, running: Running, result: object, error: BaseException | None) -> None:
        """Hand over the outcome, then tell of a failure: a task never waits for user code."""
        try:
            failure = self._decide(running, result, error)
        except BaseException:
            # A fault of ours. Its lease must not be kept for ever: let go, the task is recovered.
            self._inflight.remove(running)
            raise
        if failure is not None:
            self._tell(running, *failure)

    def _decide(
        self, running: Running, result: object, error: BaseException | None
    ) -> tuple[BaseException, Outcome | None] | None:
        """Hand over the outcome. What the server imposed goes before what the handler made of it.

        Returns how the attempt failed, if it did, and what becomes of the task, if that is ours
        to say. From here on `cancel` does nothing.
        """
        ending = running.ending
        if ending is Ending.SHUTDOWN and error is not None:
            self._settler.put(verdict.on_shutdown(running.leased), running)
            _log.info("%s goes back to its queue", running, extra=running.log_fields())
            return None
        if ending is Ending.LEASE_LOST:
            return self._lose(running)
        error = verdict.imposed_error(ending) or error
        if error is None:
            try:
                data = payload.encode(result) or b""
            except InvalidResultError as unusable:
                outcome = verdict.on_unusable_result(running.leased, unusable, self._clock.now())
                self._settler.put(outcome, running)
                return unusable, outcome
            self._warn_of_lost_result(running.message, data)
            outcome = verdict.on_success(running.leased, data, self._clock.now)
        else:
            outcome = verdict.on_error(running.leased, error, self._clock.now(), self._policy)
        self._settler.put(outcome, running)
        return None if error is None else (error, outcome)

    def _lose(self, running: Running) -> tuple[LeaseExpiredError, None]:
        """Whoever recovers the task writes what becomes of it."""
        self._inflight.remove(running)
        return LeaseExpiredError(), None

    def _tell(self, running: Running, error: BaseException, outcome: Outcome | None) -> None:
        """Log a failed attempt and tell the user's error handler, whose own failures end here."""
        revoked = verdict.signals(error, RevokeTask)
        uncounted = isinstance(outcome, Retried) and not outcome.is_failure
        _log.log(
            logging.INFO if revoked or uncounted else logging.WARNING,
            "%s %s: %s; %s",
            running,
            "was revoked" if revoked else "failed",
            verdict.error_text(error),
            verdict.what_follows(outcome),
            extra=running.log_fields(),
            exc_info=None if revoked or uncounted or running.ending else _users_traceback(error),
        )
        if self._error_handler is None:
            return
        try:
            told: Any = self._error_handler(_task(running.message), error)
            if inspect.isawaitable(told):
                telling = asyncio.get_running_loop().create_task(self._end_telling(running, told))
                self._telling.add(telling)
                telling.add_done_callback(self._told_one)
        except BaseException:  # noqa: BLE001 - user code: SystemExit would end the worker
            _log.exception("the error handler failed on %s", running, extra=running.log_fields())

    async def _end_telling(self, running: Running, told: Awaitable[object]) -> None:
        try:
            async with asyncio.timeout(self._timing.error_handler):
                await told
        except BaseException:  # noqa: BLE001 - as above
            _log.exception("the error handler failed on %s", running, extra=running.log_fields())

    def _told_one(self, telling: asyncio.Task[None]) -> None:
        self._telling.discard(telling)
        self._on_told()

    def _context(self, running: Running) -> TaskContext:
        if running.shown is None:
            running.shown = self._make_context(running)
        return running.shown

    def _make_context(self, running: Running) -> TaskContext:
        message = running.message

        async def write(result: bytes) -> None:
            if not await self._broker.write_result(running.leased, result):
                raise LeaseExpiredError

        return TaskContext(
            task_id=message.id,
            task_type=message.type,
            queue=message.queue,
            retry_count=message.retried,
            max_retry=message.retry,
            deadline=datetime.fromtimestamp(running.deadline, UTC),
            headers=MappingProxyType(message.headers),
            state=self._state,
            _write=write,
        )

    def _warn_of_lost_result(self, message: TaskMessage, result: bytes) -> None:
        if not result or message.retention > 0 or message.type in self._unkept:
            return
        self._unkept.add(message.type)
        _log.warning(
            "tasks of type %r return a result that is not kept, since they have no retention;"
            " enqueue them with retention=, or return None",
            message.type,
        )


def _deadline(message: TaskMessage, now: float) -> float:
    """The earlier of time-out and deadline, in Unix seconds."""
    if message.timeout:
        until = now + message.timeout
        if message.deadline:
            until = min(until, message.deadline)
    elif message.deadline:
        until = float(message.deadline)
    else:
        until = now + _DEFAULT_TIMEOUT_S
    return min(max(0.0, until), _LATEST_S)


def _task(message: TaskMessage) -> Task:
    # The headers are the message's own, which a retry writes again: not for a handler to change.
    headers = MappingProxyType(message.headers) if message.headers else NO_HEADERS
    return Task.stored(message.type, message.payload, headers)


def _users_traceback(error: BaseException) -> _ExcInfo | None:
    """What to log of an error: from where asyncq called the user's code. None if it never did."""
    trace = error.__traceback__
    while trace is not None and _is_ours(trace.tb_frame.f_globals.get("__name__", "")):
        trace = trace.tb_next
    return None if trace is None else (type(error), error, trace)


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] in ("asyncq", "anyio", "concurrent")


def _place(task: asyncio.Task[None] | None) -> str:
    """Where a suspended handler stands: its own frames, and those of what it waits for."""
    coroutine: Any = task.get_coro() if task is not None else None
    frames: list[FrameType] = []
    while coroutine is not None:
        frame, coroutine = (
            next((found for kind in kinds if (found := getattr(coroutine, kind, None))), None)
            for kinds in (_FRAMES, _AWAITED)
        )
        if frame is not None and (frames or not _is_ours(frame.f_globals.get("__name__", ""))):
            frames.append(frame)
    if not frames:
        return "  (unknown)"
    stack = traceback.StackSummary.extract((frame, frame.f_lineno) for frame in frames)
    return "".join(stack.format()).rstrip()
