"""Enqueue options: their types, defaults and checks, in one definition.

Defaults and rules are asynq's (wire format, section 12). What asynq drops in silence is an
error here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from functools import lru_cache
from math import ceil, isfinite
from typing import Any, TypedDict

Duration = float | timedelta
"""A `timedelta`, or a number of seconds."""

DEFAULT_QUEUE = "default"
DEFAULT_MAX_RETRY = 25
DEFAULT_TIMEOUT_S = 30 * 60
_INT32_MAX = 2**31 - 1
_LONGEST_S = 100 * 366 * 24 * 3600  # a century; keeps every sum of times far inside an int64
_BEYOND_S = 10 * _LONGEST_S
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class EnqueueOptions(TypedDict, total=False):
    """Options of a task; on `Task` and `TaskType` as defaults, on `enqueue` as overrides."""

    queue: str
    """The queue's name; "default" if not given. Not blank; neither trimmed nor lower-cased."""
    task_id: str
    """An id of your own in place of a random UUID; refused if a task with it exists."""
    max_retry: int
    """How often a failing task is retried before it is archived; 25 if not given."""
    timeout: Duration
    """How long one attempt may take, in whole seconds; 30 minutes if neither this nor a deadline
    is given."""
    deadline: datetime
    """The time after which no attempt may run, aware. The earlier of it and the time-out counts."""
    unique: Duration
    """How long no second task of the same queue, type and payload may be enqueued; whole
    seconds, at least 1. The lock ends earlier when the task succeeds or is deleted."""
    unique_key: str | bytes
    """What makes a task unique in place of its payload; goes with `unique`."""
    process_at: datetime
    """Not before this time, aware; a time in the past means now."""
    process_in: Duration
    """Not before this much time has passed; 0 or less means now."""
    retention: Duration
    """How long the finished task and its result are kept, in whole seconds; 0 if not given."""
    group: str
    """The group in which the task waits to be aggregated with others. Not blank."""


@dataclass(frozen=True, slots=True)
class Options:
    """Options composed, checked and in the units of the wire: what `compose` makes of layers."""

    queue: str = DEFAULT_QUEUE
    task_id: str | None = None
    max_retry: int = DEFAULT_MAX_RETRY
    timeout_s: int = 0
    deadline_s: int = 0
    unique_s: int = 0
    unique_key: bytes | None = None
    process_at_ms: int | None = None
    process_in_ms: int | None = None
    retention_s: int = 0
    group: str = ""


@dataclass(frozen=True, slots=True)
class Replicas:
    """How many replicas must say that they have a new task before `enqueue` returns.

    `timeout` is how long they have for it: a second if it is not given, 5 with `on_disk`, which
    means that master and replicas have written it to their disks (Redis 7.2 or Valkey 7.2, and
    `appendonly yes` on all of them; a disk is written about once a second).

    Raises `TypeError` and `ValueError`, which name what it takes and what came.
    """

    count: int
    """How many, at least 1."""
    timeout: Duration | None = None
    """How long they have."""
    on_disk: bool = False
    """Whether they, and the master, must have it on their disks."""

    def __post_init__(self) -> None:
        _check_replicas(self.count)
        if not isinstance(self.on_disk, bool):
            raise TypeError(f"on_disk= takes True or False, got {self.on_disk!r}")
        if not _SHORTEST_WAIT_S <= self.timeout_s <= _LONGEST_WAIT_S:
            raise ValueError(
                f"timeout= of Replicas takes {_SHORTEST_WAIT_S:g} s to an hour,"
                f" got {self.timeout!r}"
            )

    @property
    def timeout_s(self) -> float:
        """The time-out in seconds."""
        if self.timeout is None:
            return 5.0 if self.on_disk else 1.0
        return seconds("timeout", self.timeout)


def _check_replicas(count: object) -> None:
    if not isinstance(count, int) or isinstance(count, bool):
        raise TypeError(f"wait_replicas= takes a number of replicas, got {count!r}")
    if not 1 <= count <= _MOST_REPLICAS:
        raise ValueError(
            f"wait_replicas= takes 1 to {_MOST_REPLICAS} replicas, got {count};"
            " leave it out to wait for none"
        )


_MOST_REPLICAS = 1000
_SHORTEST_WAIT_S = 0.001
_LONGEST_WAIT_S = 3600


def replicas(wanted: int | Replicas) -> Replicas:
    """What `wait_replicas=` takes. Raises `TypeError` and `ValueError`."""
    return wanted if isinstance(wanted, Replicas) else Replicas(wanted)


NAMES = tuple(EnqueueOptions.__annotations__)
_PLAIN = Options(timeout_s=DEFAULT_TIMEOUT_S)
# Those whose values come again and again. Not times: two of a repeated hour are equal to Python.
_REPEATED = frozenset("queue max_retry timeout unique process_in retention group".split())


def merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Layers of options as one, unchecked; the last one of each kind wins.

    `process_at` and `process_in` are one kind. Raises `ValueError` if one layer has both.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        if "process_at" in layer and "process_in" in layer:
            raise ValueError("give process_at= or process_in=, not both")
        if "process_at" in layer:
            merged.pop("process_in", None)
        elif "process_in" in layer:
            merged.pop("process_at", None)
        merged.update(layer)
    return merged


