"""Ends attempts whose time is over, with one timer for all of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from .inflight import Inflight, Running

_LONGEST_S = 24 * 3600.0
"""The timer is set anew at least this often: an event loop need not take any number."""


class Deadlines:
    """Calls `on_passed` for an attempt when its time is over, by the monotonic clock: a system
    clock that is set must not end what runs.

    Most attempts end long before, so that a timer for each would cost more than all else. The
    one timer stands at the earliest time that it has been told of; when it fires it looks at all
    that are in flight and goes to the next.
    """

    def __init__(self, inflight: Inflight, on_passed: Callable[[Running], None]) -> None:
        self._inflight = inflight
        self._on_passed = on_passed
        self._next = float("inf")
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, running: Running) -> None:
        """Watch an attempt that is in flight, until it is handled or ended."""
        if running.expires < self._next:
            self._set(running.expires)

    def _set(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next = at
        delay = min(max(0.0, at - time.monotonic()), _LONGEST_S)
        self._timer = asyncio.get_running_loop().call_later(delay, self._look)

    def _look(self) -> None:
        self._next, self._timer = float("inf"), None
        now = time.monotonic()
        for running in self._inflight.all():
            if running.handled or running.ending is not None:
                continue
            if running.expires <= now:
                self._on_passed(running)
            elif running.expires < self._next:
                self._next = running.expires
        if self._next != float("inf"):
            self._set(self._next)
