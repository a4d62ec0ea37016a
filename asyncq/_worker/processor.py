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

_LONGEST_AHEAD_S = 0.05
"""How long a task that was fetched ahead may wait for a slot here."""


class Ends:
    """Counts the attempts that have ended since the server began."""

    __slots__ = ("awaited", "count", "reached")

    def __init__(self) -> None:
        self.count = 0
        self.awaited = 0
        """The count that one part waits for; 0 for none."""
        self.reached = asyncio.Event()

    async def reach(self, count: int) -> None:
        """Return when there are so many. For one waiter."""
        if self.count < count:
            self.reached.clear()
            self.awaited = count
            await self.reached.wait()


class Processor:
    """At most `concurrency` handlers at a time, and as many outcomes that are not yet written.

    While handlers end faster than a fetch takes, it fetches ahead: what will find slots while the
    next fetch is under way, as the last ones tell. What finds none for a moment is put back.
    """

    def __init__(
        self,
        fetcher: Fetcher,
        settler: Settler,
        inflight: Inflight,
        concurrency: int,
        ends: Ends,
    ) -> None:
        self._fetcher = fetcher
        self._settler = settler
        self._inflight = inflight
        self._concurrency = concurrency
        self._busy = 0
        self._ends = ends
        self._last_fetch = 0, 0.0  # how many had ended by when
        self._ahead = 0  # how many tasks to hold beyond the slots
        self._arrived: deque[Running] = deque()  # held, not started yet
        self._filling = False
        self._changed = asyncio.Event()  # a slot is free, outcomes were written, or stop
        self._stop = asyncio.Event()
        self.runner: Runner
        """Set once, before `run`: the runner reports back through `slot_is_free`."""
        settler.on_written = self._changed.set
        fetcher.on_late = self._dispatch_late

    def slot_is_free(self) -> None:
        self._busy -= 1
        ends = self._ends
        ends.count += 1
        if ends.count == ends.awaited:
            ends.reached.set()
        self._changed.set()
        if self._arrived and not self._filling:
            self._fill()

    def look_again(self) -> None:
        """What `run` waits for may have come true."""
        self._changed.set()

    @property
    def busy(self) -> int:
        """How many handlers run."""
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
        try:
            while True:
                await self._room()
                await self._fetcher.wait()
                if self._stop.is_set():
                    break
                if wanted := self._wanted():
                    await self._fetch(wanted)
            await self._fetcher.settle_debts()
            self._put_back(self._arrived)
            self._arrived.clear()
        finally:
            for task in watches:
                task.cancel()
            await asyncio.gather(*watches, return_exceptions=True)

    async def _fetch(self, wanted: int) -> None:
        start = time.monotonic()
        taken = await self._fetcher.fetch(wanted)
        self._look_ahead(start)
        self._dispatch(taken)

    def _look_ahead(self, start: float) -> None:
        """Hold ahead twice as many as end during a fetch, one half while the other is fetched."""
        now = time.monotonic()
        ended, since = self._last_fetch
        self._last_fetch = self._ends.count, now
        share = (now - start) / max(now - since, 1e-6)
        expected = int(2 * share * (self._ends.count - ended))
        # Attempts end in waves, so that one quiet moment says little.
        self._ahead = min(max(expected, self._ahead * 3 // 4), self._concurrency)

    def _wanted(self) -> int:
        """How many tasks to fetch now; 0 while slots, and half of what is held ahead, are full.

        What runs, waits or is not written yet is never more than twice the slots.
        """
        held = self._busy + len(self._arrived)
        spare = self._concurrency - held
        if spare <= -(self._ahead // 2):
            return 0
        most = 2 * self._concurrency - held - self._settler.unwritten
        return max(0, min(spare + self._ahead, most))

    async def _room(self) -> None:
        """Return when there is room for more tasks and the ends of earlier attempts do not pile
        up, or on stop."""
        while not self._stop.is_set() and (
            not self._wanted()
            or self._settler.unwritten > self._concurrency
            or self.runner.telling > self._concurrency
        ):
            self._changed.clear()
            await self._changed.wait()

    def _dispatch_late(self, taken: Sequence[Taken]) -> None:
        """Start what fits into the slots that are free by now, and put the rest back."""
        free = max(0, self._concurrency - self._busy - len(self._arrived))
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
                self._arrived.append(self.runner.hold(held))
        self._fill()
        if self._busy + len(self._arrived) > self._concurrency:
            loop = asyncio.get_running_loop()
            last = self._arrived[-1]
            loop.call_later(_LONGEST_AHEAD_S, self._give_back_until, last)

    def _fill(self) -> None:
        """Start what has arrived, as far as there are slots."""
        self._filling = True  # an eager task may end before `start` returns, and free its slot
        try:
            while self._arrived and self._busy < self._concurrency:
                running = self._arrived.popleft()
                if not running.handled:
                    self._start(running)
        finally:
            self._filling = False

    def _give_back_until(self, last: Running) -> None:
        """Put back what was fetched ahead with `last`, or before it, and still has no slot."""
        if last in self._arrived:
            late = [self._arrived.popleft() for _ in range(self._arrived.index(last) + 1)]
            self._put_back(late)
            self._ahead = 0

    def _put_back(self, held: Sequence[Running]) -> None:
        """In their old order: each goes to the head of its queue."""
        for running in reversed(held):
            if running.handled:
                continue
            if running.ending is None:
                self.runner.give_back(running)
            else:
                self._start(running)  # was cancelled meanwhile, and ends at once

    def _start(self, running: Running) -> None:
        self._busy += 1
        self.runner.start(running)

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
        await self.until_idle(timeout, hurry)
        # The newest first: each goes to the head of its queue, the oldest ends up in front.
        for running in reversed(self._inflight.all()):
            self.runner.cancel(running, Ending.SHUTDOWN)
        # Each is abandoned in time by its own timer, if it does not end.
        await self.until_idle(None, hurry)
        if self._busy:
            await asyncio.sleep(0)  # handlers that end when they are cancelled end now
        for running in reversed(self._inflight.all()):
            self.runner.abandon(running)
        if not hurry.is_set():
            await self.runner.told()

    async def until_idle(self, timeout: float | None, hurry: asyncio.Event) -> None:
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
