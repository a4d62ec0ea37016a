"""Takes tasks for free slots: from which queues, how many of each, and surely."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from secrets import token_hex

from .._broker.broker import Broker, Fetched, passing
from .._broker.message import Leased, Unreadable
from ..errors import RedisError, RedisUnavailableError
from .loop import Backoff, Complaints
from .shares import Shares
from .watch import Watch

_log = logging.getLogger("asyncq")

MOST_WAITERS = 16
"""How many queues of a server are waited on with a connection each; the others are polled."""
_WAITERS_PER_QUEUE = 30
"""With more servers than this on a queue only some wait: each push wakes all that do."""

Taken = Leased | Unreadable


class Fetcher:
    """Fetches from a server's queues, by weight or by strict priority."""

    def __init__(
        self,
        broker: Broker,
        queues: Mapping[str, int],
        *,
        strict: bool,
        poll_s: float,
        block_s: float,
    ) -> None:
        self._broker = broker
        self._shares = Shares(queues)
        self._strict = strict
        # By weight, greatest first: the order of strict priority, and of who gets a waiter.
        ordered = sorted(queues, key=lambda queue: -queues[queue])
        self._wake = asyncio.Event()
        self.watches = {
            queue: Watch(
                queue,
                broker.connection.waiter() if place < MOST_WAITERS else None,
                self._wake,
                poll_s=poll_s,
                block_s=block_s,
            )
            for place, queue in enumerate(ordered)
        }
        self._give_up_at = float("inf")
        self._stopped = False
        self._complaints = Complaints()
        self._owed: set[asyncio.Task[None]] = set()
        self.on_late: Callable[[Sequence[Taken]], None]
        """Set once, before `fetch`: given what was taken by a call whose reply had been lost."""

    def stop(self, give_up_at: float) -> None:
        """Take nothing more. A call whose answer is owed is still sent again until `give_up_at`
        (`time.monotonic()`), since Redis may have given us tasks."""
        self._give_up_at = give_up_at
        self._stopped = True
        self._wake.set()

    def servers_are(self, count: int) -> None:
        """How many servers there are, each perhaps waiting on the same queues."""
        for watch in self.watches.values():
            watch.share_of_waits = min(1.0, _WAITERS_PER_QUEUE / max(1, count))

    async def wait(self) -> None:
        """Return when a queue may have tasks, or on `stop`."""
        while not self._ready() and not self._stopped:
            self._wake.clear()
            await self._wake.wait()

    async def fetch(self, slots: int) -> list[Taken]:
        """Up to `slots` tasks, in one round trip. Fewer do not mean that there are no more."""
        ready = self._ready()
        asks = {ready[0]: slots} if self._strict else self._shares.split(slots, ready)
        claim = token_hex(8)
        taken: list[Taken] = []
        for queue, answer in (await self._try(asks, claim)).items():
            if isinstance(answer, RedisUnavailableError) and answer.sent:
                self._owe(queue, asks[queue], claim, answer)
            else:
                taken += self._note(queue, asks[queue], answer)
        return taken

    async def settle_debts(self) -> None:
        """Return when all answers that are owed have come, or have been given up."""
        while self._owed:
            await asyncio.wait(self._owed)

    def _ready(self) -> list[str]:
        return [queue for queue, watch in self.watches.items() if watch.ready]

    def _note(self, queue: str, limit: int, answer: Fetched | RedisError) -> Sequence[Taken]:
        watch = self.watches[queue]
        if isinstance(answer, RedisError):
            self._complaints.log(f"taking tasks of queue {queue!r}", answer)
            watch.refused()
            return ()
        for task_id, why in answer.dropped:
            _log.warning("dropped %s from queue %r: %s", task_id, queue, why)
        if answer.paused or not answer.left:
            watch.empty(paused=answer.paused, found=bool(answer.tasks))
        if len(answer.tasks) < limit:
            self._shares.forget(queue)
        return answer.tasks

    def _owe(self, queue: str, limit: int, claim: str, error: RedisError) -> None:
        """Nobody knows what a lost call took: it is sent again until that is known. Meanwhile
        the other queues go on, and this one is not asked for more."""
        self._complaints.log(f"taking tasks of queue {queue!r}", error)
        self.watches[queue].ready = False
        collecting = asyncio.create_task(self._collect(queue, limit, claim))
        self._owed.add(collecting)
        collecting.add_done_callback(self._owed.discard)

    async def _collect(self, queue: str, limit: int, claim: str) -> None:
        backoff = Backoff(first=0.02, longest=1.0)
        again = 0
        try:
            while True:
                await asyncio.sleep(backoff.next())
                again += 1
                answer = (await self._try({queue: limit}, claim, again))[queue]
                if not isinstance(answer, RedisError) or not passing(answer):
                    break
                if time.monotonic() > self._give_up_at:
                    break
                self._complaints.log(f"taking tasks of queue {queue!r}", answer)
        finally:
            self.watches[queue].ready = True
            self._wake.set()
        self.on_late(self._note(queue, limit, answer))

    async def _try(
        self, asks: Mapping[str, int], claim: str, again: int = 0
    ) -> dict[str, Fetched | RedisError]:
        try:
            answers: Sequence[Fetched | RedisError] = await self._broker.dequeue(
                list(asks.items()), claim, again=again
            )
        except RedisError as error:
            answers = [error] * len(asks)
        return dict(zip(asks, answers, strict=True))
