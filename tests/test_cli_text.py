"""How the command line writes what it found: for people, and as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncq import Task, TaskInfo, TaskState
from asyncq.cli.inspect.nearest import suggestion
from asyncq.cli.inspect.records import dumps, plain
from asyncq.cli.inspect.text import ago, block, dated, due, length, one_line, share
from asyncq.safe_text import safe
from asyncq.size_text import size_text

NOW = datetime(2026, 11, 21, 16, 0, tzinfo=UTC)


# For people


@given(st.text())
def test_no_text_holds_a_command_for_the_terminal(text: str) -> None:
    assert safe(text).isprintable()


@given(st.binary())
def test_no_bytes_hold_a_command_for_the_terminal(data: bytes) -> None:
    assert one_line(data).isprintable()
    assert all(line.isprintable() for line in block(data))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ä 漢", "plain ä 漢"),
        ("two\nlines\t", r"two\nlines\t"),
        ("\x1b[2J\x07\x9b", r"\x1b[2J\x07\x9b"),
        ("to the \u202eleft", r"to the \u202eleft"),
        ("\U000e0041\ud800", r"\U000e0041\ud800"),
    ],
)
def test_odd_characters_are_shown_as_escapes(text: str, shown: str) -> None:
    assert safe(text) == shown


def test_bytes_that_are_no_text_are_shown_as_such() -> None:
    assert one_line(b"\xff\x00") == "0xff00 (2 bytes)"
    assert one_line(b"\xff" * 17) == f"0x{'ff' * 16}... (17 bytes)"
    assert one_line(None) == one_line(b"") == ""
    assert block(b"\xff\x00") == ["(no text: 2 bytes, here as base64)", "/wA="]


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b'{"a":[1,2.5],"b":"\xc3\xa4"}',
         ["{", '  "a": [', "    1,", "    2.5", "  ],", '  "b": "ä"', "}"]),
        (b"1.10", ["1.10"]),
        (b"two\nlines", ["two", "lines"]),
        (b"[" * 100_000, ["[" * 100_000]),
        (b"", [""]),
    ],
)  # fmt: skip
def test_json_is_spread_out_and_other_text_left_as_it_is(data: bytes, lines: list[str]) -> None:
    assert block(data) == lines


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0s"), (0.0004, "1ms"), (0.0151, "15ms"), (1, "1s"), (1.25, "1.2s"), (9.96, "10s"),
        (59.6, "1m"), (80, "1m 20s"), (3600, "1h"), (3661, "1h 1m"), (90_000, "1d 1h"),
        (86_400 * 400, "400d"), (-5, "-5s"),
    ],
)  # fmt: skip
def test_length_of_time_has_its_two_largest_units(seconds: float, shown: str) -> None:
    assert length(timedelta(seconds=seconds)) == shown


def test_moments_are_seen_from_now() -> None:
    later, earlier = NOW + timedelta(minutes=5), NOW - timedelta(hours=2)
    assert (due(later, NOW), due(earlier, NOW), due(None, NOW)) == ("in 5m", "now", "-")
    assert (ago(earlier, NOW), ago(later, NOW), ago(None, NOW)) == ("2h ago", "0s ago", "-")
    assert dated(later, NOW) == "2026-11-21 16:05:00Z (in 5m)"
    assert dated(earlier, NOW) == "2026-11-21 14:00:00Z (2h ago)"
    assert dated(None, NOW) == "-"


def test_sizes_and_shares() -> None:
    assert [size_text(n) for n in (0, 1023, 1024, 1536, 123_456, 1_048_000, 5 * 1024**3)] == [
        "0 B", "1023 B", "1.0 KiB", "1.5 KiB", "121 KiB", "1023 KiB", "5.0 GiB"
    ]  # fmt: skip
    assert (share(1, 3), share(0, 0)) == ("33.33 %", "-")


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("defualt", ["default", "low"], "; did you mean 'default'?"),
        ("x", ["default", "low"], "; there are 'default', 'low'"),
        ("x", [f"queue-{n}" for n in range(7)],
         "; there are 'queue-0', 'queue-1', 'queue-2', 'queue-3', 'queue-4' and 2 more"),
        ("x", [], "; there are none"),
    ],
)  # fmt: skip
def test_what_was_meant_is_guessed(name: str, known: list[str], hint: str) -> None:
    assert suggestion(name, known) == hint


# JSON


def test_records_have_the_names_of_their_fields_and_plain_values() -> None:
    task = TaskInfo(
        id="a", queue="q", type="t", payload=b"\xc3\xa4", headers={"h": "v"},
        state=TaskState.RETRY, max_retry=25, last_failed_at=NOW.astimezone(
            timezone(timedelta(hours=2))
        ),
        timeout=timedelta(seconds=30), retention=timedelta(milliseconds=1500), result=b"\xff",
    )  # fmt: skip
    assert plain(task) == {
        "id": "a",
        "queue": "q",
        "type": "t",
        "payload": "ä",
        "payload_encoding": "utf-8",
        "headers": {"h": "v"},
        "state": "retry",
        "max_retry": 25,
        "retried": 0,
        "last_error": "",
        "last_failed_at": "2026-11-21T16:00:00Z",
        "timeout": 30,
        "deadline": None,
        "group": "",
        "next_process_at": None,
        "is_orphaned": False,
        "retention": 1.5,
        "completed_at": None,
        "result": "/w==",
        "result_encoding": "base64",
    }


def test_bytes_that_are_not_there_are_null() -> None:
    @dataclass
    class Record:
        result: bytes | None = None

    assert plain(Record()) == {"result": None, "result_encoding": None}


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (date(2026, 1, 2), "2026-01-02"),
        (NOW + timedelta(microseconds=5), "2026-11-21T16:00:00.000005Z"),
        (True, True),
        ([None, (1, "x")], [None, [1, "x"]]),
        ({"a": b"b"}, {"a": "b"}),
        (Task("t", b"p", headers={"h": "v"}),
         {"type": "t", "payload": "p", "payload_encoding": "utf-8", "headers": {"h": "v"}}),
    ],
)  # fmt: skip
def test_values_of_every_kind(value: Any, written: Any) -> None:
    assert plain(value) == written


def test_what_has_no_json_is_refused() -> None:
    with pytest.raises(TypeError, match="no JSON for"):
        plain(object())


@given(st.text())
def test_json_is_ascii_without_commands_for_the_terminal(text: str) -> None:
    written = dumps({"text": text})
    assert written.isascii()
    assert written.isprintable()
    assert json.loads(written) == {"text": text}
