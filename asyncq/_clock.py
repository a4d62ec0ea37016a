"""Python's "now", in one place, so that tests can travel in time."""

from __future__ import annotations

import time


class Clock:
    """Unix time with a skew that is 0 in production.

    The same skew goes as an argument to every script that reads Redis's `TIME`: a test that
    moves one clock moves both.
    """

    __slots__ = ("skew",)

    def __init__(self, skew: float = 0.0) -> None:
        self.skew = skew

    def now(self) -> float:
        """Unix seconds."""
        return time.time() + self.skew

    @property
    def skew_ms(self) -> int:
        return round(self.skew * 1000)
