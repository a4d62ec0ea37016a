"""Cron and `@every` specs, and when they are due. Pure: nothing here asks what time it is.

The rules are asynq's (wire format, section 15.2), which are those of robfig/cron. No library for
Python reads specs so: they differ in the day rule, in `7` for Sunday, in ranges that wrap, in
`@every`, and in what a change to daylight saving time does. So specs are read here, clocks that
are changed are dealt with here, and croniter finds the next match on a clock that is not.
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from difflib import get_close_matches
from typing import TypeAlias

from croniter import CroniterBadDateError, croniter

from .duration_text import parse_duration

_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)
_YEARS_SEARCHED = 5

_DESCRIPTORS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_FORM = (
    "a spec has five fields (minute, hour, day of month, month, day of week) as in '30 8 * * 1-5',"
    " or is '@every 90s', '@daily' or the like"
)


@dataclass(frozen=True, slots=True)
class Every:
    """Due again and again, this long after the last time; whole seconds."""

    period: timedelta

    def next(self, after: datetime) -> datetime | None:
        """The due time that follows a run at `after`, in UTC."""
        return after.astimezone(UTC).replace(microsecond=0) + self.period

    def latest(self, after: datetime, until: datetime) -> datetime | None:
        """The last due time in a row that began after a run at `after`, not later than `until`."""
        start = after.astimezone(UTC).replace(microsecond=0)
        periods = (until - start) // self.period
        return start + periods * self.period if periods > 0 else None


@dataclass(frozen=True, slots=True)
class Cron:
    """Due whenever the clocks of a zone show a minute that matches five fields."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    """Days of the month, from 1."""
    months: frozenset[int]
    """From 1."""
    weekdays: frozenset[int]
    """From 0, Sunday."""
    either_day: bool
    """Whether one of `days` and `weekdays` is enough; else both must match."""
    zone: tzinfo = field(repr=False)

    def next(self, after: datetime) -> datetime | None:
        """The first due time later than `after`, in UTC.

        None if there is none until the end of the fifth year after: such a spec never fires.
        A local time that a change of the clocks skips is not due that day, one that they show
        twice is due twice.
        """
        after = after.astimezone(UTC)
        start = after.replace(microsecond=0) + _SECOND
        last_year = start.astimezone(self.zone).year + _YEARS_SEARCHED
        while True:
            # From `start` the clocks go on evenly, until they are changed.
            offset = self._offset(start)
            shown = self._first_shown(start.replace(tzinfo=None) + offset, last_year)
            end = datetime.combine(date(last_year + 1, 1, 1), time())
            due = (shown or end).replace(tzinfo=UTC) - offset
            changed = self._first_change(start, due)
            if changed is None:
                return due if shown else None
            start = changed

    def latest(self, after: datetime, until: datetime) -> datetime | None:
        """The last due time later than `after` and not later than `until`, in UTC."""
        latest = self.next(after)
        if latest is None or latest > until:
            return None
        beyond = until
        while beyond - latest > _SECOND:
            middle = latest + (beyond - latest) // 2
            later = self.next(middle)
            if later is not None and later <= until:
                latest = later
            else:
                beyond = middle
        return latest

    def _first_shown(self, clock: datetime, last_year: int) -> datetime | None:
        """The first match at or after `clock` on a clock that is never changed."""
        if not (self.minutes and self.hours and self.days and self.months and self.weekdays):
            return None
        search = croniter(
            self._expression(),
            clock - _SECOND,  # it looks later than that
            day_or=self.either_day,
            max_years_between_matches=_YEARS_SEARCHED + 1,
        )
        try:
            shown: datetime = search.get_next(datetime)
        except CroniterBadDateError:
            return None
        return shown if shown.year <= last_year else None

    def _expression(self) -> str:
        """The fields as lists of numbers, which leave croniter nothing to understand otherwise
        than asynq does. One that has all values it takes for a star: where one of two fields
        for the day is enough, the other would then decide alone, so that both become stars.
        """
        days, weekdays = _listed(self.days), _listed(self.weekdays)
        if self.either_day and (len(self.days) == 31 or len(self.weekdays) == 7):
            days = weekdays = "*"
        fields = (_listed(self.minutes), _listed(self.hours), days, _listed(self.months), weekdays)
        return " ".join(fields)

    def _offset(self, at: datetime) -> timedelta:
        return at.astimezone(self.zone).utcoffset() or timedelta()

    def _first_change(self, start: datetime, until: datetime) -> datetime | None:
        """When the clocks are first changed after `start`, not later than `until`."""
        if isinstance(self.zone, timezone):
            return None
        offset = self._offset(start)
        while start < until:
            step = min(start + _DAY, until)  # nowhere are there two changes within a day
            if self._offset(step) != offset:
                return self._change_between(start, step)
            start = step
        return None

    def _change_between(self, before: datetime, after: datetime) -> datetime:
        offset = self._offset(before)
        while after - before > _SECOND:
            middle = before + (after - before) // 2 // _SECOND * _SECOND
            if self._offset(middle) == offset:
                before = middle
            else:
                after = middle
        return after


def _listed(values: Iterable[int]) -> str:
    return ",".join(map(str, sorted(values)))


Schedule: TypeAlias = Cron | Every


def parse(spec: str, default_zone: tzinfo = UTC) -> Schedule:
    """The schedule that a spec describes; `default_zone` counts where the spec names no zone.

    Raises `ValueError` that says what is wrong with it, `TypeError` unless it is text.
    """
    if not isinstance(spec, str):
        raise TypeError(f"spec takes a str such as '30 8 * * 1-5', got {spec!r}")
    try:
        return _parse(spec, default_zone)
    except ValueError as error:
        raise ValueError(f"cron spec {spec!r}: {error}") from None


def read_zone(name: str) -> tzinfo:
    """A time zone by its name, such as `Europe/Berlin`. Raises `ValueError`."""
    if name in ("", "UTC"):
        return UTC
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        known = zoneinfo.available_timezones()
    if not known:
        raise ValueError(
            f"there is no time zone {name!r}, since this machine has no time zones at all;"
            " install them: pip install tzdata"
        )
    ignoring_case = {known_name.lower(): known_name for known_name in known}
    near = get_close_matches(name.lower(), ignoring_case, 1)
    hint = f"did you mean {ignoring_case[near[0]]}?" if near else "such as Europe/Berlin or UTC"
    raise ValueError(f"there is no time zone {name!r}; {hint}")


def _parse(spec: str, zone: tzinfo) -> Schedule:
    prefix = re.match(r"(?:CRON_)?TZ=", spec)
    if prefix:
        name, space, rest = spec[prefix.end() :].partition(" ")
        if not space:
            raise ValueError(
                f"after {prefix[0]}{name} a space and the spec itself are missing,"
                f" as in '{prefix[0]}{name or 'Europe/Berlin'} 30 8 * * *'"
            )
        zone = zone if name == "Local" else read_zone(name)
        spec = rest.strip()
    if spec.startswith("@"):
        return _parse_descriptor(spec, zone)
    return _parse_fields(spec, zone)


def _parse_descriptor(spec: str, zone: tzinfo) -> Schedule:
    if spec in _DESCRIPTORS:
        return _parse_fields(_DESCRIPTORS[spec], zone)
    if spec.startswith("@every "):
        period_ns = parse_duration(spec.removeprefix("@every "))
        if period_ns < 0:
            raise ValueError("the duration after @every is negative")
        return Every(timedelta(seconds=max(1, period_ns // 10**9)))
    known = ["@every 90s", *_DESCRIPTORS]
    near = get_close_matches(spec.lower().strip(), known, 1)
    if spec.startswith("@every"):
        near = ["@every 90s"]
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
    raise ValueError(f"{spec!r} is unknown; {hint}")


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    least: int
    most: int
    names: tuple[str, ...] = ()
    """Of the values from `least` on."""
    hint: str = ""


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, tuple("jan feb mar apr may jun jul aug sep oct nov dec".split())),
    _Field("day of week", 0, 6, tuple("sun mon tue wed thu fri sat".split()), "Sunday is 0"),
)


def _parse_fields(spec: str, zone: tzinfo) -> Cron:
    texts = spec.split()
    if not texts:
        raise ValueError(f"it is empty; {_FORM}")
    if len(texts) != len(_FIELDS):
        more = "; there is no field for seconds" if len(texts) == len(_FIELDS) + 1 else ""
        raise ValueError(f"it has {len(texts)} field{'s'[: len(texts) > 1]}{more}; {_FORM}")
    values, stars = zip(*map(_parse_field, texts, _FIELDS), strict=True)
    minutes, hours, days, months, weekdays = values
    return Cron(
        minutes=tuple(sorted(minutes)),
        hours=tuple(sorted(hours)),
        days=days,
        months=months,
        weekdays=weekdays,
        either_day=not (stars[2] or stars[4]),
        zone=zone,
    )


def _parse_field(text: str, field_: _Field) -> tuple[frozenset[int], bool]:
    """The values that match, and whether a plain star was among them."""
    values: set[int] = set()
    star = False
    for part in filter(None, text.split(",")):
        numbers, is_star = _parse_part(part, field_)
        values.update(numbers)
        star = star or is_star
    return frozenset(values), star


def _parse_part(part: str, field_: _Field) -> tuple[range, bool]:
    span, *steps = part.split("/")
    if len(steps) > 1:
        raise ValueError(f"{field_.name} {part!r} has more than one '/'")
    first, *last = span.split("-")
    if first in ("*", "?"):
        # What follows the star up to the slash asynq ignores.
        low, high = field_.least, field_.most
        return _stepped(low, high, steps, part, field_), not steps or int(steps[0]) == 1
    if len(last) > 1:
        raise ValueError(f"{field_.name} {part!r} has more than one '-'")
    low = _value(first, part, field_)
    high = _value(last[0], part, field_) if last else field_.most if steps else low
    if low > high:
        raise ValueError(
            f"{field_.name} {part!r} runs backwards; ranges do not wrap around: write two,"
            " separated by a comma"
        )
    return _stepped(low, high, steps, part, field_), False


def _stepped(low: int, high: int, steps: list[str], part: str, field_: _Field) -> range:
    step = _number(steps[0]) if steps else 1
    if not step:
        raise ValueError(f"{field_.name} {part!r}: the step after '/' is a number from 1 up")
    return range(low, high + 1, step)


def _value(text: str, part: str, field_: _Field) -> int:
    if text.lower() in field_.names:
        return field_.names.index(text.lower()) + field_.least
    value = _number(text)
    if value is None or not field_.least <= value <= field_.most:
        accepted = f"{field_.least} to {field_.most}"
        if field_.names:
            accepted += f" or {field_.names[0]} to {field_.names[-1]}"
        hint = f"; {field_.hint}" if field_.hint and value == field_.most + 1 else ""
        among = f" in {part!r}" if part != text else ""
        raise ValueError(f"{field_.name} takes {accepted}, got {text!r}{among}{hint}")
    return value


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"\+?[0-9]{1,9}", text) else None
