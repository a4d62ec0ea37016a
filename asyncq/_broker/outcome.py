"""How an attempt ended, as values: each kind has a constructor that cannot be wrong.

What they do to the message is asynq's (wire format, section 6); `now` is Unix seconds by the
worker's clock.
"""

from __future__ import annotations

from dataclasses import dataclass

from .message import Leased, TaskMessage, Unreadable


@dataclass(frozen=True, slots=True)
class _OfLeased:
    """What is known of the task whatever its end."""

    leased: Leased

    @property
    def queue(self) -> str:
        return self.leased.message.queue

    @property
    def claim(self) -> str:
        return self.leased.claim


@dataclass(frozen=True, slots=True)
class Done(_OfLeased):
    """Succeeded: the task is deleted."""


@dataclass(frozen=True, slots=True)
class Revoked(Done):
    """Revoked by its handler: the task is deleted as if it had succeeded."""


@dataclass(frozen=True, slots=True)
class Completed(_OfLeased):
    """Succeeded, and is kept for its retention with its result."""

    message: TaskMessage
    result: bytes
    """Empty leaves what was written while it ran."""

    @classmethod
    def at(cls, leased: Leased, result: bytes, now: float) -> Completed:
        return cls(leased, leased.message._replace(completed_at=int(now)), result)


@dataclass(frozen=True, slots=True)
class Retried(_OfLeased):
    """Failed, and is tried again after `delay_s`."""

    message: TaskMessage
    delay_s: float
    is_failure: bool

    @classmethod
    def after(
        cls, leased: Leased, error_text: str, now: float, delay_s: float, *, is_failure: bool
    ) -> Retried:
        message = leased.message
        retried = message.retried + 1 if is_failure else message.retried
        failed = message._replace(retried=retried, error_msg=error_text, last_failed_at=int(now))
        return cls(leased, failed, delay_s, is_failure)


@dataclass(frozen=True, slots=True)
class Archived(_OfLeased):
    """Failed for good: kept where a person can see it."""

    message: TaskMessage

    @classmethod
    def because(cls, leased: Leased, error_text: str, now: float) -> Archived:
        failed = leased.message._replace(error_msg=error_text, last_failed_at=int(now))
        return cls(leased, failed)


@dataclass(frozen=True, slots=True)
class Requeued(_OfLeased):
    """Given back at the head of its queue, as if it had not been taken."""


@dataclass(frozen=True, slots=True)
class Parked:
    """Could not be read: set aside among the archived, as it is, with the reason."""

    unreadable: Unreadable

    @property
    def queue(self) -> str:
        return self.unreadable.queue

    @property
    def claim(self) -> str:
        return self.unreadable.claim


Outcome = Done | Completed | Retried | Archived | Requeued | Parked
