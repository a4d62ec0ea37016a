"""Calls of one event loop that travel together.

A lone call leaves at once. While calls are under way others gather, and leave together: at the
end of the event loop's turn as long as fewer than `FLIGHTS` are in the air, else when one has
landed. Nobody's call waits on purpose, and nobody's fate is another's: each caller is told what
became of its own item, and one who is cancelled leaves the rest alone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from ..errors import RedisError
from .arguments import copy_of

FLIGHTS = 2
"""Redis works on one while the next is made ready."""
SEATS = 100
"""The most that travel together: a script blocks Redis while it runs."""
# A flight that takes longer holds up no others: its connection may be dead. By feel.
PATIENCE_S = 0.1
# Below this halves are not worth a second round trip. By feel.
_FEW = 8

Item = TypeVar("Item")
Result = TypeVar("Result")


class Sending(Protocol):
    """Items on their way to Redis."""

    @property
    def results(self) -> Sequence[Any]:
        """What became of each item; not yet final for those that are open."""
        ...

    def open_places(self) -> Sequence[int]:
        """The places of the items that have to be sent again."""
        ...

    async def once(self) -> None:
        """One round trip."""
        ...

    async def again(self) -> None:
        """Wait and send what is open, until nothing is or for long enough."""
        ...


class _Flight:
    """Items that travel together, until their first round trip is over."""

    __slots__ = ("_lane", "size")

    def __init__(self, lane: Lane[Any, Any], size: int) -> None:
        self.size = size
        self._lane = lane
        lane.flights.add(self)

    def land(self) -> None:
        """What is to be sent again does not hold up the others. Safe to call again."""
        if self in self._lane.flights:
            self._lane.flights.remove(self)
            self._lane.gather()


class Lane(Generic[Item, Result]):
    """Lets items of many coroutines travel together. Belongs to the event loop it is made in."""

    def __init__(
        self,
        send: Callable[[Sequence[Item]], Sending],
        size_of: Callable[[Item], int],
        size_limit: int,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.flights: set[_Flight] = set()
        self._send = send
        self._size_of = size_of
        self._size_limit = size_limit
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._departure: asyncio.Handle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def ride(self, item: Item) -> Result:
        """What became of `item`. Raises what `Sending.once` raises."""
        if self.flights or self._waiting:
            seat: asyncio.Future[Result] = self.loop.create_future()
            self._waiting.append((item, seat))
            if self._departure is None:
                self.gather()
            return await seat
        flight = _Flight(self, 1)
        sending = self._send((item,))
        try:
            await sending.once()
        finally:
            flight.land()
        if sending.open_places():
            await sending.again()
        result: Result = sending.results[0]
        return result

    def is_empty(self) -> bool:
        """Whether nobody waits or travels."""
        return not (self.flights or self._waiting)

    def gather(self) -> None:
        """Have those who wait leave as soon as they may."""
        if self._departure is not None:
            self._departure.cancel()
            self._departure = None
        if not self._waiting:
            return
        if len(self.flights) < FLIGHTS:
            # At the end of this turn, with all who are about to come.
            self._departure = self.loop.call_soon(self._depart)
        else:
            self._departure = self.loop.call_later(PATIENCE_S, self._depart)

    def _depart(self) -> None:
        self._departure = None
        boarded = self._board()
        if boarded:
            flight = _Flight(self, len(boarded))
            task = self.loop.create_task(self._carry(flight, boarded))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self.gather()

    def _board(self) -> list[tuple[Item, asyncio.Future[Result]]]:
        """Those who wait, in their order, but no more than their share of all who travel."""
        travelling = len(self._waiting) + sum(flight.size for flight in self.flights)
        limit = min(SEATS, max(_FEW, -(-travelling // FLIGHTS)))
        boarded: list[tuple[Item, asyncio.Future[Result]]] = []
        size = 0
        while self._waiting and len(boarded) < limit:
            item, seat = self._waiting[0]
            if not seat.done():  # not cancelled meanwhile
                size += self._size_of(item)
                if boarded and size > self._size_limit:
                    break
                boarded.append((item, seat))
            self._waiting.popleft()
        return boarded

    async def _carry(
        self, flight: _Flight, boarded: Sequence[tuple[Item, asyncio.Future[Result]]]
    ) -> None:
        seats = [seat for _, seat in boarded]
        try:
            sending = self._send([item for item, _ in boarded])
            await sending.once()
            held_up = sending.open_places()
            _tell(seats, sending.results, held_up)
            flight.land()
            if held_up:
                await sending.again()
                _tell(seats, sending.results)
        except RedisError as error:
            for seat in seats:
                if not seat.done():
                    seat.set_exception(copy_of(error))
        finally:
            flight.land()
            for seat in seats:
                seat.cancel()  # of no effect, unless this task was cancelled


def _tell(
    seats: Sequence[asyncio.Future[Any]], results: Sequence[Any], but: Sequence[int] = ()
) -> None:
    for place, (seat, result) in enumerate(zip(seats, results, strict=True)):
        if place not in but and not seat.done():
            seat.set_result(result)
