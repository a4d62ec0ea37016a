"""Enqueue options as the strings that asynq keeps in scheduler entries (wire format, 12.4).

Written exactly as Go writes them. Read back more faithfully than Go does: it loses `TaskID` and
`Group`, and whatever has a `)` inside of quotes.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, cast

from .duration_text import format_duration, parse_duration
from .options import EnqueueOptions, seconds

_ESCAPES = {
    "\a": r"\a", "\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\v": r"\v",
    "\\": r"\\", '"': r"\"",
}  # fmt: skip
_UNESCAPES = {written[1]: character for character, written in _ESCAPES.items()}
_ESCAPED = re.compile(r"\\(?:([abfnrtv\\\"])|x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)

# The names of C's locale, whatever the process's locale says.
_DAYS: Sequence[str] = "Mon Tue Wed Thu Fri Sat Sun".split()
_MONTHS: Sequence[str] = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
_DATE = re.compile(
    r"(?:\w{3}) (\w{3}) ([ \d]\d) (\d\d):(\d\d):(\d\d) (?:(?:GMT)?([+-]\d{1,4})|\w+) (\d{4})"
)


def option_texts(options: Mapping[str, Any]) -> list[str]:
    """Options as strings, in the order given. The options are such as `compose` accepts.

    `unique_key`, which asynq does not have, stands there as `UniqueKey("...")`; Go drops it.
    """
    return [f"{_NAMES[name]}({_WRITERS[name](value)})" for name, value in options.items()]


def read_option_texts(texts: Iterable[str]) -> EnqueueOptions:
    """The options that strings stand for; the last one of each kind wins. What is no option of
    ours, or cannot be read, is left out, as Go leaves it out."""
    options: dict[str, Any] = {}
    for text in texts:
        name, _, rest = text.partition("(")
        option = _OPTIONS.get(name)
        if option is None or not rest.endswith(")"):
            continue
        try:
            options[option] = _READERS[option](rest[:-1])
        except (ValueError, OverflowError):
            continue
    return cast(EnqueueOptions, options)


def quote(value: str | bytes) -> str:
    """Text between double quotes, as Go writes it; bytes that are not UTF-8 as `\\xff`."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    return '"' + "".join(map(_quoted, value)) + '"'


def _quoted(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def unquote(text: str) -> str:
    """What `quote` quoted; bytes that are not UTF-8 as lone surrogates. Raises `ValueError`."""
    if not _QUOTED.fullmatch(text):
        raise ValueError(f"expected a text between double quotes, got {text}")
    return _ESCAPED.sub(_unescaped, text[1:-1])


def _unescaped(match: re.Match[str]) -> str:
    letter, byte, short, long = match.groups()
    if letter:
        return _UNESCAPES[letter]
    if byte:
        code = int(byte, 16)
        return chr(code if code < 0x80 else 0xDC00 + code)
    code = int(short or long, 16)
    if code > sys.maxunicode:
        raise ValueError(f"there is no character \\U{long}")
    return chr(code)


def _bytes_of(text: str) -> bytes:
    return unquote(text).encode("utf-8", "surrogateescape")


def _write_duration(value: object) -> str:
    length = value if isinstance(value, timedelta) else timedelta(seconds=seconds("", value))
    return format_duration(length // timedelta(microseconds=1) * 1000)


def _read_duration(text: str) -> timedelta:
    return timedelta(microseconds=parse_duration(text) // 1000)


def _write_date(at: datetime) -> str:
    """The layout of Unix's `date`, in UTC, which every reader knows."""
    at = at.astimezone(UTC)
    day, month = _DAYS[at.weekday()], _MONTHS[at.month - 1]
    return f"{day} {month} {at.day:2} {at:%H:%M:%S} UTC {at.year:04}"


def _read_date(text: str) -> datetime:
    match = _DATE.fullmatch(text)
    if match is None:
        raise ValueError(f"expected a date such as Tue Nov 14 22:13:20 UTC 2023, got {text}")
    month, day, hour, minute, second, offset, year = match.groups()
    return datetime(
        int(year),
        _MONTHS.index(month) + 1,
        int(day),
        int(hour),
        int(minute),
        int(second),
        tzinfo=_zone(offset),
    )


def _zone(offset: str | None) -> timezone:
    """A zone that has no name but its offset; all names are taken for UTC, as Go takes them."""
    if not offset:
        return UTC
    hours, minutes = (offset[1:3], offset[3:] or "0")
    length = timedelta(hours=int(hours), minutes=int(minutes))
    return timezone(-length if offset[0] == "-" else length)


_NAMES = {
    "queue": "Queue",
    "task_id": "TaskID",
    "max_retry": "MaxRetry",
    "timeout": "Timeout",
    "deadline": "Deadline",
    "unique": "Unique",
    "unique_key": "UniqueKey",
    "process_at": "ProcessAt",
    "process_in": "ProcessIn",
    "retention": "Retention",
    "group": "Group",
}
_OPTIONS = {text: name for name, text in _NAMES.items()}
_WRITERS: dict[str, Callable[[Any], str]] = {
    "queue": quote,
    "task_id": quote,
    "max_retry": str,
    "timeout": _write_duration,
    "deadline": _write_date,
    "unique": _write_duration,
    "unique_key": quote,
    "process_at": _write_date,
    "process_in": _write_duration,
    "retention": _write_duration,
    "group": quote,
}
_READERS: dict[str, Callable[[str], Any]] = {
    "queue": unquote,
    "task_id": unquote,
    "max_retry": int,
    "timeout": _read_duration,
    "deadline": _read_date,
    "unique": _read_duration,
    "unique_key": _bytes_of,
    "process_at": _read_date,
    "process_in": _read_duration,
    "retention": _read_duration,
    "group": unquote,
}
