"""Options: what they accept, what they become, and what their errors teach."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from asyncq.options import NAMES, Options, compose, merge, seconds

NOON = datetime(2024, 3, 5, 12, 0, 0, tzinfo=UTC)


def test_without_options_a_task_gets_asynqs_defaults() -> None:
    assert (
        compose()
        == compose({})
        == Options(
            queue="default",
            task_id=None,
            max_retry=25,
            timeout_s=1800,
            deadline_s=0,
            unique_s=0,
            unique_key=None,
            process_at_ms=None,
            process_in_ms=None,
            retention_s=0,
            group="",
        )
    )


def test_every_option_has_a_check() -> None:
    for name in NAMES:
        with pytest.raises(TypeError, match=f"^{name}= takes "):
            compose({name: object()})


def test_a_deadline_alone_leaves_no_time_out() -> None:
    options = compose({"deadline": NOON})
    assert (options.timeout_s, options.deadline_s) == (0, int(NOON.timestamp()))


def test_time_out_and_deadline_may_stand_together() -> None:
    options = compose({"deadline": NOON, "timeout": 5})
    assert (options.timeout_s, options.deadline_s) == (5, int(NOON.timestamp()))


@pytest.mark.parametrize("name", ["timeout", "unique", "retention", "process_in"])
def test_a_duration_is_a_timedelta_or_seconds(name: str) -> None:
    assert compose({name: timedelta(minutes=2)}) == compose({name: 120}) == compose({name: 120.0})


@pytest.mark.parametrize("name", ["timeout", "unique", "retention"])
@pytest.mark.parametrize("value", [1.5, timedelta(milliseconds=900)])
def test_fractions_of_a_second_are_refused_where_asynq_would_drop_them(
    name: str, value: Any
) -> None:
    with pytest.raises(ValueError, match=f"{name}= is kept in whole seconds"):
        compose({name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("timeout", 0),
        ("timeout", -1),
        ("unique", 0),
        ("unique", timedelta(0)),
        ("retention", -1),
        ("timeout", 10**400),
        ("retention", 1e300),
        ("process_in", 10**400),
        ("process_in", float("inf")),
        ("process_in", float("nan")),
        ("max_retry", -1),
        ("max_retry", 2**31),
        ("queue", ""),
        ("queue", " \t"),
        ("queue", "\ud800"),
        ("task_id", " "),
        ("group", ""),
        ("deadline", datetime(1970, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_value_out_of_range_is_a_value_error_that_names_the_option(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name}= "):
        compose({name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_retry", True), ("max_retry", 1.0), ("timeout", True), ("timeout", "5"), ("queue", b"q")],
)
def test_a_value_of_the_wrong_type_is_a_type_error_that_shows_it(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"^{name}= takes .*, got {value!r}$"):
        compose({name: value})


@pytest.mark.parametrize("name", ["deadline", "process_at"])
def test_a_naive_time_is_refused_with_the_remedy(name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}= takes an aware datetime.*timezone.utc"):
        compose({name: datetime(2024, 3, 5)})  # noqa: DTZ001 - the mistake under test


def test_an_unknown_option_is_a_type_error_with_the_nearest_name() -> None:
    with pytest.raises(TypeError, match="unknown option 'max_retires'; did you mean 'max_retry'"):
        compose({"max_retires": 3})


def test_an_option_like_no_other_shows_what_is_known() -> None:
    with pytest.raises(TypeError, match="unknown option 'zzz'; known: queue, task_id"):
        compose({"zzz": 3})


def test_the_last_layer_wins() -> None:
    options = compose({"queue": "a", "max_retry": 1}, {"queue": "b"})
    assert (options.queue, options.max_retry) == ("b", 1)


def test_times_of_processing_are_one_kind() -> None:
    assert compose({"process_at": NOON}, {"process_in": 5}).process_at_ms is None
    assert compose({"process_in": 5}, {"process_at": NOON}).process_in_ms is None
    assert merge({"process_in": 5}, {"process_at": NOON}) == {"process_at": NOON}


def test_both_times_of_processing_in_one_call_are_refused() -> None:
    with pytest.raises(ValueError, match="process_at= or process_in=, not both"):
        compose({"process_at": NOON, "process_in": 5})


def test_a_time_of_processing_is_rounded_up_to_the_millisecond() -> None:
    whole = int(NOON.timestamp()) * 1000
    assert compose({"process_at": NOON}).process_at_ms == whole
    assert compose({"process_at": NOON + timedelta(microseconds=1)}).process_at_ms == whole + 1
    assert compose({"process_in": 0.0001}).process_in_ms == 1
    assert compose({"process_in": 0.123}).process_in_ms == 123  # 0.123 * 1000 > 123 as a float


def test_the_time_zone_of_a_time_counts() -> None:
    east = timezone(timedelta(hours=5))
    assert compose({"process_at": NOON.astimezone(east)}) == compose({"process_at": NOON})


def test_a_past_time_of_processing_means_now() -> None:
    assert compose({"process_in": -5}).process_in_ms == 0
    assert compose({"process_at": datetime(1960, 1, 1, tzinfo=UTC)}).process_at_ms == 0


def test_a_unique_key_goes_with_unique() -> None:
    assert compose({"unique": 5, "unique_key": "é"}).unique_key == "é".encode()
    assert compose({"unique": 5}, {"unique_key": b"\xff"}).unique_key == b"\xff"
    with pytest.raises(ValueError, match="give unique= too"):
        compose({"unique_key": "k"})


def test_queue_names_are_neither_trimmed_nor_lower_cased() -> None:
    assert compose({"queue": " Mixed Case "}).queue == " Mixed Case "


def test_seconds_of_a_negative_duration_are_negative() -> None:
    assert seconds("x", timedelta(seconds=-1)) == -1
    assert seconds("x", -(10**400)) < 0
