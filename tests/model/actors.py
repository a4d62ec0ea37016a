"""Who takes part, what they know, and what they may want."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from hypothesis import strategies as st

from asyncq._broker.aggregation import Aggregation, AggregationSet
from asyncq._broker.arguments import NewTask
from asyncq._broker.maintenance import Expired, Maintenance
from asyncq._broker.message import Leased, Unreadable
from asyncq._broker.outcome import (
    Archived,
    Completed,
    Done,
    Outcome,
    Parked,
    Requeued,
    Retried,
)
from asyncq._broker.producer import Enqueued
from asyncq._broker.scheduling import CronPlace
from asyncq._broker.slices import Slice
from asyncq.errors import (
    DuplicateTaskError,
    TaskIdConflictError,
)

from . import life
from .wire import Skewed

QUEUE = "q"
NAMES = ("a", "b", "c")
GROUPS = ("g", "g:h")
SPEC = "@every 30s"
GRACE_S, DEADLINE_S, LEAD_S = 10, 120, 60
ARCHIVE_AGE_S, ARCHIVE_SIZE, BATCH = 24 * 3600, 3, 2

Fate = Literal["answered", "reply lost", "late", "never sent"]
fates = st.sampled_from(["answered"] * 3 + ["reply lost", "late", "never sent"])
which = st.integers(0, 99)
"""One of whatever there is to choose from."""
who = st.integers(0, 1)


class Silence:
    """What is heard when a reply does not come."""


SILENCE = Silence()


@dataclass(frozen=True)
class Wish:
    """What a producer wants to enqueue; a task still without an id."""

    name: str
    """The caller's id; '' for one made by asyncq."""
    unique: bool
    group: str
    wait_s: float | None
    by_own_clock: bool
    retention: int
    retry: int


wishes = st.builds(
    Wish,
    name=st.sampled_from(["", "", *NAMES]),
    unique=st.booleans(),
    group=st.sampled_from(["", "", *GROUPS]),
    wait_s=st.sampled_from([None, None, 0.5, 30.4, 59.999, 300]),
    by_own_clock=st.booleans(),
    retention=st.sampled_from([0, 60]),
    retry=st.sampled_from([0, 2]),
)
OUTCOMES = ("done", "completed", "retried", "no failure", "archived", "requeued", "parked")


@dataclass
class Sender:
    """A producer or a scheduler."""

    clock: Skewed
    open: list[tuple[Slice[NewTask], str]] = field(default_factory=list)
    """Calls of which nothing was heard."""
    last_due: int = 0
    attempt: tuple[NewTask, int, str] | None = None


@dataclass
class Worker:
    clock: Skewed
    claims: int = 0
    asked: tuple[str, int] | None = None
    """The claim of a dequeue of which nothing was heard, and how often it was sent."""
    held: list[Leased] = field(default_factory=list)
    ends: list[Outcome] = field(default_factory=list)
    """Not known to be written."""


@dataclass
class Server:
    """The periodic parts, and what they have read and not acted on yet."""

    name: str
    clock: Skewed
    maintenance: Maintenance
    aggregation: Aggregation
    expired: list[Expired] = field(default_factory=list)
    sets: list[AggregationSet] = field(default_factory=list)


def who_all() -> range:
    return range(2)


def place() -> CronPlace:
    return CronPlace(QUEUE, "entry", SPEC)


def day(clock: Skewed) -> str:
    return datetime.fromtimestamp(clock.now(), UTC).strftime("%Y-%m-%d")


def id_of(held: Leased | Unreadable) -> str:
    return held.message.id if isinstance(held, Leased) else held.id


def shown(answer: object) -> tuple[str, int]:
    """An answer to an enqueue, as the model gives it."""
    match answer:
        case Enqueued(state, due_ms):
            return state.value, due_ms
        case TaskIdConflictError():
            return life.ID_TAKEN, 0
        case DuplicateTaskError():
            return life.LOCK_TAKEN, 0
        case _:
            raise AssertionError(answer)


def outcome(kind: str, leased: Leased, now: float, delay_s: float) -> Outcome:
    match kind:
        case "done":
            return Done(leased)
        case "completed":
            return Completed.at(leased, b"result", now)
        case "retried" | "no failure":
            return Retried.after(leased, "why", now, delay_s, is_failure=kind == "retried")
        case "archived":
            return Archived.because(leased, "why", now)
        case "requeued":
            return Requeued(leased)
        case _:
            return Parked(Unreadable(QUEUE, leased.message.id, leased.claim, "why"))
