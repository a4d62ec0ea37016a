"""What strangers wrote, made safe to show; lengths of time and moments, written for people."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta

from asyncq.safe_text import safe

_HEX_SHOWN = 16
_UNITS_S = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))


def one_line(data: bytes | None) -> str:
    """A payload or result for a cell of a table."""
    if data is None:
        return ""
    try:
        return safe(data.decode())
    except UnicodeDecodeError:
        more = "..." if len(data) > _HEX_SHOWN else ""
        return f"0x{data[:_HEX_SHOWN].hex()}{more} ({counted(len(data), 'byte')})"


def block(data: bytes) -> list[str]:
    """A payload or result on lines of its own: JSON spread out, other text as it is, the rest as
    base64."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        encoded = base64.b64encode(data).decode()
        lines = [encoded[n : n + 76] for n in range(0, len(encoded), 76)]
        return [f"(no text: {counted(len(data), 'byte')}, here as base64)", *lines]
    return [safe(line) for line in spread(text).split("\n")]


def spread(text: str) -> str:
    """A JSON object or list on lines of its own; any other text as it is."""
    try:
        value = json.loads(text)
        if not isinstance(value, (dict, list)):
            return text  # a number or a word is not worth rewriting
        return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError):
        return text


def length(span: timedelta) -> str:
    """A length of time by its two largest units: `3d 4h`, `1m 20s`, `1.2s`, `15ms`."""
    seconds = span.total_seconds()
    if seconds < 0:
        return "-" + length(-span)
    if 0 < seconds < 0.9995:
        return f"{max(1, round(seconds * 1000))}ms"
    if seconds < 9.95:
        return f"{seconds:.1f}".removesuffix(".0") + "s"
    left = round(seconds)
    parts: list[str] = []
    for unit, size in _UNITS_S:
        count, left = divmod(left, size)
        if count or parts:
            parts.append(f"{count}{unit}")
    shown = [part for part in parts[:2] if not part.startswith("0")]
    return " ".join(shown)


def moment(at: datetime | None) -> str:
    """`2026-11-21 16:13:16Z`; `-` for none."""
    return "-" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"


def ago(at: datetime | None, now: datetime) -> str:
    """How long it is past; `-` for a time that never was."""
    return "-" if at is None else f"{length(max(timedelta(0), now - at))} ago"


def due(at: datetime | None, now: datetime) -> str:
    """When it will be; `-` for never."""
    if at is None:
        return "-"
    return "now" if at <= now else f"in {length(at - now)}"


def dated(at: datetime | None, now: datetime) -> str:
    """A moment, and how far from now it is."""
    if at is None:
        return "-"
    return f"{moment(at)} ({due(at, now) if at > now else ago(at, now)})"


def counted(count: int, what: str) -> str:
    """`1 task`, `2 tasks`."""
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def share(part: int, whole: int) -> str:
    """A percentage; `-` of nothing."""
    return f"{100 * part / whole:.2f} %" if whole else "-"
