"""Knows whether a queue may have tasks, at the least cost to Redis."""

from __future__ import annotations

import asyncio
import random

from .._broker import keys
from .._broker.connection import Waiter
from ..errors import RedisError, RedisUnavailableError
from .loop import Backoff, Complaints

_REFUSED_PAUSE_S = 15.0
"""How long a queue is polled after Redis refused to let us wait on it."""


class Watch:
    """One queue. `ready` says that a fetch is worth while.

    When a fetch found the queue empty it waits until the list has elements, whoever pushes; it
    polls where waiting is no use: while the queue is paused, while Redis refuses, when enough
    other servers wait, and when it has no waiter.
    """

    def __init__(
        self,
        queue: str,
        waiter: Waiter | None,
        wake: asyncio.Event,
        *,
        poll_s: float,
        block_s: float,
    ) -> None:
        self.queue = queue
        self.ready = True
        self.share_of_waits = 1.0
        """How often to wait rather than to poll: with very many servers only some wait."""
        self._waiter = waiter
        self._wake = wake
        self._poll_s = poll_s
        self._block_s = block_s
        self._armed = asyncio.Event()
        self._paused = False
        self._woken_in_vain = Backoff(first=0.002, longest=poll_s)
        self._was_woken = False
        self._poll_until = 0.0
        self._complaints = Complaints()

    def empty(self, *, paused: bool, found: bool) -> None:
        """A fetch left nothing to take: wait for more."""
        self.ready = False
        self._paused = paused
        if found or not self._was_woken:
            self._woken_in_vain.reset()
            self._was_woken = False
        self._armed.set()

    def refused(self) -> None:
        """A fetch failed: try again after the polling interval."""
        self._poll_until = asyncio.get_running_loop().time() + self._poll_s
        self.empty(paused=False, found=False)

    async def run(self) -> None:
        """Watch, for ever. Cancelling it loses nothing."""
        try:
            while True:
                await self._armed.wait()
                await self._until_worth_while()
                self._armed.clear()
                self.ready = True
                self._wake.set()
        finally:
            if self._waiter is not None:
                await self._waiter.aclose()

    async def _until_worth_while(self) -> None:
        if self._was_woken:
            # Others were faster, or what is there cannot be taken: do not spin.
            await asyncio.sleep(self._woken_in_vain.next())
        waiter = self._waiter
        now = asyncio.get_running_loop().time()
        if (
            waiter is None
            or self._paused
            or now < self._poll_until
            or random.random() > self.share_of_waits
        ):
            self._was_woken = False
            await asyncio.sleep(self._poll_s * random.uniform(0.5, 1.5))
            return
        while not await self._wait(waiter):
            pass

    async def _wait(self, waiter: Waiter) -> bool:
        try:
            self._was_woken = await waiter.wait(keys.pending(self.queue), self._block_s)
            return self._was_woken
        except RedisError as error:
            self._complaints.log(f"waiting for queue {self.queue!r}", error)
            self._was_woken = False
            refused = not isinstance(error, RedisUnavailableError)
            if refused:
                self._poll_until = asyncio.get_running_loop().time() + _REFUSED_PAUSE_S
            await asyncio.sleep(self._poll_s * random.uniform(0.5, 1.5))
            return True
