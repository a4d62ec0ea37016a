"""What becomes of a task when an attempt has ended: pure decisions, the words of asynq."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from .._broker.codec import valid_text
from .._broker.message import Leased
from .._broker.outcome import Archived, Completed, Done, Outcome, Requeued, Retried, Revoked
from ..errors import (
    HandlerError,
    InvalidResultError,
    RevokeTask,
    SkipRetry,
    TaskCancelledError,
    TaskTimeoutError,
)
from ..retry import RetryDelay, default_retry_delay
from ..task import Task
from .inflight import Ending

_log = logging.getLogger("asyncq")

_LONGEST_DELAY_S = 100 * 366 * 24 * 3600.0
"""A century, as for enqueueing: what is longer is a slip."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The server's say in failures. Its own failures must not cost a task."""

    retry_delay: RetryDelay
    is_failure: Callable[[BaseException], bool]

    def delay_s(self, retried: int, error: BaseException, task: Task) -> float:
        try:
            delay = self.retry_delay(retried, error, task)
            seconds = delay.total_seconds() if isinstance(delay, timedelta) else float(delay)
            if 0 <= seconds <= _LONGEST_DELAY_S:
                return seconds
            _log.error("retry_delay returned %r; the default is used", delay)
        except BaseException:  # noqa: BLE001 - user code: SystemExit would end the worker
            _log.exception("retry_delay failed; the default is used")
        return default_retry_delay(retried, error, task)

    def counts(self, error: BaseException) -> bool:
        try:
            return bool(self.is_failure(error))
        except BaseException:  # noqa: BLE001 - as above
            _log.exception("is_failure failed; the error counts as a failure")
            return True


def on_success(leased: Leased, result: bytes, now: Callable[[], float]) -> Outcome:
    """The handler returned. A result is kept only as long as the task is."""
    if leased.message.retention > 0:
        return Completed.at(leased, result, now())
    return Done(leased)


def on_error(leased: Leased, error: BaseException, now: float, policy: Policy) -> Outcome:
    """The handler failed, or said how its attempt shall end."""
    message = leased.message
    if signals(error, RevokeTask):
        return Revoked(leased)
    if signals(error, SkipRetry) or message.retried >= message.retry:
        return Archived.because(leased, error_text(error), now)
    task = Task.stored(message.type, message.payload, message.headers)
    delay_s = policy.delay_s(message.retried, error, task)
    is_failure = policy.counts(error)
    return Retried.after(leased, error_text(error), now, delay_s, is_failure=is_failure)


def on_unusable_result(leased: Leased, error: InvalidResultError, now: float) -> Outcome:
    """The handler returned what cannot be stored. The work is done: it is not repeated."""
    return Archived.because(leased, error_text(error), now)


def on_shutdown(leased: Leased) -> Outcome:
    """The server leaves: the task goes back as if it had not been taken."""
    return Requeued(leased)


def what_follows(outcome: Outcome | None) -> str:
    """What becomes of a task after a failed attempt, for the log. None: others decide."""
    match outcome:
        case Retried(message=message, delay_s=delay_s, is_failure=True):
            return f"retry {message.retried} of {message.retry} in {_length(delay_s)}"
        case Retried(delay_s=delay_s):
            return f"not counted, tried again in {_length(delay_s)}"
        case Archived():
            return "archived"
        case Revoked():
            return "deleted"
        case _:
            return "left to its recovery"


def _length(seconds: float) -> str:
    """To the second, or as exact as it needs to be for a short one."""
    if seconds < 10:
        return f"{seconds:.2g} s"
    return f"{seconds:.0f} s" if seconds < 600 else str(timedelta(seconds=round(seconds)))


def imposed_error(ending: Ending | None) -> BaseException | None:
    """The failure that an ending is, whatever the handler made of its cancellation."""
    if ending is Ending.TIMEOUT:
        return TaskTimeoutError()
    if ending is Ending.CANCELLED:
        return TaskCancelledError()
    return None


def signals(error: BaseException, signal: type[Exception]) -> bool:
    """Whether an error is this signal; a group only if all of its leaves are."""
    if isinstance(error, BaseExceptionGroup):
        return all(signals(leaf, signal) for leaf in error.exceptions)
    return isinstance(error, signal)


def error_text(error: BaseException) -> str:
    """What stands in the task's `error_msg`: the text, after the class if that is not ours."""
    try:
        text = str(error)
    except BaseException as unprintable:  # noqa: BLE001 - as above
        text = f"(its text could not be made: {type(unprintable).__name__})"
    text = valid_text(text)
    if isinstance(error, (HandlerError, SkipRetry, RevokeTask)) and text:
        return text
    name = type(error).__name__
    return f"{name}: {text}" if text else name
