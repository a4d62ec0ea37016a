"""One entry of a scheduler: who it is, and when it is due."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from hashlib import sha256
from typing import Any, Literal, TypeAlias
from uuid import uuid4

from . import cron
from ._broker.scheduling import CronPlace, Mark
from ._clock import Clock
from .info import SchedulerEntry
from .option_text import option_texts
from .options import EnqueueOptions, compose, merge, text
from .task import Task

_log = logging.getLogger("asyncq")

Missed: TypeAlias = Literal["skip", "once", "all"]
"""What becomes of due times that nobody enqueued in time: none of them, one task for all of an
entry's, or a task for each."""

LATE_MS = 60_000
"""A due time is missed when it is past by more. Until then it is late, and is made up for
whatever the policy: restarts and failovers take tens of seconds. By feel."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


class Entry:
    """What is enqueued again and again, and what is known of its due times.

    Owned by its scheduler. Times are Unix milliseconds by Redis's clock.
    """

    def __init__(
        self,
        spec: str,
        task: Task,
        options: EnqueueOptions,
        *,
        name: str | None,
        zone: tzinfo,
        clock: Clock,
    ) -> None:
        if not isinstance(task, Task):
            raise TypeError(
                f"a Task is what is registered, got {task!r}; write Task('some:type', payload),"
                " or call your TaskType with its payload"
            )
        self.id = str(uuid4())
        self.schedule = cron.parse(spec, zone)
        self.spec = spec
        self.task = task
        self.options = options
        self.composed = compose(task.options, options)
        self.name = name
        self.fingerprint = fingerprint(spec, zone, task, options)
        """Of all that makes the entry but its name."""
        identity = self.fingerprint if name is None else text("name", name)
        self.place = CronPlace(self.composed.queue, identity, spec)
        self.busy = False
        """Whether an attempt at a due time is under way: they are made in order."""
        self._clock = clock
        self._ahead_s: float | None = None
        """By how much Redis's clock is ahead of ours."""
        self._mark_ms: int | None = None
        self._due_ms: int | None = None
        self._prev_ms: int | None = None

    def __str__(self) -> str:
        return f"{self.name or self.task.type!r} ({self.spec})"

    @property
    def known(self) -> bool:
        """Whether Redis was asked what is done already."""
        return self._mark_ms is not None

    @property
    def begins_anew(self) -> bool:
        """Whether due times of another spec, which the entry's name had, are no start for its
        own: they count from the last one, and all schedulers must agree on it."""
        return not self.known and isinstance(self.schedule, cron.Every)

    def local_s(self) -> float:
        """A clock that nobody sets, to measure Redis's with. It stands still while the machine
        sleeps; then Redis's is heard anew with the next heartbeat."""
        return time.monotonic() + self._clock.skew

    def hear(self, now_ms: int, asked_s: float) -> None:
        """Redis's clock, the only one that counts, showed this since `asked_s` by the local one.

        An answer that took long says little, and does not spoil what is known better.
        """
        least = now_ms / 1000 - self.local_s()
        most = now_ms / 1000 - asked_s
        known = least if self._ahead_s is None else self._ahead_s
        self._ahead_s = min(max(known, least), most)

    def now_ms(self) -> float:
        """Redis's clock, as far as known: a moment behind it rather than ahead."""
        return (self.local_s() + (self._ahead_s or 0.0)) * 1000

    def remember(self, mark: Mark, asked_s: float) -> bool:
        """Take in what Redis knows. Returns whether that is news."""
        self.hear(mark.now_ms, asked_s)
        due_ms = mark.due_ms
        if not self.known and mark.spec != self.place.spec:
            # The name's entry had another spec: what was due since then, this one did not miss.
            due_ms = max(due_ms, mark.now_ms)
        if self._mark_ms is not None and self._mark_ms > mark.now_ms + LATE_MS:
            self._mark_ms = None  # Redis's clock was set back
        if mark.enqueued and mark.spec == self.place.spec:
            self._prev_ms = max(self._prev_ms or 0, mark.due_ms)
        return self._pass(due_ms)

    def done(self, due_ms: int, *, ran: bool = True) -> None:
        """Nothing is left to do for due times up to this one, which some scheduler ran or not."""
        if ran:
            self._prev_ms = max(self._prev_ms or 0, due_ms)
        self._pass(due_ms)

    def due_ms(self, missed: Missed) -> int | None:
        """The due time that comes next, which may be past; None for never again."""
        border_ms = int(self.now_ms()) - LATE_MS
        if self._due_ms is None or self._due_ms > border_ms or missed == "all":
            return self._due_ms
        newest = self.schedule.latest(_moment(self._mark_ms), _moment(border_ms))
        if newest is None:
            return self._due_ms
        if missed == "once":
            return _ms(newest)
        _log.warning(
            "scheduler: %s missed its due times from %s to %s; they are skipped",
            self,
            f"{_moment(self._due_ms):%Y-%m-%d %H:%M:%S} UTC",
            f"{newest:%Y-%m-%d %H:%M:%S} UTC",
        )
        self._pass(_ms(newest))
        return self._due_ms

    def info(self) -> SchedulerEntry:
        """The entry as others see it."""
        return SchedulerEntry(
            id=self.id,
            name=self.name or "",
            spec=self.spec,
            task=self.task,
            options=self.options,
            next=None if self._due_ms is None else _moment(self._due_ms),
            prev=None if self._prev_ms is None else _moment(self._prev_ms),
        )

    def _pass(self, due_ms: int) -> bool:
        if self._mark_ms is not None and due_ms <= self._mark_ms:
            return False
        self._mark_ms = due_ms
        following = self.schedule.next(_moment(due_ms))
        self._due_ms = None if following is None else _ms(following)
        return True


def fingerprint(spec: str, zone: tzinfo, task: Task, options: Mapping[str, Any]) -> str:
    """What schedulers know an entry without a name by."""
    digest = sha256()
    for part in _parts(spec, zone, task, options):
        digest.update(b"%d:" % len(part))  # so that no two lists of parts run into one
        digest.update(part)
    return digest.hexdigest()


def _parts(spec: str, zone: tzinfo, task: Task, options: Mapping[str, Any]) -> Iterator[bytes]:
    yield spec.encode()
    yield str(zone).encode()
    yield task.type.encode()
    yield b"payload" if task.has_payload else b""
    yield task.payload
    for name, value in sorted(task.headers.items()):
        yield name.encode()
        yield value.encode()
    yield b"options"
    for option in sorted(option_texts(merge(task.options, options))):
        yield option.encode()


def _moment(unix_ms: int | None) -> datetime:
    return _EPOCH + (unix_ms or 0) * _MS


def _ms(at: datetime) -> int:
    return (at - _EPOCH) // _MS
