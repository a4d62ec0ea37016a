"""Payloads and results: one rule in both directions."""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from enum import Enum, StrEnum
from typing import Annotated, Any, Literal, NamedTuple, NewType, Optional
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, StringConstraints
from typing_extensions import TypedDict

from asyncq import Task, payload
from asyncq.errors import InvalidPayloadError, InvalidResultError


class Email(BaseModel):
    user_id: int
    sent_at: datetime | None = None


class Aliased(BaseModel):
    user_id: int = Field(alias="userId")


@dataclasses.dataclass
class Point:
    x: int
    y: int


class Pair(NamedTuple):
    first: int
    second: str


class Settings(TypedDict):
    depth: int


class Colour(StrEnum):
    RED = "red"


class Size(str, Enum):  # noqa: UP042 - users write it so
    LARGE = "large"


class Level(Enum):
    HIGH = 3


UserId = NewType("UserId", str)
ShortText = Annotated[str, StringConstraints(max_length=3)]
Carrying = Annotated[int, Field(json_schema_extra={"unhashable": True})]


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (None, None),
        (b"\xff\x00", b"\xff\x00"),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"ab"), b"ab"),
        ("é", "é".encode()),
        ("", b""),
        (5, b"5"),
        (True, b"true"),
        ([1, "a", None], b'[1,"a",null]'),
        ({"a": 1.5}, b'{"a":1.5}'),
        (Email(user_id=1), b'{"user_id":1,"sent_at":null}'),
        (Point(1, 2), b'{"x":1,"y":2}'),
        (Colour.RED, b"red"),
        (UUID(int=1), b'"00000000-0000-0000-0000-000000000001"'),
    ],
)
def test_values_become_bytes_text_or_json(value: object, data: bytes | None) -> None:
    assert payload.encode(value) == data


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (b"\xff", bytes),
        (b"", bytes),
        ("é", str),
        ("", str),
        ("5", str),
        (5, int),
        (1.5, float),
        (None, None),
        (Email(user_id=1, sent_at=datetime(2024, 1, 1, tzinfo=UTC)), Email),
        (Aliased(userId=4), Aliased),
        (Point(1, 2), Point),
        (Pair(1, "a"), Pair),
        ({"depth": 3}, Settings),
        ([Email(user_id=1)], list[Email]),
        ({1, 2}, set[int]),
        ({"a": [1]}, dict[str, Any]),
        ({"a": 1}, Any),
        (Level.HIGH, Level),
        (UUID(int=7), UUID),
        (datetime(2024, 1, 1, tzinfo=UTC), datetime),
        (3, Carrying),
    ],
)
def test_what_is_written_reads_back(value: object, wanted: Any) -> None:
    assert payload.decode(payload.encode(value), wanted) == value


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (Colour.RED, Colour),
        (Size.LARGE, Size),
        ("a", Literal["a", "b"]),
        (UserId("u7"), UserId),
        ("abc", ShortText),
        ("text", Optional[str]),  # noqa: UP045 - users write it so
        ("text", str | None),
        (None, str | None),
        ("5", Annotated[str | None, "note"]),
        (b"\xff", bytes | None),
        (None, bytes | None),
        (None, int | None),
        (4, int | None),
    ],
)
def test_types_of_nothing_but_text_or_bytes_are_read_as_they_are_written(
    value: object, wanted: Any
) -> None:
    read = payload.decode(payload.encode(value), wanted)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize("wanted", [str | int, str | bytes, bytes | Email, str | list[str]])
def test_unions_whose_bytes_would_not_tell_the_type_are_refused(wanted: Any) -> None:
    with pytest.raises(TypeError, match="wrap it in a model"):
        payload.check_annotation(wanted)


def test_text_that_breaks_its_constraint_does_not_parse() -> None:
    with pytest.raises(InvalidPayloadError, match="at most 3 characters"):
        payload.reader(ShortText)(b"abcd")


def test_absent_and_empty_are_no_model() -> None:
    for data in (None, b""):
        with pytest.raises(InvalidPayloadError, match="cannot be read as Email: it is empty"):
            payload.decode(data, Email)


def test_a_payload_that_does_not_parse_names_the_field_and_hides_the_value() -> None:
    with pytest.raises(InvalidPayloadError) as caught:
        payload.decode(b'{"user_id": "secret"}', Email)
    assert caught.value.wanted == "Email"
    assert caught.value.reason.startswith("user_id: ")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "read",
    [
        lambda: Task("t", b'{"user_id": "secret"}').parse(Email),
        lambda: Task("t", b"secret \xff").parse(str),
        lambda: Task("t", b"secret \xff").parse(Email),
        lambda: Task("t", b"secret \xff").json(),
    ],
)
def test_no_error_behind_it_shows_the_payload_either(read: Callable[[], object]) -> None:
    with pytest.raises(InvalidPayloadError) as caught:
        read()
    assert caught.value.__cause__ is caught.value.__context__ is None
    shown = traceback.format_exception(caught.value)
    assert "secret" not in shown[-1]


def test_many_problems_are_counted() -> None:
    with pytest.raises(InvalidPayloadError, match=r"\(and 2 more\)$"):
        payload.decode(b'["a", "b", "c", "d", "e"]', list[int])


@pytest.mark.parametrize("wanted", [str, Colour, str | None])
def test_text_that_is_no_utf8_does_not_parse(wanted: Any) -> None:
    with pytest.raises(InvalidPayloadError, match="not valid UTF-8"):
        payload.decode(b"\xff", wanted)


def test_a_generic_type_is_named_in_full() -> None:
    with pytest.raises(InvalidPayloadError, match=r"cannot be read as list\[int\]"):
        payload.decode(b"{}", list[int])


@pytest.mark.parametrize("value", [object(), {"a": object()}, "\ud800", {1: {2: lambda: 0}}])
def test_what_cannot_be_written_is_an_error_that_says_what_can(value: object) -> None:
    with pytest.raises(InvalidResultError, match="use bytes, str, None, or anything pydantic"):
        payload.encode(value)


def test_a_circle_cannot_be_written() -> None:
    circle: list[object] = []
    circle.append(circle)
    with pytest.raises(InvalidResultError):
        payload.encode(circle)


@given(st.text())
def test_any_text_reads_back_or_is_refused(value: str) -> None:
    try:
        data = payload.encode(value)
    except InvalidResultError:
        with pytest.raises(UnicodeEncodeError):
            value.encode()
    else:
        assert payload.decode(data, str) == value


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(json_values, max_size=4))
def test_any_json_reads_back(value: list[object]) -> None:
    assert payload.decode(payload.encode(value), list[Any]) == value
