"""The dashboard of `asyncq dash`, once Redis is reached."""

from __future__ import annotations

import os

from ..dash.app import run_dash
from .inspect.session import Desk

_LIGHT = ("7", "15")


async def show(desk: Desk, refresh_s: float, theme: str) -> int:
    """Shows it until somebody leaves, and returns the exit status."""
    dark = theme == "dark" or (theme == "auto" and not is_light())
    return await run_dash(desk.inspector, refresh_s=refresh_s, dark=dark)


def is_light() -> bool:
    """Whether the terminal says that its background is light: `COLORFGBG=0;15`."""
    return os.environ.get("COLORFGBG", "").rpartition(";")[2] in _LIGHT
