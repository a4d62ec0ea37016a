"""`TaskType`: one contract between those who enqueue a type of task and those who handle it."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from types import UnionType
from typing import Annotated, Any, Generic, ParamSpec, TypeVar, cast, get_args, get_origin, overload
from uuid import UUID

from typing_extensions import Unpack

from . import payload as payloads
from .options import EnqueueOptions, compose, merge, text
from .task import Task

P = ParamSpec("P")
Fields = ParamSpec("Fields")
PayloadT = TypeVar("PayloadT")
ResultT = TypeVar("ResultT")
ModelT = TypeVar("ModelT")
DeclaredT = TypeVar("DeclaredT")

# Types whose constructors convert (`int("5")`, `list(...)`) instead of taking fields. A TypedDict
# is one of them: type checkers read its literal better than its constructor.
_VALUE_TYPES = (
    str, bytes, bytearray, int, float, complex, Decimal, Enum, UUID, date, time, timedelta,
    tuple, list, set, frozenset, Mapping,
)  # fmt: skip
ValueT = TypeVar(
    "ValueT",
    bound=str
    | bytes
    | bytearray
    | float
    | complex
    | Decimal
    | Enum
    | UUID
    | date
    | time
    | timedelta
    | tuple[Any, ...]
    | list[Any]
    | set[Any]
    | frozenset[Any]
    | Mapping[Any, Any],
)


class TaskType(Generic[P, PayloadT, ResultT]):
    """A type of task with the type of its payload, of its result, and default options.

        email_delivery = TaskType("email:deliver", EmailDelivery, max_retry=5)
        await client.enqueue(email_delivery(user_id=42, template_id="welcome"))

        @mux.handle(email_delivery)
        async def deliver_email(payload: EmailDelivery) -> None: ...

    `payload` is a model (pydantic's, a dataclass, any class pydantic knows), and calling the
    task type takes its fields; or a type of plain values (`str`, `bytes`, `int`, `list[int]`,
    `dict[str, Any]`, a TypedDict (before Python 3.12 that of typing_extensions), an enumeration,
    `datetime` and the like), and calling it takes one value. Without it tasks have no payload,
    and calling it takes nothing.

    `result` declares what handlers return; type checkers hold them to it. Without it they may
    return anything. A handler takes the payload, or the raw `Task`; one of a task type without
    payload takes `payload: None`, or the raw `Task`.

    Raises `ValueError` for a blank type or an option out of range, `TypeError` for an unknown
    option and for a payload or result type that cannot be read from bytes.
    """

    __slots__ = ("_build", "_read", "options", "payload_type", "result_type", "type")

    type: str
    """The type of its tasks."""
    payload_type: builtins.type[PayloadT] | None
    """None for tasks without payload."""
    result_type: builtins.type[ResultT] | None
    """None if no result was declared."""
    options: EnqueueOptions
    """The default options of its tasks."""

    @overload
    def __init__(
        self: TaskType[[], None, Any],
        type: str,
        payload: None = None,
        **options: Unpack[EnqueueOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: TaskType[[], None, DeclaredT],
        type: str,
        payload: None = None,
        *,
        result: builtins.type[DeclaredT],
        **options: Unpack[EnqueueOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: TaskType[[ValueT], ValueT, Any],
        type: str,
        payload: builtins.type[ValueT],
        **options: Unpack[EnqueueOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: TaskType[[ValueT], ValueT, DeclaredT],
        type: str,
        payload: builtins.type[ValueT],
        *,
        result: builtins.type[DeclaredT],
        **options: Unpack[EnqueueOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: TaskType[Fields, ModelT, Any],
        type: str,
        payload: Callable[Fields, ModelT],
        **options: Unpack[EnqueueOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: TaskType[Fields, ModelT, DeclaredT],
        type: str,
        payload: Callable[Fields, ModelT],
        *,
        result: builtins.type[DeclaredT],
        **options: Unpack[EnqueueOptions],
    ) -> None: ...
    def __init__(
        self,
        type: str,
        payload: Any = None,
        *,
        result: Any = None,
        **options: Unpack[EnqueueOptions],
    ) -> None:
        self.type = text("type", type)
        self.payload_type = payload
        self.result_type = result
        compose(options)
        self.options = options
        self._read = _reader("payload", payload)
        self._build = _constructor(payload)
        if result is not None:
            _reader("result", result)

    def __call__(self, *args: P.args, **fields: P.kwargs) -> Task:
        """A task with a payload made of these fields (or of this value), default options.

        Raises what the payload's constructor raises, and what `task` raises.
        """
        return self.task(self._build(*args, **fields))

    def task(
        self,
        payload: PayloadT,
        *,
        headers: Mapping[str, str] | None = None,
        **options: Unpack[EnqueueOptions],
    ) -> Task:
        """A task with this payload; `options` go over the defaults of the task type.

        Raises `InvalidPayloadError` for a payload that its handler could not read,
        `InvalidResultError` for one that cannot be written, and what `Task` raises.
        """
        merged = cast(EnqueueOptions, merge(self.options, options))
        task = Task(self.type, payload, headers=headers, **merged)
        self._read(task.payload)  # what does not parse is found here, not by a worker tomorrow
        return task

    def __repr__(self) -> str:
        payload = "" if self.payload_type is None else f", {payloads.type_name(self.payload_type)}"
        return f"TaskType({self.type!r}{payload})"


def _reader(name: str, wanted: Any) -> Callable[[bytes], Any]:
    try:
        return payloads.reader(wanted)
    except Exception as error:  # pydantic lets many kinds of errors out of a broken type
        raise TypeError(
            f"{name}= takes a type that pydantic can read (a model, a dataclass, str, list[int],"
            f" ...), got {wanted!r}: {payloads.first_line(error)}"
        ) from error


def _constructor(payload: Any) -> Callable[..., Any]:
    """What makes a payload of the arguments that a task type is called with."""
    if payload is None:
        return _nothing
    if get_origin(payload) is Annotated:
        return _constructor(get_args(payload)[0])
    kind = get_origin(payload) or payload
    takes_fields = isinstance(kind, type) and not issubclass(kind, (*_VALUE_TYPES, UnionType))
    return cast(Callable[..., Any], payload) if takes_fields else _value


def _nothing() -> None:
    return None


def _value(value: Any, /) -> Any:
    return value
