"""Model and Redis side by side: every step is taken by both, and then compared."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from asyncq._broker import keys

from . import invariants
from .queue import Queue
from .wire import Skewed, Wire, drive

R = TypeVar("R")

START_US = 2_223_028_800 * 10**6 + 250_000
"""A noon in 2040: what expires by Redis's own clock does not do so during a test."""
_SLOW_MS = 50_000
"""How long Redis may have been at a step when we look at what it lets live."""


class World:
    """A queue in an empty database, and its model."""

    def __init__(self, wire: Wire, queue: str = "q") -> None:
        self.wire = wire
        self.now_us = START_US
        self.model = Queue(queue, START_US // 1000)
        self.acknowledged: set[str] = set()
        wire.command("FLUSHDB")
        wire.set_time(self.now_us)

    def clock(self, skew: float = 0.0) -> Skewed:
        return Skewed(lambda: self.now_us, skew)

    def travel(self, seconds: float) -> None:
        """Redis's clock moves on, or is set back. What has expired goes."""
        self.check()  # what lives on from before is looked at before
        self.now_us += round(seconds * 10**6)
        self.wire.set_time(self.now_us)
        self.model.redis_ms = self.now_us // 1000
        for key in self.model.expire():
            self.wire.command("DEL", key)

    def both(self, call: Callable[[], Coroutine[Any, Any, R]], expected: Callable[[], R]) -> R:
        """Take a step in Redis and in the model; the answer on which they agree."""
        got, wanted = drive(call()), expected()
        assert got == wanted, f"Redis answered {got!r}, the model {wanted!r}"
        return got

    def check(self) -> None:
        """Redis is as the model says, and all invariants hold."""
        found, lives = self.wire.contents()
        wanted = self.model.contents()
        wrong = {
            key: f"Redis has {found.get(key)!r}, the model {wanted.get(key)!r}"
            for key in found.keys() | wanted.keys()
            if found.get(key) != wanted.get(key)
        }
        assert not wrong, "\n".join(f"{key}: {what}" for key, what in sorted(wrong.items()))
        self._check_expiry(lives)
        if not self.model.half_deleted:
            broken = invariants.broken(self.model.name, found)
            assert not broken, "\n".join(broken)
        missing = self.acknowledged - self.model.tasks.keys() - self.model.ended.keys()
        assert not missing, f"acknowledged and lost: {missing}"

    def _check_expiry(self, lives: dict[str, int]) -> None:
        counters = keys.processed_on(self.model.name, ""), keys.failed_on(self.model.name, "")
        for key, ttl_ms in lives.items():
            if not key.startswith(counters):
                left = self.model.expiry_ms[key] - self.model.redis_ms
                assert left - _SLOW_MS <= ttl_ms <= left, f"{key} lives {ttl_ms} ms, not {left}"