def compose(*layers: Mapping[str, Any]) -> Options:
    """Merge layers of options and check the result.

    Raises `TypeError` for an unknown option or a value of the wrong type and `ValueError` for a
    value out of range; both name the option, what it takes and what came.
    """
    given = [layer for layer in layers if layer]
    if not given:
        return _PLAIN
    merged = given[0] if len(given) == 1 else merge(*given)
    if _REPEATED.issuperset(merged):
        try:
            return _remembered(*merged, *merged.values())
        except TypeError:  # not hashable, or wrong: said below in both cases
            pass
    return _composed(merge(merged))


@lru_cache(maxsize=1024, typed=True)  # typed: 1 is a number of retries, True is not
def _remembered(*names_and_values: Any) -> Options:
    """Most tasks of a program have one of a few sets of options."""
    half = len(names_and_values) // 2
    return _composed(dict(zip(names_and_values[:half], names_and_values[half:], strict=True)))


def _composed(merged: Mapping[str, Any]) -> Options:
    check_names(merged, NAMES, "option")
    values: dict[str, Any] = {}
    for name, value in merged.items():
        field, convert = _FIELDS[name]
        values[field] = convert(name, value)
    if values.get("unique_key") is not None and "unique_s" not in values:
        raise ValueError("unique_key= says what is unique, unique= for how long: give unique= too")
    if "timeout_s" not in values and "deadline_s" not in values:
        values["timeout_s"] = DEFAULT_TIMEOUT_S
    return Options(**values)


def check_names(given: Iterable[str], known: Iterable[str], what: str) -> None:
    """Raises `TypeError` with the nearest known name for the first name that is not known."""
    known = tuple(known)
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else "known: " + ", ".join(known)
            raise TypeError(f"unknown {what} {name!r}; {hint}")


def seconds(name: str, value: object) -> float:
    """A duration as seconds. Raises `TypeError` unless it is a `timedelta` or a number."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, int) and not isinstance(value, bool):
        # Too large an int has no float; what is that long is out of range everywhere.
        return float(min(max(value, -_BEYOND_S), _BEYOND_S))
    if isinstance(value, float):
        if not isfinite(value):
            raise ValueError(f"{name}= takes a finite duration, got {value!r}")
        return value
    raise TypeError(f"{name}= takes a timedelta or a number of seconds, got {value!r}")


def text(name: str, value: object) -> str:
    """A string that is not blank and can be written as UTF-8."""
    if not isinstance(value, str):
        raise TypeError(f"{name}= takes a str, got {value!r}")
    if not value.strip():
        raise ValueError(f"{name}= must not be blank, got {value!r}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name}= must be valid Unicode, got {value!r}") from error
    return value


def _moment(name: str, value: object) -> datetime:
    if not isinstance(value, datetime):
        raise TypeError(f"{name}= takes an aware datetime, got {value!r}")
    if value.tzinfo is None or value.utcoffset() is None:
        raise ValueError(
            f"{name}= takes an aware datetime, got the naive {value!r};"
            " use datetime.now(timezone.utc) or .astimezone()"
        )
    return value


def _max_retry(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name}= takes an int, got {value!r}")
    if not 0 <= value <= _INT32_MAX:
        raise ValueError(f"{name}= takes 0 to {_INT32_MAX}, got {value}")
    return value


def _whole_seconds(name: str, value: object, least: int) -> int:
    length = seconds(name, value)
    if length != int(length):
        raise ValueError(f"{name}= is kept in whole seconds, got {value!r}")
    if not least <= length <= _LONGEST_S:
        raise ValueError(f"{name}= takes {least} second(s) to 100 years, got {value!r}")
    return int(length)


def _from_one_second(name: str, value: object) -> int:
    return _whole_seconds(name, value, 1)


def _from_zero_seconds(name: str, value: object) -> int:
    return _whole_seconds(name, value, 0)


def _deadline(name: str, value: object) -> int:
    at = int(_moment(name, value).timestamp())
    if at <= 0:
        raise ValueError(f"{name}= must be after 1970-01-01, got {value!r}")
    return at


def _milliseconds_at(name: str, value: object) -> int:
    # Rounded up, exactly: a task is never run early.
    return max(0, -((_EPOCH - _moment(name, value)) // timedelta(milliseconds=1)))


def _milliseconds_in(name: str, value: object) -> int:
    length = seconds(name, value)
    if length > _LONGEST_S:
        raise ValueError(f"{name}= takes up to 100 years, got {value!r}")
    return max(0, ceil(round(length * 1000, 3)))  # rounded up, but not for a float's last bit


def _unique_key(name: str, value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    raise TypeError(f"{name}= takes a str or bytes, got {value!r}")


_FIELDS = {
    "queue": ("queue", text),
    "task_id": ("task_id", text),
    "max_retry": ("max_retry", _max_retry),
    "timeout": ("timeout_s", _from_one_second),
    "deadline": ("deadline_s", _deadline),
    "unique": ("unique_s", _from_one_second),
    "unique_key": ("unique_key", _unique_key),
    "process_at": ("process_at_ms", _milliseconds_at),
    "process_in": ("process_in_ms", _milliseconds_in),
    "retention": ("retention_s", _from_zero_seconds),
    "group": ("group", text),
}
