"""Numbers and times for people, in few characters: columns are narrow here."""

from __future__ import annotations

from datetime import datetime, timedelta


def count(number: int) -> str:
    """With commas; from a hundred million on rounded."""
    return f"{number:,}" if number < 100_000_000 else short(number)


def short(number: float) -> str:
    """In at most five characters: `123`, `9,999`, `12.3k`, `123k`, `1.2M`."""
    for unit in ("", "k", "M", "G", "T"):
        if number < (9_999.5 if not unit else 999.5) or unit == "T":
            break
        number /= 1000
    if not unit:
        return f"{number:,.0f}"
    return f"{number:.1f}{unit}" if number < 99.95 else f"{number:.0f}{unit}"


def rate(number: float) -> str:
    """So many a second."""
    return f"{number:.1f}" if number < 99.95 else short(number)


def percent(part: int, whole: int) -> str:
    """`-` of nothing."""
    return f"{100 * part / whole:.1f}%" if whole else "-"


def duration(length: timedelta) -> str:
    """In at most two units: `0.4s`, `12s`, `3m12s`, `2h03m`, `5d01h`."""
    seconds = max(0.0, length.total_seconds())
    if seconds < 9.95:
        return f"{seconds:.1f}s" if seconds else "0s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"


def ago(at: datetime | None, now: datetime) -> str:
    """Of a time that has passed; `-` of none."""
    return "-" if at is None else f"{duration(now - at)} ago"


def ahead(at: datetime | None, now: datetime) -> str:
    """Of a time to come; `-` of none."""
    if at is None:
        return "-"
    return "now" if at <= now else f"in {duration(at - now)}"


def moment(at: datetime | None, now: datetime) -> str:
    """Date and time in UTC, and how far that is; `-` of none."""
    if at is None:
        return "-"
    return f"{at:%Y-%m-%d %H:%M:%S} UTC ({ago(at, now) if at <= now else ahead(at, now)})"
