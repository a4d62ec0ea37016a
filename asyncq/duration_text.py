"""Durations as Go writes and reads them: `1h30m0s`, `1.5s`, `250ms`."""

from __future__ import annotations

import re
from fractions import Fraction

_UNITS_NS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,  # the micro sign
    "μs": 10**3,  # the Greek letter
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_WHOLE = re.compile(rf"[-+]?(?:0|(?:{_PART.pattern})+)")
_LARGEST_NS = 2**63 - 1


def format_duration(ns: int) -> str:
    """Nanoseconds as Go prints them."""
    if ns < 0:
        return "-" + format_duration(-ns)
    if ns == 0:
        return "0s"
    if ns < 10**3:
        return f"{ns}ns"
    if ns < 10**6:
        return _decimal(ns, 10**3) + "µs"
    if ns < 10**9:
        return _decimal(ns, 10**6) + "ms"
    minutes, rest = divmod(ns, _UNITS_NS["m"])
    text = _decimal(rest, 10**9) + "s"
    if minutes:
        text = f"{minutes % 60}m{text}"
    return f"{minutes // 60}h{text}" if minutes >= 60 else text


def parse_duration(text: str) -> int:
    """Nanoseconds. Raises `ValueError` for what Go would not read."""
    if not _WHOLE.fullmatch(text):
        raise ValueError(
            f"a duration is written as in '90s', '1h30m' or '1.5s' (units h, m, s, ms, us, ns),"
            f" got {text!r}"
        )
    # Each part is cut to whole nanoseconds by itself, as Go does.
    ns = sum(int(Fraction(number) * _UNITS_NS[unit]) for number, unit in _PART.findall(text))
    if ns > _LARGEST_NS:
        raise ValueError(f"a duration is at most about 292 years, got {text!r}")
    return -ns if text.startswith("-") else ns


def _decimal(value: int, unit: int) -> str:
    """`value / unit` without trailing zeros."""
    digits = len(str(unit)) - 1
    fraction = f"{value % unit:0{digits}}".rstrip("0")
    return f"{value // unit}.{fraction}" if fraction else str(value // unit)
