"""Records as JSON: the fields' names as they are, times ISO 8601 in UTC, lengths in seconds.

Bytes are text where they are UTF-8, else base64; `NAME_encoding` beside them says which.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from types import NoneType
from typing import Any

from asyncq.info import QueueInfo, TaskInfo, WorkerInfo
from asyncq.task import Task


def dumps(value: object, *, indent: int | None = None) -> str:
    """ASCII only: no terminal takes any of it for a command."""
    return json.dumps(plain(value), indent=indent)


def plain(value: object) -> Any:
    """What `json` can write."""
    for kind, write in _WRITERS:
        if isinstance(value, kind):
            return write(value)
    if dataclasses.is_dataclass(value):
        return _fields(value)
    raise TypeError(f"no JSON for {value!r}")


def seconds(span: timedelta) -> int | float:
    """A length of time; whole where it is."""
    number = span.total_seconds()
    return int(number) if number.is_integer() else number


def encoded(data: bytes | None) -> tuple[str | None, str | None]:
    """Bytes as a string, and its encoding."""
    if data is None:
        return None, None
    try:
        return data.decode(), "utf-8"
    except UnicodeDecodeError:
        return base64.b64encode(data).decode(), "base64"


def queue_record(info: QueueInfo) -> dict[str, Any]:
    """A queue, with its share of failures today."""
    rate = info.failed / info.processed if info.processed else None
    return {**_fields(info), "error_rate": rate}


def task_record(task: TaskInfo, worker: WorkerInfo | None) -> dict[str, Any]:
    """A task, and where it runs if it does."""
    return {**_fields(task), "worker": None if worker is None else worker_record(worker)}


def worker_record(worker: WorkerInfo) -> dict[str, Any]:
    """Where a task runs, without the task."""
    names = ("host", "pid", "server_id", "started", "deadline")
    return {name: plain(getattr(worker, name)) for name in names}


def _fields(record: Any) -> dict[str, Any]:
    written: dict[str, Any] = {}
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if str(field.type).startswith("bytes"):
            _with_bytes(field.name, value, written)
        else:
            written[field.name] = plain(value)
    return written


def _with_bytes(name: str, data: bytes | None, written: dict[str, Any]) -> dict[str, Any]:
    written[name], written[f"{name}_encoding"] = encoded(data)
    return written


def _as_it_is(value: object) -> object:
    return value


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _task(task: Task) -> dict[str, Any]:
    written = _with_bytes("payload", task.payload, {"type": task.type})
    return {**written, "headers": dict(task.headers)}


def _mapping(items: Mapping[Any, object]) -> dict[str, Any]:
    return {str(name): plain(item) for name, item in items.items()}


def _sequence(items: Sequence[object]) -> list[Any]:
    return [plain(item) for item in items]


# The first that fits: a datetime is a date, too, and a string a sequence.
_WRITERS: Sequence[tuple[Any, Callable[[Any], Any]]] = (
    (Enum, lambda value: value.value),
    ((NoneType, bool, int, float, str), _as_it_is),
    (datetime, _moment),
    (date, date.isoformat),
    (timedelta, seconds),
    (bytes, lambda data: encoded(data)[0]),
    (Task, _task),
    (Mapping, _mapping),
    (Sequence, _sequence),
)
