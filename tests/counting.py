"""Counts what work costs, without a clock: what is said to Redis, and what Python does."""

from __future__ import annotations

import asyncio
import gc
import selectors
import sys
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from redis.asyncio import Redis

from asyncq import Task
from asyncq._broker.connection import Call, Connection

# Not ours: how a loop turns depends on how fast the machine is.
_LOOP = (str(Path(asyncio.__file__).parent), selectors.__file__)
_TESTS = str(Path(__file__).parent)
# What making a connection takes, what this module asks itself, and the scripts as such.
_ASIDE = {"hello", "client", "select", "auth", "ping", "info", "config", "evalsha", "eval"}


class Meter:
    """What is said to a Redis that nobody else uses."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis
        self.trips: list[list[str]] = []
        """The calls of every round trip since `reset`: names of scripts or commands."""

    def listen(self, connection: Connection) -> None:
        connection.on_call = self._note

    def stop(self, connection: Connection) -> None:
        """Listen no more, and forget."""
        connection.on_call = None
        self.trips.clear()

    async def reset(self) -> None:
        await self._redis.config_resetstat()
        self.trips.clear()

    def calls(self) -> Counter[str]:
        return Counter(name for trip in self.trips for name in trip)

    def trips_of(self, *names: str) -> int:
        """How many round trips had a call of these names."""
        return sum(not set(names).isdisjoint(trip) for trip in self.trips)

    async def commands(self) -> Counter[str]:
        """What Redis executed since `reset`, by name, the commands inside scripts included."""
        stats = await self._redis.info("commandstats")
        found = {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in stats.items()}
        return Counter({n: calls for n, calls in found.items() if n.split("|")[0] not in _ASIDE})

    def _note(self, calls: Sequence[Call], seconds: float, error: BaseException | None) -> None:
        assert error is None, error
        self.trips.append([_name(call) for call in calls])


def _name(call: Call) -> str:
    return str(call.args[0]) if call.script is None else call.script.name


class Gate:
    """A handler that holds every task until there are `size`, then lets them go together.

    So the batches of a server do not depend on how fast anything is. The first ones stay until
    `open`.
    """

    def __init__(self, size: int) -> None:
        self.ended = 0
        self.full = asyncio.Event()
        """Set when the first are held."""
        self._size = size
        self._held = 0
        self._closed = True
        self._go = asyncio.Event()

    async def __call__(self, task: Task) -> None:
        go = self._go
        self._held += 1
        if self._held == self._size:
            self.full.set()
            if not self._closed:
                self._let_go()
        await go.wait()
        self.ended += 1

    def open(self) -> None:
        self._closed = False
        self._let_go()

    def close(self) -> None:
        """Hold the next ones until `open`; count anew."""
        self._closed = True
        self.ended = 0
        self.full.clear()

    def _let_go(self) -> None:
        # From the loop: the last to come must not end before the others.
        asyncio.get_running_loop().call_soon(self._go.set)
        self._go, self._held = asyncio.Event(), 0


@contextmanager
def counted_calls() -> Generator[Counter[str]]:
    """Calls of functions, Python's and C's, that this thread makes meanwhile: by the file that is
    called, or that calls C. Those of the event loop and of the tests are not counted."""
    found: Counter[str] = Counter()
    by_file: Counter[str] = Counter()

    def note(frame: FrameType, event: str, arg: object) -> None:
        if event in ("call", "c_call"):
            by_file[frame.f_code.co_filename] += 1

    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(None)
        found.update({f: n for f, n in by_file.items() if not f.startswith((*_LOOP, _TESTS))})


def allocated() -> int:
    """Blocks of memory that Python objects take."""
    gc.collect()
    return sys.getallocatedblocks()
