"""`Task`: what is enqueued, and what a handler receives."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from pydantic import BaseModel

from asyncq.errors import InvalidPayloadError, InvalidResultError
from asyncq.task import Task, TaskState


class Email(BaseModel):
    user_id: int


def test_a_task_keeps_type_payload_headers_and_options() -> None:
    task = Task("email:deliver", Email(user_id=4), headers={"trace": "t1"}, queue="low")
    assert task.type == "email:deliver"
    assert task.payload == b'{"user_id":4}'
    assert dict(task.headers) == {"trace": "t1"}
    assert task.options == {"queue": "low"}


def test_a_payload_is_read_by_a_model_or_as_plain_json() -> None:
    task = Task("t", {"user_id": 4})
    assert task.parse(Email) == Email(user_id=4)
    assert task.json() == {"user_id": 4}


def test_no_payload_and_an_empty_one_have_the_same_bytes_but_differ() -> None:
    absent, empty = Task("t"), Task("t", b"")
    assert absent.payload == empty.payload == b""
    assert (absent.has_payload, empty.has_payload) == (False, True)
    assert absent != empty


def test_bytes_that_are_no_json_are_an_invalid_payload() -> None:
    with pytest.raises(InvalidPayloadError, match="cannot be read as JSON"):
        Task("t", b"{").json()


@pytest.mark.parametrize("type", ["", " \n"])
def test_a_blank_type_is_refused(type: str) -> None:
    with pytest.raises(ValueError, match="type= must not be blank"):
        Task(type)


def test_a_type_that_is_no_text_is_refused() -> None:
    wrong: Any = 5
    with pytest.raises(TypeError, match="type= takes a str, got 5"):
        Task(wrong)


def test_options_are_checked_when_the_task_is_made() -> None:
    misspelt: Any = {"retry": 3}
    with pytest.raises(TypeError, match="unknown option 'retry'; did you mean 'max_retry'"):
        Task("t", **misspelt)
    with pytest.raises(ValueError, match="naive"):
        Task("t", process_at=datetime(2024, 1, 1))  # noqa: DTZ001 - the mistake under test


def test_a_payload_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(InvalidResultError, match="type object cannot be stored"):
        Task("t", object())


@pytest.mark.parametrize("headers", [{"a": 1}, {1: "a"}, ["a"], "text"])
def test_headers_that_are_no_text_are_a_type_error(headers: Any) -> None:
    with pytest.raises(TypeError, match="headers= takes"):
        Task("t", headers=headers)


def test_headers_that_cannot_be_written_are_a_value_error() -> None:
    with pytest.raises(ValueError, match="valid Unicode"):
        Task("t", headers={"a": "\ud800"})


def test_headers_are_a_read_only_copy() -> None:
    given = {"a": "1"}
    task = Task("t", headers=given)
    given["a"] = "2"
    assert task.headers["a"] == "1"
    frozen: Any = task.headers
    with pytest.raises(TypeError):
        frozen["a"] = "3"


def test_tasks_are_equal_by_value() -> None:
    assert Task("t", 1, headers={"a": "b"}, queue="q") == Task(
        "t", b"1", headers={"a": "b"}, queue="q"
    )
    assert Task("t", 1) != Task("t", 2)
    assert Task("t") != "t"


def test_the_repr_hides_the_payload() -> None:
    assert repr(Task("t", "secret")) == "<Task 't', payload of 6 bytes>"


def test_a_stored_task_is_taken_as_it_is() -> None:
    task = Task.stored("", b"x", {"a": "b"})
    assert (task.type, task.payload, task.headers, task.options) == ("", b"x", {"a": "b"}, {})


def test_states_are_the_words_in_redis() -> None:
    assert f"{TaskState.AGGREGATING}" == str(TaskState("aggregating")) == "aggregating"
