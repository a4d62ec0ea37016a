"""Connections that are held open to wait: on a list, and on channels."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from ..errors import RedisError, RedisReplyError, RedisUnavailableError
from .line import Line, Reply, demoted, pack

# A listener that has heard nothing for this long asks whether anybody is there ...
PING_AFTER = 10.0
# ... and believes it lost when no answer came within this.
PONG_WITHIN = 5.0
# How much longer than Redis itself a waiter waits before it believes the connection lost.
GRACE = 5.0


class Dials(Protocol):
    """Opens connections that are not shared."""

    async def dial(self, key: str | None) -> Line:
        """To where `key` is, or to any node."""
        ...

    def astray(self) -> None:
        """The connection led to a node that does not have the key."""
        ...


class Waiter:
    """Waits until a list is not empty. For one coroutine at a time."""

    def __init__(self, dials: Dials) -> None:
        self._dials = dials
        self._line: Line | None = None
        self._key: str | None = None

    async def wait(self, key: str, block_s: float) -> bool:
        """True when the list has elements, False when none came for `block_s` seconds.

        Changes nothing: the list's last element is moved to where it was. Raises
        `RedisReplyError`, `RedisUnavailableError`. A cancelled wait can be followed by another.
        """
        # Redis takes 0 for "for ever".
        block_s = max(block_s, 0.001)
        line = await self._ready(key)
        packed = pack("BLMOVE", key, key, "RIGHT", "RIGHT", f"{block_s:.3f}")
        (reply,) = await line.exchange([packed], 1, timeout=block_s + GRACE)
        if isinstance(reply, RedisReplyError):
            raise await self._refused(line, reply)
        return reply is not None

    async def _refused(self, line: Line, reply: RedisReplyError) -> RedisError:
        if reply.code == "MOVED":
            self._dials.astray()
        if reply.code in ("MOVED", "UNBLOCKED") or demoted([reply]):
            # Not the master (of this key) any more: the next wait looks for it.
            await line.drop()
        if reply.code == "UNBLOCKED":
            # What a master says to those who wait on it when it becomes a replica.
            return RedisUnavailableError(line.endpoint.where, reply.text, sent=True)
        return reply

    async def _ready(self, key: str) -> Line:
        if self._line is not None and self._key == key and await self._line.usable():
            return self._line
        await self.aclose()
        self._line = await self._dials.dial(key)
        self._key = key
        return self._line

    async def aclose(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            await line.aclose()


class Listener:
    """Hears what is published on channels. For one coroutine at a time."""

    def __init__(self, dials: Dials, where: str) -> None:
        self._dials = dials
        self._where = where
        self._line: Line | None = None
        self._heard: deque[tuple[str, bytes]] = deque()

    async def subscribe(self, *channels: str) -> None:
        """Return when Redis has confirmed; what is published from then on is heard.

        After a loss it connects anew; channels subscribed before have to be named again.
        Raises `RedisReplyError`, `RedisUnavailableError`.
        """
        if self._line is None or self._line.closed:
            self._line = await self._dials.dial(None)
        line = self._line
        await line.send(pack("SUBSCRIBE", *channels))
        waiting = set(channels)
        while waiting:
            try:
                kind, channel, data = await self._hear(line, PONG_WITHIN)
            except TimeoutError:
                raise await self._given_up(line, PONG_WITHIN) from None
            if kind == b"subscribe":
                waiting.discard(channel)
            elif kind == b"message":
                self._heard.append((channel, data))

    async def next(self) -> tuple[str, bytes]:
        """The next message as (channel, data); waits for ever.

        Raises `RedisUnavailableError` when the connection is lost, which is noticed within
        15 s even if the other side vanished in silence. A cancelled `next` loses nothing.
        """
        if self._heard:
            return self._heard.popleft()
        line = self._line
        if line is None or line.closed:
            raise RedisUnavailableError(self._where, "no subscription is open", sent=False)
        asked = False
        while True:
            try:
                kind, channel, data = await self._hear(line, PONG_WITHIN if asked else PING_AFTER)
            except TimeoutError:
                if asked:
                    raise await self._given_up(line, PING_AFTER + PONG_WITHIN) from None
                await line.send(pack("PING"))
                asked = True
                continue
            asked = False
            if kind == b"message":
                return channel, data

    async def _hear(self, line: Line, timeout: float) -> tuple[bytes, str, bytes]:
        reply: Reply = await line.receive(timeout)
        if isinstance(reply, RedisReplyError):
            raise reply
        if reply[0] == b"pong":
            return b"pong", "", b""
        kind, channel, data = reply
        return kind, channel.decode(), data

    async def _given_up(self, line: Line, silence: float) -> RedisUnavailableError:
        await line.drop()
        return RedisUnavailableError(self._where, f"silent for {silence:g} s", sent=True)

    async def aclose(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            await line.aclose()
