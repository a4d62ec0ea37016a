"""Cron rules: those of asynq, with times that its parser was observed to give."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter
from hypothesis import given
from hypothesis import strategies as st

from asyncq.cron import Cron, Every, Schedule, parse

GOLDEN_START = datetime(2024, 1, 1, 10, 0, 30, 500_000, UTC)
NEW_YORK = ZoneInfo("America/New_York")


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]  # year, month, day, ...


def following(schedule: Schedule, after: datetime, count: int = 3) -> list[datetime | None]:
    times: list[datetime | None] = []
    at: datetime | None = after
    while at is not None and len(times) < count:
        at = schedule.next(at)
        times.append(at)
    return times


def shown(schedule: Schedule, after: datetime, count: int = 3) -> list[str]:
    return [
        f"{at:%Y-%m-%d %H:%M:%S}" if at else "never" for at in following(schedule, after, count)
    ]


@pytest.mark.parametrize(
    ("spec", "times"),
    [
        ("*/15 * * * *", ["10:15:00", "10:30:00", "10:45:00"]),
        ("5/20 * * * *", ["10:05:00", "10:25:00", "10:45:00"]),
        ("1-5/2 * * * *", ["10:01:00", "10:03:00", "10:05:00"]),
        ("@every 90s", ["10:02:00", "10:03:30", "10:05:00"]),
        ("@every 1500ms", ["10:00:31", "10:00:32", "10:00:33"]),
    ],
)
def test_times_of_a_day_are_those_that_asynq_gives(spec: str, times: list[str]) -> None:
    assert shown(parse(spec), GOLDEN_START) == [f"2024-01-01 {time}" for time in times]


@pytest.mark.parametrize(
    ("spec", "times"),
    [
        ("0 0 1 * MON", ["2024-01-08 00", "2024-01-15 00", "2024-01-22 00"]),
        ("0 0 */2 * MON", ["2024-01-03 00", "2024-01-05 00", "2024-01-07 00"]),
        ("0 12 * jan-mar mon-FRI", ["2024-01-01 12", "2024-01-02 12", "2024-01-03 12"]),
        ("0 0 29 2 *", ["2024-02-29 00", "2028-02-29 00", "2032-02-29 00"]),
        ("@weekly", ["2024-01-07 00", "2024-01-14 00", "2024-01-21 00"]),
        ("TZ=America/New_York 0 9 * * *", ["2024-01-01 14", "2024-01-02 14", "2024-01-03 14"]),
        ("CRON_TZ=Asia/Tokyo 0 9 * * *", ["2024-01-02 00", "2024-01-03 00", "2024-01-04 00"]),
    ],
)
def test_days_are_those_that_asynq_gives(spec: str, times: list[str]) -> None:
    # `0 0 1 * MON`: MON restricts and 1 restricts, and yet the first of February comes after.
    assert shown(parse(spec), GOLDEN_START) == [f"{time}:00:00" for time in times]


@pytest.mark.parametrize(
    ("descriptor", "spec"),
    [
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
        ("@monthly", "0 0 1 * *"),
        ("@weekly", "0 0 * * SUN"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@hourly", "0 * * * *"),
    ],
)
def test_descriptors_stand_for_fields(descriptor: str, spec: str) -> None:
    assert parse(descriptor) == parse(spec)


@pytest.mark.parametrize(
    ("spec", "same"),
    [
        ("? ? ? ? ?", "* * * * *"),
        ("*-5 * * * *", "* * * * *"),
        ("*-5/2 * * * *", "*/2 * * * *"),
        ("07 +8 * * *", "7 8 * * *"),
        ("  7   8 *\t* *  ", "7 8 * * *"),
        ("7,,8, * * * *", "7,8 * * * *"),
        ("* * * DEC,Jan sAt", "* * * 1,12 6"),
        ("* * * * 1/2", "* * * * 1-6/2"),
        ("TZ= 0 9 * * *", "TZ=UTC 0 9 * * *"),
        ("TZ=UTC  @daily ", "@daily"),
    ],
)
def test_forms_that_asynq_takes_for_the_same(spec: str, same: str) -> None:
    assert parse(spec) == parse(same)


@pytest.mark.parametrize(
    ("spec", "either"),
    [
        ("0 0 1 * MON", True),
        ("0 0 */2 * MON", True),
        ("0 0 * * MON", False),
        ("0 0 */1 * MON", False),
        ("0 0 1 * ?", False),
        ("0 0 1,* * MON", False),
        ("0 0 1 * */2", True),
    ],
)
def test_only_a_plain_star_leaves_the_choice_of_day_to_the_other_field(
    spec: str, either: bool
) -> None:
    schedule = parse(spec)
    assert isinstance(schedule, Cron)
    assert schedule.either_day is either


@pytest.mark.parametrize("spec", ["0 0 30 2 *", "0 0 31 4,6,9,11 *", ", * * * *", "* * * , *"])
def test_a_spec_without_a_match_in_five_years_never_fires(spec: str) -> None:
    assert parse(spec).next(GOLDEN_START) is None


def test_the_search_ends_with_the_fifth_year() -> None:
    leap_day = parse("0 0 29 2 *")
    assert leap_day.next(utc(2096, 3, 1)) is None  # 2100 is no leap year
    assert leap_day.next(utc(2098, 12, 31, 23, 59, 58)) is None
    assert leap_day.next(utc(2098, 12, 31, 23, 59, 59)) == utc(2104, 2, 29)


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [
        ("1s", 1),
        ("0.2s", 1),
        ("0", 1),
        ("1500ms", 1),
        ("1h30m", 5400),
        (".5h", 1800),
        ("1.h", 3600),
    ],
)
def test_every_counts_in_whole_seconds_from_one_up(duration: str, seconds: int) -> None:
    assert parse(f"@every {duration}") == Every(timedelta(seconds=seconds))


# The clocks are changed


def test_a_local_time_that_is_skipped_is_skipped_that_day() -> None:
    schedule = parse("TZ=America/New_York 30 2 * * *")
    assert shown(schedule, utc(2024, 3, 9), 2) == ["2024-03-09 07:30:00", "2024-03-11 06:30:00"]


def test_a_local_time_that_occurs_twice_fires_twice() -> None:
    schedule = parse("TZ=America/New_York 30 1 * * *")
    assert shown(schedule, utc(2024, 11, 3), 3) == [
        "2024-11-03 05:30:00",
        "2024-11-03 06:30:00",
        "2024-11-04 06:30:00",
    ]


def test_the_moment_of_the_change_itself_can_be_due() -> None:
    schedule = parse("0 3 * * *", NEW_YORK)
    assert schedule.next(utc(2024, 3, 10)) == utc(2024, 3, 10, 7)


@pytest.mark.parametrize(
    ("spec", "after", "due"),
    [
        # Midnight does not exist on the day; robfig/cron loops for ever or goes on a day later.
        ("TZ=Africa/Cairo 30 1 26 4 *", utc(2024, 4, 20), utc(2024, 4, 25, 22, 30)),
        ("TZ=Africa/Cairo 30 0 * * *", utc(2024, 4, 25, 12), utc(2024, 4, 26, 21, 30)),
        # Clocks go back from midnight: robfig/cron misses the first hour of the month.
        ("TZ=Africa/Cairo 0 0 1 10 *", utc(2014, 5, 30), utc(2014, 9, 30, 22)),
        # Half an hour: robfig/cron leaves out a whole month.
        ("TZ=Australia/Lord_Howe @monthly", utc(2028, 10, 1), utc(2028, 10, 31, 13)),
        # A whole day that was left out: there is no 30 December.
        ("TZ=Pacific/Apia 0 12 30 * *", utc(2011, 12, 1), utc(2012, 1, 29, 22)),
    ],
)
def test_odd_changes_of_the_clocks_follow_the_same_rule(
    spec: str, after: datetime, due: datetime
) -> None:
    assert parse(spec).next(after) == due


# What is wrong with a spec


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("", "it is empty; a spec has five fields"),
        ("* * * *", "it has 4 fields"),
        ("0 0 8 * * 1", "it has 6 fields; there is no field for seconds"),
        ("60 * * * *", "minute takes 0 to 59, got '60'"),
        ("* 24 * * *", "hour takes 0 to 23"),
        ("* * 0 * *", "day of month takes 1 to 31"),
        ("* * * 13 *", "month takes 1 to 12 or jan to dec"),
        ("* * * * 7", "day of week takes 0 to 6 or sun to sat, got '7'; Sunday is 0"),
        ("* * * * mo", "got 'mo'"),
        ("-1 * * * *", "got '' in '-1'"),
        ("5-1 * * * *", "runs backwards; ranges do not wrap around"),
        ("* * * * fri-mon", "runs backwards"),
        ("*/0 * * * *", "the step after '/' is a number from 1 up"),
        ("*/x * * * *", "the step after '/'"),
        ("1/2/3 * * * *", "more than one '/'"),
        ("1-2-3 * * * *", "more than one '-'"),
        ("* * L * *", "got 'L'"),
        ("* * 15W * *", "got '15W'"),
        ("* * * * 5#3", "got '5#3'"),
        ("@reboot", "'@reboot' is unknown; there are @every 90s, @yearly"),
        ("@Daily", "did you mean '@daily'?"),
        ("@every", "did you mean '@every 90s'?"),
        ("@every 90", "a duration is written as in '90s'"),
        ("@every 1d", "a duration is written as in '90s'"),
        ("@every -5m", "is negative"),
        ("@every 300000000h", "at most about 292 years"),
        ("TZ=Europe/Berln 0 9 * * *", "did you mean Europe/Berlin?"),
        ("TZ=europe/berlin 0 9 * * *", "did you mean Europe/Berlin?"),
        ("TZ=../etc/passwd 0 9 * * *", "there is no time zone"),
        ("TZ=Europe/Berlin", "a space and the spec itself are missing"),
    ],
)
def test_a_wrong_spec_says_what_is_wrong(spec: str, reason: str) -> None:
    with pytest.raises(ValueError, match="cron spec") as caught:
        parse(spec)
    assert reason in str(caught.value)


def test_a_spec_that_is_no_text_is_refused() -> None:
    with pytest.raises(TypeError, match="spec takes a str"):
        parse(60)  # type: ignore[arg-type]  # which is the point


def test_a_machine_without_time_zones_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoneinfo.available_timezones", set)
    with pytest.raises(ValueError, match="pip install tzdata"):
        parse("TZ=Europe/Nowhere 0 9 * * *")


# Properties

VALUES = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 6)]


@st.composite
def fields(draw: st.DrawFn, low: int, high: int) -> str:
    def part() -> str:
        first = draw(st.integers(low, high))
        last = draw(st.integers(first, high))
        span = draw(st.sampled_from(["*", str(first), f"{first}-{last}"]))
        return span + draw(st.sampled_from(["", "", "/1", "/2", "/7"]))

    return ",".join(part() for _ in range(draw(st.integers(1, 2))))


specs = st.tuples(*(fields(low, high) for low, high in VALUES)).map(" ".join)
zones = st.sampled_from(
    [UTC, NEW_YORK, timezone(timedelta(hours=5, minutes=45))]
    + [ZoneInfo(name) for name in ("Africa/Cairo", "Australia/Lord_Howe", "America/St_Johns")]
)
moments = st.datetimes(datetime(2000, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone


@given(spec=specs, zone=zones, after=moments)
def test_the_next_time_is_later_and_matches_and_nothing_matches_before(
    spec: str, zone: ZoneInfo, after: datetime
) -> None:
    schedule = parse(spec, zone)
    assert isinstance(schedule, Cron)
    due = schedule.next(after)
    if due is None:
        return
    assert due > after
    assert due.second == due.microsecond == 0
    assert matches(schedule, due)
    minute = max(after, due - timedelta(days=2)).replace(second=0, microsecond=0)
    while (minute := minute + timedelta(minutes=1)) < due:
        assert not matches(schedule, minute)


def matches(schedule: Cron, at: datetime) -> bool:
    local = at.astimezone(schedule.zone)
    day, weekday = local.day in schedule.days, local.isoweekday() % 7 in schedule.weekdays
    return (
        local.minute in schedule.minutes
        and local.hour in schedule.hours
        and local.month in schedule.months
        and (day or weekday if schedule.either_day else day and weekday)
    )


def plain_fields(high: int) -> st.SearchStrategy[str]:
    """What croniter reads alike; it takes `5-5` for a range that goes all the way round."""
    numbers = st.lists(st.integers(0, high).map(str), min_size=1, max_size=3).map(",".join)
    return st.sampled_from(["*", "*/2", "*/7", "3-9/2"]) | numbers


@given(
    minute=plain_fields(59),
    hour=plain_fields(23),
    day=st.integers(1, 28),
    weekday=st.integers(0, 6),
    which=st.sampled_from(["day", "weekday", "both"]),
    after=moments,
)
def test_croniter_agrees_where_it_has_the_same_rules(
    minute: str, hour: str, day: int, weekday: int, which: str, after: datetime
) -> None:
    days = {"day": f"{day} * *", "weekday": f"* * {weekday}", "both": f"{day} * {weekday}"}
    spec = f"{minute} {hour} {days[which]}"
    assert parse(spec).next(after) == croniter(spec, after).get_next(datetime)


@given(spec=specs, zone=zones, after=moments, span=st.timedeltas(timedelta(), timedelta(days=400)))
def test_the_latest_time_is_the_last_of_the_next_ones(
    spec: str, zone: ZoneInfo, after: datetime, span: timedelta
) -> None:
    schedule, until = parse(spec, zone), after + span
    latest = schedule.latest(after, until)
    if latest is None:
        first = schedule.next(after)
        assert first is None or first > until
        return
    assert after < latest <= until
    following_it = schedule.next(latest)
    assert following_it is None or following_it > until


@given(
    seconds=st.integers(1, 10**6),
    after=moments,
    span=st.timedeltas(timedelta(), timedelta(days=30)),
)
def test_the_latest_time_of_a_row_is_the_last_of_its_times(
    seconds: int, after: datetime, span: timedelta
) -> None:
    schedule = Every(timedelta(seconds=seconds))
    latest = schedule.latest(after, after + span)
    start = after.replace(microsecond=0)
    if latest is None:
        assert start + schedule.period > after + span
    else:
        assert latest <= after + span < latest + schedule.period
        assert (latest - start) % schedule.period == timedelta()


@pytest.mark.parametrize("spec", ["0 0 1-31 * MON", "0 0 5 * 0-6", "0 0 1-31 * sun-sat"])
def test_a_full_list_is_no_star_and_with_it_every_day_is_due(spec: str) -> None:
    at, schedule = datetime(2024, 1, 1, 10, tzinfo=UTC), parse(spec)
    for day in (2, 3, 4):
        assert schedule.next(at) == datetime(2024, 1, day, tzinfo=UTC)
        at = datetime(2024, 1, day, tzinfo=UTC)
