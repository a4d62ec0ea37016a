"""Options as asynq writes them, as observed, and back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncq.duration_text import format_duration, parse_duration
from asyncq.option_text import option_texts, quote, read_option_texts, unquote


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"max_retry": 3}, "MaxRetry(3)"),
        ({"queue": "x"}, 'Queue("x")'),
        ({"task_id": "id1"}, 'TaskID("id1")'),
        ({"timeout": 90}, "Timeout(1m30s)"),
        ({"timeout": 1.5}, "Timeout(1.5s)"),
        ({"timeout": 0}, "Timeout(0s)"),
        (
            {"deadline": datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)},
            "Deadline(Tue Nov 14 22:13:20 UTC 2023)",
        ),
        (
            {"deadline": datetime(2024, 3, 5, 2, 2, 3, tzinfo=timezone(timedelta(hours=1)))},
            "Deadline(Tue Mar  5 01:02:03 UTC 2024)",
        ),
        ({"unique": timedelta(hours=25)}, "Unique(25h0m0s)"),
        (
            {"process_at": datetime(1970, 1, 1, tzinfo=UTC)},
            "ProcessAt(Thu Jan  1 00:00:00 UTC 1970)",
        ),
        ({"process_in": timedelta(minutes=2, microseconds=3)}, "ProcessIn(2m0.000003s)"),
        ({"retention": 86400}, "Retention(24h0m0s)"),
        ({"group": "g"}, 'Group("g")'),
        ({"unique_key": b"\xff"}, 'UniqueKey("\\xff")'),
    ],
)
def test_an_option_is_written_as_asynq_writes_it_and_read_back(options: Any, text: str) -> None:
    assert option_texts(options) == [text]
    (name, value), *_ = options.items()
    read = dict(read_option_texts([text]))
    if name in ("timeout", "unique", "process_in", "retention") and not isinstance(
        value, timedelta
    ):
        value = timedelta(seconds=value)
    assert read == {name: value}


@pytest.mark.parametrize(
    ("value", "quoted"),
    [
        ('a"b\\c', r'"a\"b\\c"'),
        ("\a\b\f\n\r\t\v", r'"\a\b\f\n\r\t\v"'),
        ("\x01\x7f", r'"\x01\x7f"'),
        ("é日本 €", '"é日本 €"'),
        ("\u200b\u00a0\u0085", r'"\u200b\u00a0\u0085"'),
        ("\U000e0001", r'"\U000e0001"'),
        (b"\xffok", r'"\xffok"'),
    ],
)
def test_text_is_quoted_as_go_quotes_it(value: str | bytes, quoted: str) -> None:
    assert quote(value) == quoted


@given(st.text())
def test_whatever_is_quoted_is_read_back(value: str) -> None:
    if not any(0xD800 <= ord(character) <= 0xDFFF for character in value):
        assert unquote(quote(value)) == value


def test_a_parenthesis_in_quotes_does_not_end_an_option_as_it_does_for_go() -> None:
    assert read_option_texts(['Queue("a)b(c")']) == {"queue": "a)b(c"}


UNREADABLE = """
    MaxRetry
    MaxRetry(
    MaxRetry(x)
    Queue(x)
    Queue("x)
    Header([])
    Timeout(5)
    Deadline(yesterday)
    Deadline(Tue Nov 99 22:13:20 UTC 2023)
"""


@pytest.mark.parametrize("text", [line.strip() for line in UNREADABLE.splitlines()])
def test_what_cannot_be_read_is_left_out(text: str) -> None:
    assert read_option_texts([text, "MaxRetry(3)"]) == {"max_retry": 3}


@pytest.mark.parametrize(
    ("zone", "hours"), [("UTC", 0), ("CET", 0), ("+03", 3), ("-0330", -3.5), ("GMT+2", 2)]
)
def test_a_zone_counts_only_if_its_name_is_an_offset(zone: str, hours: float) -> None:
    read = read_option_texts([f"Deadline(Tue Nov 14 22:13:20 {zone} 2023)"])
    expected = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC) - timedelta(hours=hours)
    assert read == {"deadline": expected}


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0s"),
        (1, "1ns"),
        (1_100, "1.1µs"),
        (2_200_000, "2.2ms"),
        (3_300_000_000, "3.3s"),
        (4 * 60_000_000_000 + 5_000_000_000, "4m5s"),
        (5 * 3600 * 10**9, "5h0m0s"),
        (-1_500_000_000, "-1.5s"),
        (2**63 - 1, "2562047h47m16.854775807s"),
    ],
)
def test_durations_are_written_as_go_writes_them(ns: int, text: str) -> None:
    assert format_duration(ns) == text
    assert parse_duration(text) == ns


@pytest.mark.parametrize(
    ("text", "ns"),
    [("1.s", 10**9), (".5h", 1800 * 10**9), ("+5us", 5000), ("5μs", 5000), ("1h1h", 7200 * 10**9)],
)
def test_durations_are_read_as_go_reads_them(text: str, ns: int) -> None:
    assert parse_duration(text) == ns


@pytest.mark.parametrize("text", ["", "5", "s", "1d", ".s", "1 h", "1h ", "- 1s", "2562048h"])
def test_what_is_no_duration_to_go_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a duration is"):
        parse_duration(text)


@given(st.integers(-(2**63) + 1, 2**63 - 1))
def test_every_duration_that_is_written_is_read_back(ns: int) -> None:
    assert parse_duration(format_duration(ns)) == ns
