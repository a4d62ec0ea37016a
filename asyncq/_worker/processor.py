"""Fetches tasks while there are free slots and hands them to the runner."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Sequence

from .._broker.codec import valid_text
from .._broker.message import Unreadable
from .._broker.outcome import Parked
from .fetcher import Fetcher, Taken
from .inflight import Ending, Inflight, Running
from .loop import keep_alive
from .runner import Runner
from .settler import Settler

_log = logging.getLogger("asyncq")

_PARTS = 4
"""What fills all slots is started in so many parts."""


class Processor:
    """At most `concurrency` handlers at a time, and as many outcomes that are not yet written."""

    def __init__(
        self, fetcher: Fetcher, settler: Settler, inflight: Inflight, concurrency: int
    ) -> None:
        self._fetcher = fetcher
        self._settler = settler
        self._inflight = inflight
        self._concurrency = concurrency
        self._busy = 0
        self._arrived: deque[Running] = deque()  # their slots are taken; not started yet
        self._arrival = asyncio.Event()
        self._changed = asyncio.Event()  # a slot is free, outcomes were written, or stop
        self._stop = asyncio.Event()
        self.runner: Runner
        """Set once, before `run`: the runner reports back through `slot_is_free`."""
        settler.on_written = self._changed.set
        fetcher.on_late = self._dispatch_late

    def slot_is_free(self) -> None:
        self._busy -= 1
        self._changed.set()

    def look_again(self) -> None:
        """What `run` waits for may have come true."""
        self._changed.set()

    @property
    def busy(self) -> int:
        """How many slots are taken: handlers that run, and tasks about to be started."""
        return self._busy

    def stop(self, give_up_after: float) -> None:
        """Fetch no more. `run` returns when the fetch under way has been answered, or after so
        many seconds without Redis."""
        self._stop.set()
        self._changed.set()
        self._fetcher.stop(time.monotonic() + give_up_after)

    async def run(self) -> None:
        """Fetch and start tasks until `stop`."""
        watches = [
            asyncio.create_task(keep_alive(f"watch of queue {queue!r}", watch.run))
            for queue, watch in self._fetcher.watches.items()
        ]
        helpers = [*watches, asyncio.create_task(keep_alive("start of tasks", self._start_arrived))]
        try:
            while True:
                await self._room()
                await self._fetcher.wait()
                if self._stop.is_set():
                    break
                if (free := self._concurrency - self._busy) > 0:
                    self._dispatch(await self._fetcher.fetch(free))
            await self._fetcher.settle_debts()
            self._give_back_arrived()
        finally:
            for task in helpers:
                task.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)

    async def _room(self) -> None:
        """Return when a slot is free and the ends of earlier attempts do not pile up, or on
        stop."""
        while not self._stop.is_set() and (
            self._busy >= self._concurrency
            or self._settler.unwritten > self._concurrency
            or self.runner.telling > self._concurrency
        ):
            self._changed.clear()
            await self._changed.wait()

    def _dispatch_late(self, taken: Sequence[Taken]) -> None:
        """Start what fits into the slots that are free by now, and put the rest back."""
        free = max(0, self._concurrency - self._busy)
        self._dispatch(taken[:free])
        self._give_back(taken[free:])

    def _dispatch(self, taken: Sequence[Taken]) -> None:
        if self._stop.is_set():
            # Came with the fetch that the stop found under way.
            self._give_back(taken)
            return
        for held in taken:
            if isinstance(held, Unreadable):
                self._park(held)
            else:
                self._busy += 1
                self._arrived.append(self.runner.hold(held))
        self._arrival.set()

    async def _start_arrived(self) -> None:
        """Start what arrives, for ever: a part of it in each turn of the event loop, so that the
        next fetch and the outcomes of short tasks are under way while the rest is started."""
        at_once = max(1, self._concurrency // _PARTS)
        while True:
            await self._arrival.wait()
            for _ in range(min(at_once, len(self._arrived))):
                running = self._arrived.popleft()
                if not running.handled:
                    self.runner.start(running)
            if not self._arrived:
                self._arrival.clear()
            await asyncio.sleep(0)

    def _give_back_arrived(self) -> None:
        while self._arrived:
            running = self._arrived.pop()
            if not running.handled:
                self._busy -= 1
                self.runner.give_back(running)

    def _give_back(self, taken: Sequence[Taken]) -> None:
        """Put back what was not started, in its old order: each goes to the head of its queue."""
        for held in reversed(taken):
            if isinstance(held, Unreadable):
                self._park(held)
            else:
                self.runner.give_back(self.runner.hold(held))

    def _park(self, held: Unreadable) -> None:
        _log.error(
            "task %s of queue %r cannot be read and is set aside among the archived: %s",
            valid_text(held.id),
            held.queue,
            held.reason,
        )
        self._settler.put(Parked(held), None)

    async def drain(self, timeout: float, hurry: asyncio.Event) -> None:
        """Wait for the handlers; after `timeout` seconds, or on `hurry`, cancel and requeue.

        With `hurry` a handler that does not end at once is abandoned.
        """
        await self._until_idle(timeout, hurry)
        # The newest first: each goes to the head of its queue, the oldest ends up in front.
        for running in reversed(self._inflight.all()):
            self.runner.cancel(running, Ending.SHUTDOWN)
        # Each is abandoned in time by its own timer, if it does not end.
        await self._until_idle(None, hurry)
        if self._busy:
            await asyncio.sleep(0)  # handlers that end when they are cancelled end now
        for running in reversed(self._inflight.all()):
            self.runner.abandon(running)
        if not hurry.is_set():
            await self.runner.told()

    async def _until_idle(self, timeout: float | None, hurry: asyncio.Event) -> None:
        """Return when no handler runs, after `timeout` seconds, or on `hurry`."""
        give_up = asyncio.create_task(hurry.wait())
        give_up.add_done_callback(lambda _: self._changed.set())
        try:
            async with asyncio.timeout(timeout):
                while self._busy and not hurry.is_set():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return
        finally:
            give_up.cancel()
