"""A thread that keeps leases while a handler blocks the event loop, and says which one does."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import sys
import threading
import time
import traceback
from itertools import dropwhile
from types import FrameType

from .._broker.broker import Broker, extend_calls
from .._broker.connection import SyncConnection
from ..errors import RedisError
from .inflight import Inflight, Running, by_queue
from .timing import Timing

_log = logging.getLogger("asyncq")

_LOOK_EVERY_S = 0.5
EXIT_BLOCKED = 70
"""The exit status of a command-line worker whose event loop stays blocked (EX_SOFTWARE)."""


class Guard:
    """Watches the event loop's beat from a thread with a connection of its own.

    A lease is kept until its task's own deadline and the shutdown time-out have passed. Code
    that holds the interpreter's lock stops this thread too.
    """

    def __init__(
        self,
        broker: Broker,
        inflight: Inflight,
        *,
        timing: Timing,
        patience_s: float,
        exit_if_blocked: bool,
    ) -> None:
        self._broker = broker
        self._inflight = inflight
        self._timing = timing
        self._patience_s = patience_s
        self._exit_if_blocked = exit_if_blocked
        self._beat = time.monotonic()
        self._loop_thread = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self) -> None:
        """Guard the running loop until cancelled. Raises RuntimeError if the thread ended."""
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._beat = time.monotonic()
        ended, failure = threading.Event(), list[BaseException]()
        thread = threading.Thread(
            target=self._guard, args=(ended, failure), name="asyncq-guard", daemon=True
        )
        thread.start()
        try:
            while thread.is_alive():
                self._beat = time.monotonic()
                await asyncio.sleep(_LOOK_EVERY_S)
        finally:
            ended.set()
        raise RuntimeError(
            "the guard's thread ended: no lease would be kept while a handler blocks the loop"
        ) from next(iter(failure), None)

    def _guard(self, ended: threading.Event, failure: list[BaseException]) -> None:
        try:
            self._watch(ended)
        except BaseException as error:  # noqa: BLE001 - for `run` to raise, not for stderr
            failure.append(error)

    def _watch(self, ended: threading.Event) -> None:
        connection = self._broker.connection.sync()
        blocked_since: float | None = None
        next_step = 0.0
        try:
            while not ended.wait(_LOOK_EVERY_S):
                now = time.monotonic()
                if now - self._beat < self._timing.blocked_after:
                    if blocked_since is not None:
                        _log.warning("the event loop runs again after %.1f s", now - blocked_since)
                    blocked_since = None
                elif blocked_since is None:
                    blocked_since = self._beat
                    self._report(now - self._beat)
                    next_step = now
                if blocked_since is not None and now >= next_step:
                    next_step = now + self._timing.heartbeat
                    self._step(connection)
        finally:
            connection.close()

    def _step(self, connection: SyncConnection) -> None:
        entitled = [running for running in self._inflight.all() if self._entitled(running)]
        for queue, attempts in by_queue(entitled).items():
            try:
                self._extend(connection, queue, attempts)
            except RedisError as error:
                _log.warning("renewing leases while the event loop is blocked: %s", error)
            except Exception:  # noqa: BLE001 - without this thread every lease would run out
                _log.exception("renewing leases while the event loop is blocked")
        if self._exit_if_blocked and self._hopeless(entitled):
            _log.critical(
                "the event loop is still blocked although the time of what blocks it is up:"
                " leaving with status %d; the stacks of all threads follow",
                EXIT_BLOCKED,
            )
            faulthandler.dump_traceback(file=sys.__stderr__ or 2, all_threads=True)
            logging.shutdown()
            os._exit(EXIT_BLOCKED)

    def _hopeless(self, entitled: list[Running]) -> bool:
        """Whether the task that blocks the loop has no time left; if it is not known which one
        does, whether none has. The others come back sooner elsewhere than here."""
        culprit = self._culprit()
        if culprit is not None:
            return not self._entitled(culprit)
        return len(self._inflight) > 0 and not entitled

    def _entitled(self, running: Running) -> bool:
        return self._broker.clock.now() < running.deadline + self._patience_s

    def _extend(self, connection: SyncConnection, queue: str, attempts: list[Running]) -> None:
        until = time.monotonic() + self._broker.lease_s - 1
        held = [(running.message.id, running.leased.claim) for running in attempts]
        calls = list(extend_calls(queue, held, self._broker.lease_s, self._broker.clock))
        answers: list[int] = []
        for reply in connection.run(calls):
            if isinstance(reply, RedisError):
                raise reply
            answers += reply
        for running, ours in zip(attempts, answers, strict=True):
            if ours:
                running.lease_until = until

    def _report(self, late_s: float) -> None:
        culprit = self._culprit()
        frame = sys._current_frames().get(self._loop_thread)
        _log.error(
            "the event loop has been blocked for %.1f s%s: handlers must not block;"
            " use await, a plain def handler, or asyncio.to_thread. It is at\n%s",
            late_s,
            f" by {culprit}" if culprit else "",
            _stack(frame),
            extra=culprit.log_fields() if culprit else None,
        )

    def _culprit(self) -> Running | None:
        task = asyncio.current_task(self._loop)
        return next((running for running in self._inflight.all() if running.task is task), None)


def _stack(frame: FrameType | None) -> str:
    """The frames from the user's handler on, without those that lead there."""
    frames: list[FrameType] = []
    while frame is not None:
        frames.insert(0, frame)
        frame = frame.f_back
    # Not from the first frame of ours: that of the command line calls others, too.
    from_worker = list(dropwhile(lambda each: not _is_ours(each, "_worker"), frames))
    shown = list(dropwhile(_is_ours, from_worker)) or frames[-4:]
    if not shown:
        return "  (unknown)"
    stack = traceback.StackSummary.extract((each, each.f_lineno) for each in shown)
    return "".join(stack.format()).rstrip()


def _is_ours(frame: FrameType, package: str = "") -> bool:
    name: str = frame.f_globals.get("__name__", "")
    return name.startswith(f"asyncq.{package}")
