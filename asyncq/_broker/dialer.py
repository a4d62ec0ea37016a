"""How a new connection finds its Redis: at an address, through sentinels, or by starting it."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, Protocol

from ..errors import RedisError, RedisReplyError, RedisUnavailableError
from .address import Embedded, Endpoint, Sentinels, Single, by_reason, host_and_port
from .line import BlockingLine, Line, Reply, pack


class Dialer(Protocol):
    """Opens connections. Both ways raise as `Line.connect` does."""

    @property
    def where(self) -> str: ...

    async def dial(self) -> Line: ...

    def dial_blocking(self) -> BlockingLine: ...

    async def aclose(self) -> None: ...

    def close(self) -> None: ...


class ToEndpoint:
    """To one known address."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.where = endpoint.where

    async def dial(self) -> Line:
        line = Line(self.endpoint)
        await line.connect()
        return line

    def dial_blocking(self) -> BlockingLine:
        line = BlockingLine(self.endpoint)
        line.connect()
        return line

    async def aclose(self) -> None:
        """Nothing is held."""

    def close(self) -> None:
        """Nothing is held."""


class ToMaster:
    """To whatever the sentinels call the master, asked anew for every connection."""

    def __init__(self, address: Sentinels) -> None:
        self.where = address.where
        self._name = address.name
        self._master = address.master
        self._sentinels = list(address.sentinels)
        self._question = [pack("SENTINEL", "GET-MASTER-ADDR-BY-NAME", address.name)]

    async def dial(self) -> Line:
        line = Line(await self._find())
        await line.connect()
        return line

    async def _find(self) -> Endpoint:
        failures: list[tuple[str, RedisError]] = []
        for sentinel in list(self._sentinels):
            line = Line(sentinel)
            try:
                await line.connect()
                (reply,) = await line.exchange(self._question, 1)
            except RedisError as error:
                failures.append((host_and_port(sentinel.host, sentinel.port), error))
                continue
            finally:
                await line.drop()
            master = self._understand(sentinel, reply, failures)
            if master is not None:
                return master
        raise self._nobody_knows(failures)

    def dial_blocking(self) -> BlockingLine:
        line = BlockingLine(self._find_blocking())
        line.connect()
        return line

    def _find_blocking(self) -> Endpoint:
        failures: list[tuple[str, RedisError]] = []
        for sentinel in list(self._sentinels):
            line = BlockingLine(sentinel)
            try:
                line.connect()
                (reply,) = line.exchange(self._question, 1)
            except RedisError as error:
                failures.append((host_and_port(sentinel.host, sentinel.port), error))
                continue
            finally:
                line.drop()
            master = self._understand(sentinel, reply, failures)
            if master is not None:
                return master
        raise self._nobody_knows(failures)

    def _understand(
        self, sentinel: Endpoint, reply: Reply, failures: list[tuple[str, RedisError]]
    ) -> Endpoint | None:
        where = host_and_port(sentinel.host, sentinel.port)
        if isinstance(reply, RedisReplyError):
            failures.append((where, reply))
            return None
        if reply is None:
            reason = f"it knows no master named {self._name!r}"
            failures.append((where, RedisUnavailableError(where, reason, sent=False)))
            return None
        # The next connection asks the one that knew first.
        self._sentinels.remove(sentinel)
        self._sentinels.insert(0, sentinel)
        host, port = reply
        return self._master.at(host.decode(), int(port))

    def _nobody_knows(self, failures: list[tuple[str, RedisError]]) -> RedisUnavailableError:
        reason = f"no sentinel named a master: {by_reason(failures)}"
        return RedisUnavailableError(self.where, reason, sent=False)

    async def aclose(self) -> None:
        """Nothing is held."""

    def close(self) -> None:
        """Nothing is held."""


class ToEmbedded:
    """To the private server of a directory, started if it does not run."""

    def __init__(self, address: Embedded) -> None:
        self.where = address.where
        self._directory = address.directory
        self._held: Any = None
        self._lock = threading.Lock()
        self._closed = False

    async def dial(self) -> Line:
        line = Line(await asyncio.to_thread(self._ensure))
        try:
            await line.connect()
        except RedisUnavailableError:
            # The server is gone; the next attempt starts another.
            await asyncio.to_thread(self._release)
            raise
        return line

    def dial_blocking(self) -> BlockingLine:
        line = BlockingLine(self._ensure())
        try:
            line.connect()
        except RedisUnavailableError:
            self._release()
            raise
        return line

    def _ensure(self) -> Endpoint:
        # Imported when asked for: most processes never start a server.
        from ..devredis import DevRedisError, ensure  # noqa: PLC0415

        with self._lock:
            if self._closed:
                raise RedisUnavailableError(self.where, "closed by asyncq", sent=False)
            if self._held is None:
                try:
                    self._held = ensure(self._directory)
                except (DevRedisError, OSError) as error:
                    raise RedisUnavailableError(self.where, str(error), sent=False) from error
            return Endpoint(path=str(self._held.socket))

    def _release(self) -> None:
        with self._lock:
            held, self._held = self._held, None
        if held is not None:
            held.close()

    async def aclose(self) -> None:
        await asyncio.to_thread(self.close)

    def close(self) -> None:
        self._closed = True
        self._release()


def dialer_to(address: Single | Sentinels | Embedded) -> Dialer:
    if isinstance(address, Single):
        return ToEndpoint(address.endpoint)
    if isinstance(address, Sentinels):
        return ToMaster(address)
    return ToEmbedded(address)
