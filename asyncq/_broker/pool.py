"""A few connections to one Redis, shared by many coroutines."""

from __future__ import annotations

import asyncio

from ..errors import RedisUnavailableError
from .dialer import Dialer
from .line import Line, Reply, demoted

POOL_SIZE = 16
# How long a caller waits for one of them.
POOL_TIMEOUT = 5.0


class _Lines:
    """The connections of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, size: int) -> None:
        self.loop = loop
        self.places = asyncio.Semaphore(size)
        self.idle: list[Line] = []
        self.busy: set[Line] = set()

    async def drop_idle(self) -> None:
        while self.idle:
            await self.idle.pop().drop()


class Pool:
    """Opens connections as they are needed, at most `size`; the one used last goes first.

    Connections belong to the event loop they were made in. In another one (a second
    `asyncio.run`) they are forgotten, not closed: closing needs their loop, which may be closed.
    """

    def __init__(self, dialer: Dialer, size: int = POOL_SIZE) -> None:
        self._dialer = dialer
        self._size = size
        self._lines: _Lines | None = None
        self._closed = False

    async def exchange(self, packed: list[bytes], longer_s: float = 0.0) -> list[Reply]:
        """One round trip: a reply for every command. Raises `RedisUnavailableError`.

        The answer may take `longer_s` longer than usual.
        """
        lines = self._of_this_loop()
        await self._take_place(lines)
        try:
            line = await self._line(lines)
            lines.busy.add(line)
            try:
                limit = line.endpoint.read_timeout + longer_s if longer_s else None
                replies = await line.exchange(packed, len(packed), limit)
            except RedisUnavailableError:
                # What ended this one has most likely ended them all.
                await lines.drop_idle()
                raise
            finally:
                lines.busy.discard(line)
            await self._put_back(lines, line, replies)
            return replies
        finally:
            lines.places.release()

    def _of_this_loop(self) -> _Lines:
        loop = asyncio.get_running_loop()
        if self._lines is None or self._lines.loop is not loop:
            self._lines = _Lines(loop, self._size)
        return self._lines

    async def _take_place(self, lines: _Lines) -> None:
        if not lines.places.locked():
            await lines.places.acquire()
            return
        try:
            async with asyncio.timeout(POOL_TIMEOUT):
                await lines.places.acquire()
        except TimeoutError:
            reason = f"all {self._size} connections were busy for {POOL_TIMEOUT:g} s"
            raise RedisUnavailableError(self._dialer.where, reason, sent=False) from None

    async def _line(self, lines: _Lines) -> Line:
        if self._closed:
            raise RedisUnavailableError(self._dialer.where, "closed by asyncq", sent=False)
        while lines.idle:
            line = lines.idle.pop()
            if await line.usable():
                return line
            await line.drop()
        return await self._dialer.dial()

    async def _put_back(self, lines: _Lines, line: Line, replies: list[Reply]) -> None:
        if self._closed or line.closed:
            await line.drop()
        elif demoted(replies):
            await line.drop()
            await lines.drop_idle()
        else:
            lines.idle.append(line)

    async def retire(self) -> None:
        """Close what is idle now, and what is in use when its call is done."""
        self._closed = True
        await self._of_this_loop().drop_idle()

    async def aclose(self) -> None:
        """Close all connections; calls in flight are cut."""
        self._closed = True
        lines = self._of_this_loop()
        for line in [*lines.idle, *lines.busy]:
            await line.aclose()
        lines.idle.clear()
