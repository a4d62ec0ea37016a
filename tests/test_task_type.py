"""`TaskType`: the producer's end of the contract. The handler's end is in test_mux.py."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Annotated, Any
from uuid import UUID

import pytest
from pydantic import BaseModel, ValidationError
from typing_extensions import TypedDict

from asyncq.errors import InvalidPayloadError, InvalidResultError
from asyncq.task import Task
from asyncq.task_type import TaskType


class EmailDelivery(BaseModel):
    user_id: int
    template_id: str = "plain"


class Receipt(BaseModel):
    sent: bool


@dataclass
class Resize:
    width: int
    height: int = 10


class Settings(TypedDict):
    depth: int


class Colour(Enum):
    RED = "red"


email_delivery = TaskType("email:deliver", EmailDelivery, result=Receipt, max_retry=5, queue="low")


def test_a_task_type_shows_its_contract() -> None:
    assert email_delivery.type == "email:deliver"
    assert email_delivery.payload_type is EmailDelivery
    assert email_delivery.result_type is Receipt
    assert email_delivery.options == {"max_retry": 5, "queue": "low"}
    assert repr(email_delivery) == "TaskType('email:deliver', EmailDelivery)"


def test_calling_it_with_fields_makes_the_task_that_the_long_form_makes() -> None:
    short = email_delivery(user_id=42, template_id="welcome")
    payload = EmailDelivery(user_id=42, template_id="welcome")
    assert short == Task("email:deliver", payload, max_retry=5, queue="low")


def test_headers_and_options_go_with_a_ready_payload() -> None:
    task = email_delivery.task(EmailDelivery(user_id=1), headers={"trace": "t"}, queue="high")
    assert dict(task.headers) == {"trace": "t"}
    assert task.options == {"max_retry": 5, "queue": "high"}
    assert email_delivery.options.get("queue") == "low"


def test_an_override_of_the_time_of_processing_replaces_the_other_kind() -> None:
    later = TaskType("later", process_in=60)
    at = datetime(2030, 1, 1, tzinfo=UTC)
    assert later.task(None, process_at=at).options == {"process_at": at}


def test_a_misspelt_or_wrong_field_is_refused_where_the_task_is_made() -> None:
    call: Any = email_delivery
    with pytest.raises(ValidationError, match="user_id"):
        call(userid=42)
    with pytest.raises(ValidationError, match="valid integer"):
        call(user_id="many")


def test_a_payload_that_its_handler_could_not_read_is_refused() -> None:
    resize: Any = TaskType("image:resize", Resize)
    with pytest.raises(InvalidPayloadError, match="cannot be read as Resize: width"):
        resize(width="wide")  # a dataclass does not check
    with pytest.raises(InvalidPayloadError, match="cannot be read as EmailDelivery"):
        email_delivery.task(Receipt(sent=True))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # the mistake
    with pytest.raises(InvalidPayloadError, match="it is empty"):
        email_delivery.task(None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # the mistake


def test_a_payload_that_cannot_be_written_is_refused() -> None:
    anything = TaskType("any", dict[str, Any])
    with pytest.raises(InvalidResultError):
        anything({"a": object()})


@pytest.mark.parametrize(
    ("payload_type", "value", "data"),
    [
        (str, "héllo", "héllo".encode()),
        (bytes, b"\xff", b"\xff"),
        (int, 5, b"5"),
        (float, 5, b"5"),
        (bool, False, b"false"),
        (list[int], [1, 2], b"[1,2]"),
        (dict[str, Any], {"a": 1}, b'{"a":1}'),
        (tuple[int, str], (1, "a"), b'[1,"a"]'),
        (Settings, {"depth": 3}, b'{"depth":3}'),
        (Colour, Colour.RED, b'"red"'),
        (UUID, UUID(int=1), b'"00000000-0000-0000-0000-000000000001"'),
        (datetime, datetime(2024, 1, 2, tzinfo=UTC), b'"2024-01-02T00:00:00Z"'),
        (Annotated[int, "note"], 5, b"5"),
        (int | None, None, b""),
        (int | None, 3, b"3"),
    ],
)
def test_plain_values_are_given_as_they_are(payload_type: Any, value: Any, data: bytes) -> None:
    task_type: Any = TaskType("plain", payload_type)
    assert task_type(value).payload == task_type.task(value).payload == data


def test_models_without_checks_are_made_of_their_fields() -> None:
    assert TaskType("image:resize", Resize)(3, height=4).payload == b'{"width":3,"height":4}'


def test_values_are_not_converted_in_silence() -> None:
    numbers: Any = TaskType("numbers", list[int])
    with pytest.raises(InvalidPayloadError):
        numbers("12")
    with pytest.raises(TypeError):
        numbers()
    with pytest.raises(TypeError):
        numbers([1], [2])


def test_without_payload_it_is_called_with_nothing() -> None:
    cleanup = TaskType("cron:cleanup", queue="low")
    assert cleanup() == cleanup.task(None) == Task("cron:cleanup", queue="low")
    assert not cleanup().has_payload
    assert cleanup.payload_type is None
    assert cleanup.result_type is None
    assert repr(cleanup) == "TaskType('cron:cleanup')"
    with pytest.raises(TypeError):
        cleanup("unexpected")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]  # the mistake


def test_a_blank_type_is_refused() -> None:
    with pytest.raises(ValueError, match="type= must not be blank"):
        TaskType(" ")


def test_options_are_checked_when_the_task_type_is_made() -> None:
    misspelt: Any = {"max_retires": 3}
    with pytest.raises(TypeError, match="did you mean 'max_retry'"):
        TaskType("t", str, **misspelt)
    with pytest.raises(ValueError, match="max_retry= takes 0 to"):
        TaskType("t", str, max_retry=-1)


@pytest.mark.parametrize("name", ["payload", "result"])
@pytest.mark.parametrize("wrong", [object(), 5, str | int, type(pytest)])
def test_a_type_that_cannot_be_read_from_bytes_is_refused(name: str, wrong: Any) -> None:
    types: dict[str, Any] = {"payload": str, name: wrong}
    with pytest.raises(TypeError, match=f"{name}= takes a type that pydantic can read") as caught:
        TaskType("t", **types)
    assert "\n" not in str(caught.value)
