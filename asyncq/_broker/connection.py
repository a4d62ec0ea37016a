"""The connection of one client or server to Redis: everything asyncq says goes through here.

Connections are asyncq's own, whatever it was given to find Redis by: bytes in and out,
time-outs that are known, and no retries of the driver's. What is sent again, and when, is
decided in `conversation` (unknown scripts, redirections) and by the caller (all else).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from ..errors import RedisError, RedisUnavailableError
from .address import Address, Cluster
from .address import RedisSource as ForeignSource
from .blocking import SyncConnection
from .cluster import ManyNodes
from .conversation import Call, Frame, with_one
from .dialer import Dialer, dialer_to
from .line import Line, Reply
from .pool import Pool
from .source import read_source
from .waiting import Dials, Listener, Waiter

__all__ = [
    "Call",
    "Connection",
    "Frame",
    "Listener",
    "RedisSource",
    "Reply",
    "SyncConnection",
    "Waiter",
]

CallHook: TypeAlias = Callable[[Sequence[Call], float, BaseException | None], None]
"""Told of every `run`: the calls, the seconds they took, and the error that was raised, or else the
first that Redis answered one of them with."""


class _Transport(Dials, Protocol):
    """What differs between one Redis and a cluster."""

    async def say(self, calls: Sequence[Call], frame: Frame | None = None) -> list[Reply]: ...

    async def aclose(self) -> None: ...


class _OneNode:
    """One Redis at a time, wherever the dialer finds it."""

    def __init__(self, dialer: Dialer) -> None:
        self._dialer = dialer
        self._pool = Pool(dialer)
        # Of their own for calls with something around them: a replica that is away would soon
        # have all connections waiting for it.
        self._patient_pool = Pool(dialer)

    async def say(self, calls: Sequence[Call], frame: Frame | None = None) -> list[Reply]:
        conversation = with_one(calls, frame)
        try:
            packed = next(conversation)
            while True:
                packed = conversation.send(await self._exchange(packed, frame))
        except StopIteration as end:
            answered: list[Reply] = end.value
            return answered

    async def _exchange(
        self, packed: list[bytes], frame: Frame | None
    ) -> list[Reply] | RedisUnavailableError:
        try:
            if frame is None:
                return await self._pool.exchange(packed)
            return await self._patient_pool.exchange(packed, frame.longer_s)
        except RedisUnavailableError as error:
            return error

    async def dial(self, key: str | None) -> Line:
        return await self._dialer.dial()

    def astray(self) -> None:
        """Nothing to forget: the dialer looks anew every time."""

    async def aclose(self) -> None:
        await self._pool.aclose()
        await self._patient_pool.aclose()
        await self._dialer.aclose()


class Connection:
    """Where Redis is, and everything that can be said to it.

    `where` is the address without secrets. `on_call`, if set, is told of every `run`.
    """

    def __init__(self, address: Address, transport: _Transport, *, owner: bool) -> None:
        self.where = address.where
        self.is_cluster = isinstance(address, Cluster)
        self.on_call: CallHook | None = None
        self._address = address
        self._transport = transport
        self._owner = owner

    def __repr__(self) -> str:
        return f"<Connection to {self.where}>"

    @classmethod
    def open(cls, source: RedisSource | None) -> Connection:
        """Without I/O: the first call connects.

        A `Connection` given is shared: the new one uses its connections and does not close
        them; it is of no use once the owner is closed. A `redis.asyncio` client is read for
        address and credentials and left alone. None: `ASYNCQ_REDIS_URL`, then `REDIS_URL`.

        Raises `RedisNotConfiguredError`, `ValueError` (a wrong URL), `TypeError` (no source).
        """
        if isinstance(source, Connection):
            return cls(source._address, source._transport, owner=False)
        address = read_source(source)
        if isinstance(address, Cluster):
            return cls(address, ManyNodes(address), owner=True)
        return cls(address, _OneNode(dialer_to(address)), owner=True)

    async def run(self, calls: Sequence[Call], frame: Frame | None = None) -> list[Reply]:
        """Say all `calls` in one round trip (one per node in a cluster); a reply for each.

        An error that Redis answers with is not raised: it stands in its call's place as a
        `RedisReplyError`. Calls of one run must not depend on each other's order: one whose
        script Redis did not know is sent again after the others. The `frame` is said around them,
        on their connections, to each node, and keeps the replies to it itself.

        Raises `RedisUnavailableError`: with `sent=False` nothing was executed, with `sent=True`
        any of the calls may have been. In a cluster it is raised only if it holds for all
        calls; where other nodes answered, it stands in the places of the calls it hit.
        Raises `RedisReplyError` when Redis refuses the connection (wrong password, database).
        """
        if not calls:
            return []
        if self.on_call is None:
            return await self._transport.say(calls, frame)
        return await self._timed(calls, frame, self.on_call)

    async def _timed(
        self, calls: Sequence[Call], frame: Frame | None, hook: CallHook
    ) -> list[Reply]:
        failed: BaseException | None = None
        start = time.perf_counter()
        try:
            replies = await self._transport.say(calls, frame)
            failed = next((reply for reply in replies if isinstance(reply, RedisError)), None)
            return replies
        except BaseException as error:
            failed = error
            raise
        finally:
            hook(calls, time.perf_counter() - start, failed)

    async def run_one(self, call: Call) -> Reply:
        """As `run` for one call, but an error reply is raised."""
        (reply,) = await self.run([call])
        if isinstance(reply, RedisError):
            raise reply
        return reply

    async def ping(self) -> None:
        """Raises `RedisUnavailableError` or `RedisReplyError` unless Redis answers."""
        await self.run_one(Call.command("PING"))

    def waiter(self) -> Waiter:
        """A connection of its own to wait on lists with; close it with `aclose`."""
        return Waiter(self._transport)

    def listener(self) -> Listener:
        """A connection of its own to hear channels with; close it with `aclose`."""
        return Listener(self._transport, self.where)

    def sync(self) -> SyncConnection:
        """The same Redis for a thread that does not wait for the event loop."""
        return SyncConnection(self._address)

    async def aclose(self) -> None:
        """Close what this connection opened. Calls in flight are cut. Safe to call again."""
        if self._owner:
            await self._transport.aclose()


RedisSource: TypeAlias = ForeignSource | Connection
