"""Values to bytes and back: the one rule for payloads and results, in both directions.

`bytes` as is, `str` as UTF-8, `None` absent, anything else JSON by pydantic. A type whose values
are all text (an enumeration of strings, `Literal["a", "b"]`, `str | None`) is text too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, overload

import pydantic
import pydantic_core

from .errors import InvalidPayloadError, InvalidResultError

T = TypeVar("T")


def encode(value: object) -> bytes | None:
    """The bytes that stand for `value`; None stays None (absent).

    Raises `InvalidResultError` for a value that cannot be written as JSON, or for text with
    lone surrogates.
    """
    if value is None or type(value) is bytes:
        return value
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError as error:
            raise InvalidResultError("str", f"not valid Unicode ({error.reason})") from error
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    try:
        return pydantic_core.to_json(value)
    except Exception as error:
        # User code runs in here (serialisers, properties), so any exception may come out.
        raise InvalidResultError(type_name(type(value)), str(error)) from error


@overload
def decode(data: bytes | None, wanted: type[T]) -> T: ...
@overload
def decode(data: bytes | None, wanted: Any) -> Any: ...
def decode(data: bytes | None, wanted: Any) -> Any:
    """`data` as a value of type `wanted` (a class, or any annotation pydantic knows).

    Raises `InvalidPayloadError` when it does not parse, and what `reader` raises.
    """
    return reader(wanted)(data or b"")


def reader(wanted: Any) -> Callable[[bytes], Any]:
    """The function that reads bytes as values of type `wanted`; it raises `InvalidPayloadError`.

    Raises `TypeError` if a value's bytes would not tell which type of a union it was, and
    pydantic's own error if `wanted` is no type that pydantic can read.
    """
    try:
        hash(wanted)
    except TypeError:  # an Annotated type may carry anything
        return _make_reader(wanted)
    return _cached_reader(wanted)


def check_annotation(wanted: Any) -> None:
    """Raises what `reader` raises if `wanted` is no type that payloads can be read as."""
    reader(wanted)


def type_name(wanted: Any) -> str:
    """How people write the type."""
    if isinstance(wanted, type) and not get_args(wanted):
        return wanted.__qualname__
    return repr(wanted)


def first_line(error: Exception) -> str:
    """What pydantic says of a type, without the advice that follows."""
    return str(error).partition("\n")[0]


def _make_reader(wanted: Any) -> Callable[[bytes], Any]:
    if wanted is bytes:
        return bytes
    members = _members(wanted)
    kinds = {_kind(member) for member in members if member is not NoneType}
    if len(kinds) > 1:
        raise TypeError(
            f"a payload cannot be {type_name(wanted)}: bytes and text are stored as they are and"
            " the rest as JSON, so the bytes would not tell which it was; wrap it in a model"
        )
    adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(wanted)
    plain = kinds <= {"bytes", "text"} and NoneType not in members
    name = type_name(wanted)
    from_bytes = _PARSERS[kinds.pop() if kinds else "json"]

    def read(data: bytes) -> Any:
        try:
            if data or plain:
                return from_bytes(adapter, data)
            return adapter.validate_python(None)
        except UnicodeDecodeError as error:
            why = f"not valid UTF-8 ({error.reason})"
        except pydantic.ValidationError as error:
            why = _summary(error, empty=not data)
        # Raised out here, without their errors: those quote the payload, and tracebacks are logged.
        raise InvalidPayloadError(name, why)

    return read


_cached_reader = lru_cache(maxsize=1024)(_make_reader)


def _parse_json(adapter: pydantic.TypeAdapter[Any], data: bytes) -> Any:
    return adapter.validate_json(data)


def _parse_text(adapter: pydantic.TypeAdapter[Any], data: bytes) -> Any:
    return adapter.validate_python(data.decode())


def _parse_bytes(adapter: pydantic.TypeAdapter[Any], data: bytes) -> Any:
    return adapter.validate_python(data)


_PARSERS = {"json": _parse_json, "text": _parse_text, "bytes": _parse_bytes}


def _members(wanted: Any) -> list[Any]:
    """The types whose values are all the values of `wanted`, aliases and unions opened."""
    if get_origin(wanted) is Annotated:
        return _members(get_args(wanted)[0])
    if get_origin(wanted) is Literal:
        return [type(value) for value in get_args(wanted)]
    if get_origin(wanted) in (Union, UnionType):
        return [found for member in get_args(wanted) for found in _members(member)]
    inner = getattr(wanted, "__supertype__", None) or _alias_value(wanted)
    return _members(inner) if inner is not None else [NoneType if wanted is None else wanted]


def _alias_value(wanted: Any) -> Any:
    # `type X = ...` makes an object with a `__value__`; so may have any class, as an attribute.
    return None if isinstance(wanted, type) else getattr(wanted, "__value__", None)


def _kind(member: Any) -> str:
    if isinstance(member, type) and issubclass(member, str):
        return "text"
    if isinstance(member, type) and issubclass(member, (bytes, bytearray)):
        return "bytes"
    return "json"


def _summary(error: pydantic.ValidationError, *, empty: bool) -> str:
    """The first problems in one line, without the values: payloads do not belong in logs."""
    if empty:
        return "it is empty"
    problems = [
        (".".join(str(part) for part in item["loc"]) + ": " if item["loc"] else "") + item["msg"]
        for item in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
    return "; ".join(problems[:3]) + more
