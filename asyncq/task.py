"""`Task`, what is enqueued and handled, and `TaskState`, where it can be."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, TypeVar, overload

import pydantic_core
from typing_extensions import Unpack

from . import payload as payloads
from .errors import InvalidPayloadError
from .options import EnqueueOptions, compose, text

T = TypeVar("T")

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class TaskState(StrEnum):
    """Where a task is. The values are the names that stand in Redis."""

    ACTIVE = "active"
    """A worker runs it."""
    PENDING = "pending"
    """A worker may take it now."""
    SCHEDULED = "scheduled"
    """It waits for its time."""
    RETRY = "retry"
    """It failed, and waits for its next attempt."""
    ARCHIVED = "archived"
    """It will not run again by itself: its retries are used up, or somebody wanted it so."""
    COMPLETED = "completed"
    """It succeeded, and is kept for its retention."""
    AGGREGATING = "aggregating"
    """It waits in a group, to become one task with others."""


class Task:
    """A unit of work: a type that names its handler, a payload, headers, default options.

    `payload` may be `bytes` (kept as is), `str` (UTF-8), `None` (absent) or anything pydantic
    can write as JSON. `options` are defaults that `enqueue` may override.

    Raises `ValueError` for a blank type or an option out of range, `TypeError` for an unknown
    option or a header that is not text, `InvalidResultError` for a payload that cannot be written.
    """

    __slots__ = ("_payload", "headers", "options", "type")

    type: str
    """What names its handler."""
    headers: Mapping[str, str]
    """Metadata that travels with the task, not part of its uniqueness. Read-only."""
    options: EnqueueOptions
    """The options given here, unchecked against those of `enqueue`."""

    def __init__(
        self,
        type: str,
        payload: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        **options: Unpack[EnqueueOptions],
    ) -> None:
        self.type = text("type", type)
        self._payload = payloads.encode(payload)
        self.headers = _headers(headers) if headers else _NO_HEADERS
        if options:
            compose(options)
        self.options = options

    @classmethod
    def stored(cls, type: str, payload: bytes, headers: Mapping[str, str]) -> Task:
        """A task as it stood in Redis, nothing checked: what a handler receives."""
        task = cls.__new__(cls)
        task.type = type
        task._payload = payload
        task.headers = headers
        task.options = {}
        return task

    @property
    def payload(self) -> bytes:
        """The payload's bytes; empty when it is absent."""
        return self._payload or b""

    @property
    def has_payload(self) -> bool:
        """Whether a payload was given. An empty one and none differ only in the uniqueness lock."""
        return self._payload is not None

    @overload
    def parse(self, model: builtins.type[T]) -> T: ...
    @overload
    def parse(self, model: Any) -> Any: ...
    def parse(self, model: Any) -> Any:
        """The payload as a value of type `model`: a class, or any annotation pydantic knows, such
        as `int | None`. Raises `InvalidPayloadError`.
        """
        return payloads.decode(self.payload, model)

    def json(self) -> Any:
        """The payload's JSON as plain Python values. Raises `InvalidPayloadError`."""
        try:
            return pydantic_core.from_json(self.payload)
        except ValueError as error:
            why = str(error)
        # Without the parser's error: no part of a payload may come into a traceback that is logged.
        raise InvalidPayloadError("JSON", why)

    def __repr__(self) -> str:
        # The payload stays out: it may hold secrets and reprs end up in logs.
        return f"<Task {self.type!r}, payload of {len(self.payload)} bytes>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Task):
            return NotImplemented
        return (self.type, self._payload, self.headers, self.options) == (
            other.type,
            other._payload,
            other.headers,
            other.options,
        )

    __hash__ = None  # type: ignore[assignment]  # mutable options; equality is by value


def _headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    if not isinstance(headers, Mapping):
        raise TypeError(f"headers= takes a mapping of str to str, got {headers!r}")
    copy = dict(headers)
    given: Mapping[Any, Any] = copy
    for name, value in given.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"headers= takes str names and values, got {name!r}: {value!r}")
        try:
            name.encode()
            value.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"headers= must be valid Unicode, got {name!r}: {value!r}") from error
    return MappingProxyType(copy)
