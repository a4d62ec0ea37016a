"""Log lines for people and for machines."""

from __future__ import annotations

import io
import json
import logging
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from asyncq.cli.logs import HumanFormatter, JsonFormatter, LogFormat, configure, is_json


def record(message: str, *args: object, level: int = logging.INFO, **extra: object) -> Any:
    made = logging.LogRecord("asyncq", level, __file__, 1, message, args, None)
    made.created = 1_700_000_000.125
    made.__dict__ |= extra
    return made


def failed(error: Exception) -> Any:
    made = record("it failed", level=logging.ERROR)
    try:
        raise error
    except type(error):
        made.exc_info = sys.exc_info()
    return made


@pytest.fixture
def restored_logging() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("asyncq")
    before = (root.handlers[:], root.level, ours.level)
    yield
    logging.captureWarnings(False)
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    ours.setLevel(before[2])


def test_human_line_has_time_level_message_and_the_task() -> None:
    line = HumanFormatter().format(record("done in %d ms", 7, task_type="a:b", attempt=2))
    assert line[2::3][:2] == "::"
    assert line[8:] == ".125  info      done in 7 ms  task_type=a:b attempt=2"


def test_human_line_does_not_repeat_what_the_message_says() -> None:
    line = HumanFormatter().format(record("task a:b failed", task_type="a:b", queue="low"))
    assert line.endswith("task a:b failed  queue=low")


def test_human_line_names_a_foreign_logger_and_the_process() -> None:
    made = record("hello")
    made.name = "httpx"
    assert HumanFormatter(process=2).format(made).endswith("  info      #2 [httpx] hello")


def test_fields_stand_in_the_first_line_of_a_message_of_several() -> None:
    text = HumanFormatter().format(record("it is at\n  a.py\n  b.py", attempt=2))
    assert text.partition("  it is at")[2] == "  attempt=2\n  a.py\n  b.py"


def test_human_line_has_colours_only_if_asked_for() -> None:
    assert "\033[" in HumanFormatter(colour=True).format(record("hello"))
    assert "\033[" not in HumanFormatter().format(record("hello"))


def test_human_line_is_followed_by_the_traceback() -> None:
    first, *rest = HumanFormatter().format(failed(ValueError("oh"))).splitlines()
    assert first.endswith("it failed")
    assert rest[0].startswith("Traceback")
    assert rest[-1] == "ValueError: oh"


def test_json_line_is_one_object_with_what_extra_held() -> None:
    line = json.loads(
        JsonFormatter().format(record("task %s", "x", task_id="1", attempt=3, mine={"a": object}))
    )
    assert line == {
        "ts": "2023-11-14T22:13:20.125Z",
        "level": "info",
        "logger": "asyncq",
        "message": "task x",
        "task_id": "1",
        "attempt": 3,
        "mine": {"a": "<class 'object'>"},
    }


def test_json_line_holds_the_exception_as_text() -> None:
    text = JsonFormatter(process=3).format(failed(ValueError("two\nlines")))
    assert "\n" not in text
    line = json.loads(text)
    assert line["process"] == 3
    assert line["exception"].endswith("ValueError: two\nlines")


@pytest.mark.usefixtures("restored_logging")
def test_json_covers_every_logger_and_warnings() -> None:
    stream = io.StringIO()
    configure(LogFormat.JSON, "info", stream=stream)
    assert is_json()
    logging.getLogger("someone.else").info("hello")
    logging.getLogger("asyncq").debug("too low")
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("careful", UserWarning, stacklevel=1)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["logger"] for line in lines] == ["someone.else", "py.warnings"]


@pytest.mark.usefixtures("restored_logging")
def test_human_output_that_is_no_terminal_has_dates_and_no_colours() -> None:
    stream = io.StringIO()
    configure(LogFormat.HUMAN, "debug", stream=stream)
    assert not is_json()
    logging.getLogger("asyncq").debug("hello")
    assert stream.getvalue()[4::3][:2] == "--"
    assert "\033[" not in stream.getvalue()
