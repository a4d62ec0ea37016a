"""What people type for lengths of time, moments, headers and payloads."""

from __future__ import annotations

import json
import re
import sys
from datetime import datetime, timedelta
from pathlib import Path

import typer

from asyncq.duration_text import parse_duration

_DAYS = re.compile(r"(\d+)d(.*)", re.DOTALL)


def duration(text: str) -> timedelta:
    """`90`, `90s`, `1h30m` or `7d`. Raises `typer.BadParameter`."""
    match = _DAYS.fullmatch(text)
    days, rest = (int(match[1]), match[2]) if match else (0, text)
    try:
        if re.fullmatch(r"\d+(\.\d+)?", rest):
            return timedelta(days=days, seconds=float(rest))
        ns = parse_duration(rest) if rest else 0
        return timedelta(days=days, microseconds=ns // 1000)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"a length of time is written as in 90, 90s, 1h30m or 7d, got {text!r}"
        ) from None


def moment(text: str) -> datetime:
    """`2026-11-21T16:00:00Z` or with an offset. Raises `typer.BadParameter`."""
    form = "a time is written as in 2026-11-21T16:00:00Z or 2026-11-21T17:00:00+01:00"
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{form}, got {text!r}") from None
    if at.tzinfo is None:
        raise typer.BadParameter(f"{form}; {text!r} does not say in which zone")
    return at


def headers(texts: list[str]) -> dict[str, str]:
    """`NAME=VALUE` each. Raises `typer.BadParameter`."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (equals and name):
            raise typer.BadParameter(f"a header is written as NAME=VALUE, got {text!r}")
        found[name] = value
    return found


def payload(raw: str | None, as_json: str | None) -> bytes | None:
    """The bytes that the flags mean: text, `@FILE` or `-` for what is piped in; None if neither
    was given. Raises `typer.BadParameter`."""
    if raw is not None and as_json is not None:
        raise typer.BadParameter("--payload and --json-payload are two ways to say it; use one")
    if as_json is None:
        return None if raw is None else _bytes(raw)
    data = _bytes(as_json)
    try:
        json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(f"--json-payload is no JSON: {error}") from None
    return data


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _bytes(text: str) -> bytes:
    if text == "-":
        return sys.stdin.buffer.read()
    if text.startswith("@"):
        try:
            return Path(text[1:]).read_bytes()
        except OSError as error:
            raise typer.BadParameter(f"cannot read {text[1:]}: {error.strerror}") from None
    return text.encode("utf-8", "surrogateescape")
