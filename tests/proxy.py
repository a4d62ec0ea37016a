"""A proxy between a client and a real Redis that cuts, holds and delays what a test chooses.

    async with Proxy(server.socket) as proxy:
        cut = proxy.plan(CutReply(runs(scripts.SETTLE), at=0.5))
        ...                                     # talk to proxy.url
        await cut.happened.wait()

A fault is planned for the first command that it matches, and happens once. Commands are passed on
whole, one after the other, and each reply is matched with its command: a fault says exactly how
far an operation came.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Self, TypeVar

from asyncq._broker.scripts import Script

Command = Sequence[bytes]
Matches = Callable[[Command], bool]


def runs(script: Script) -> Matches:
    """Commands that run a script, by its name or whole."""
    names = (script.sha.encode(), script.source.encode())
    return lambda command: command[0] in (b"EVALSHA", b"EVAL") and command[1] in names


def is_command(name: str) -> Matches:
    return lambda command: command[0].upper() == name.encode()


class Fault:
    """What shall befall one command. `happened` is set when it has."""

    def __init__(self, matches: Matches) -> None:
        self.matches = matches
        self.happened = asyncio.Event()


class RequestFault(Fault):
    """Befalls a command before Redis has it."""


class ReplyFault(Fault):
    """Befalls the reply of a command that Redis has executed, if `when` says so of the reply.

    Replies that say that nothing was executed (an unknown script) are left alone.
    """

    def __init__(self, matches: Matches, *, when: Callable[[bytes], bool] | None = None) -> None:
        super().__init__(matches)
        self._when = when

    def befalls(self, command: Command, reply: bytes) -> bool:
        return (
            self.matches(command)
            and not reply.startswith(b"-NOSCRIPT")
            and (self._when is None or self._when(reply))
        )


class CutRequest(RequestFault):
    """Part of the command reaches Redis, then both connections are cut: it is not executed.

    `at` is the part: 0 nothing, just less than 1 all but the last byte.
    """

    def __init__(self, matches: Matches, at: float) -> None:
        super().__init__(matches)
        self.at = at


class HoldRequest(RequestFault):
    """The command waits here until `release`."""

    def __init__(self, matches: Matches) -> None:
        super().__init__(matches)
        self.release = asyncio.Event()


class HoldBack(RequestFault):
    """The client sees its connection end; on `release` Redis gets the command after all.

    `executed` is set when it was.
    """

    def __init__(self, matches: Matches) -> None:
        super().__init__(matches)
        self.release = asyncio.Event()
        self.executed = asyncio.Event()


class CutReply(ReplyFault):
    """Part of the reply passes, then both connections are cut."""

    def __init__(
        self, matches: Matches, at: float, *, when: Callable[[bytes], bool] | None = None
    ) -> None:
        super().__init__(matches, when=when)
        self.at = at


class HoldReply(ReplyFault):
    """The reply waits here until `release`."""

    def __init__(self, matches: Matches, *, when: Callable[[bytes], bool] | None = None) -> None:
        super().__init__(matches, when=when)
        self.release = asyncio.Event()


class Notice(ReplyFault):
    """No fault: `happened` is set when a reply passes."""


AnyFault = TypeVar("AnyFault", bound=Fault)


class Proxy:
    """Listens on a unix socket of its own (on a port, too, if it is given one) and talks to the
    Redis at `target`."""

    def __init__(self, target: Path, *, port: int | None = None) -> None:
        self._target = target
        self._port = port
        self._directory = Path(tempfile.mkdtemp(prefix="asyncq-proxy-"))
        self._socket = self._directory / "proxy.sock"
        self.url = f"unix://{self._socket}?db=0"
        self._planned: list[Fault] = []
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []

    def plan(self, fault: AnyFault) -> AnyFault:
        self._planned.append(fault)
        return fault

    def withdraw(self, fault: Fault) -> None:
        """It shall not happen any more, if it has not."""
        if fault in self._planned:
            self._planned.remove(fault)

    def forget_plans(self) -> None:
        self._planned.clear()

    def cut_all(self) -> None:
        """Cut every connection there is now."""
        for link in list(self._links):
            link.cut()

    async def __aenter__(self) -> Self:
        self._servers = [await asyncio.start_unix_server(self._accept, self._socket)]
        if self._port is not None:
            self._servers += [await asyncio.start_server(self._accept, "127.0.0.1", self._port)]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for server in self._servers:
            server.close()
        self.cut_all()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        shutil.rmtree(self._directory, ignore_errors=True)

    def request_fault(self, command: Command) -> RequestFault | None:
        for fault in self._planned:
            if isinstance(fault, RequestFault) and fault.matches(command):
                self._planned.remove(fault)
                return fault
        return None

    def reply_fault(self, command: Command, reply: bytes) -> ReplyFault | None:
        for fault in self._planned:
            if isinstance(fault, ReplyFault) and fault.befalls(command, reply):
                self._planned.remove(fault)
                return fault
        return None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of ours: asyncio's own would say that it was cancelled.
        try:
            upstream = await asyncio.open_unix_connection(str(self._target))
        except OSError:
            writer.transport.abort()
            return
        link = _Link(self, (reader, writer), upstream)
        self._links.add(link)
        for pump in (link.pass_requests, link.pass_replies):
            task = asyncio.ensure_future(self._pump(link, pump))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, link: _Link, pump: Callable[[], Awaitable[None]]) -> None:
        with contextlib.suppress(OSError):  # whichever side went, the other shall see it
            await pump()
        if not link.held_back:
            link.cut()
            self._links.discard(link)


_Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Link:
    """One connection of a client, and the one to Redis that belongs to it."""

    def __init__(self, proxy: Proxy, client: _Stream, redis: _Stream) -> None:
        self._proxy = proxy
        self._client_reader, self._client = client
        self._redis_reader, self._redis = redis
        self._asked: deque[Command] = deque()
        self.held_back = False
        """Whether only Redis's side is left, for a command that comes late."""

    def cut(self) -> None:
        self._client.transport.abort()
        self._redis.transport.abort()

    async def pass_requests(self) -> None:
        buffer = bytearray()
        while data := await self._client_reader.read(1 << 16):
            buffer += data
            for frame in _frames(buffer):
                command = _parts(frame)
                fault = self._proxy.request_fault(command)
                if fault is not None and not await self._befall_request(fault, frame, command):
                    return
                if fault is None or isinstance(fault, HoldRequest):
                    self._asked.append(command)
                    self._redis.write(frame)
                    await self._redis.drain()

    async def _befall_request(self, fault: RequestFault, frame: bytes, command: Command) -> bool:
        """Whether the connection goes on."""
        fault.happened.set()
        match fault:
            case HoldRequest():
                await fault.release.wait()
                return True
            case CutRequest():
                self._redis.write(frame[: int(len(frame) * fault.at)])
                await self._redis.drain()
                # Redis is to find part of a command and the end, in this order.
                self._redis.close()
            case HoldBack():
                self.held_back = True
                self._client.transport.abort()
                await fault.release.wait()
                self._asked.append(command)
                self._proxy.plan(_Executed(fault, command))
                self._redis.write(frame)
            case _:
                raise AssertionError(f"no such fault: {fault}")
        return False

    async def pass_replies(self) -> None:
        buffer = bytearray()
        while data := await self._redis_reader.read(1 << 16):
            buffer += data
            for reply in _frames(buffer):
                # A message of a subscription answers nothing.
                command = self._asked.popleft() if self._asked else ()
                fault = self._proxy.reply_fault(command, reply) if command else None
                if not await self._pass_reply(reply, fault):
                    return

    async def _pass_reply(self, reply: bytes, fault: ReplyFault | None) -> bool:
        """Whether the connection goes on."""
        if isinstance(fault, _Executed):
            fault.told.executed.set()
            self._redis.close()
            return False
        if fault is not None:
            # Now: what is written below may find that the client has left.
            fault.happened.set()
        if isinstance(fault, HoldReply):
            await fault.release.wait()
        if isinstance(fault, CutReply):
            self._client.write(reply[: int(len(reply) * fault.at)])
            await self._client.drain()
            # In order: the client reads what passed, then the end.
            self._client.close()
            return False
        if not self._client.is_closing():
            self._client.write(reply)
            await self._client.drain()
        return True


class _Executed(ReplyFault):
    """Notices the reply to a command that was held back; nobody is there to have it."""

    def __init__(self, told: HoldBack, command: Command) -> None:
        super().__init__(lambda other: other is command)
        self.told = told


def _frames(buffer: bytearray) -> list[bytes]:
    """Take whole RESP values off the front of the buffer, as they were sent."""
    frames: list[bytes] = []
    start = 0
    while (end := _end(buffer, start)) is not None:
        frames.append(bytes(buffer[start:end]))
        start = end
    del buffer[:start]
    return frames


def _end(buffer: bytearray, start: int) -> int | None:
    """Where the value that begins at `start` ends; None if not all of it is here."""
    line_end = buffer.find(b"\r\n", start)
    if line_end < 0:
        return None
    end = line_end + 2
    kind, rest = chr(buffer[start]), buffer[start + 1 : line_end]
    if kind == "$" and int(rest) >= 0:
        end += int(rest) + 2
    elif kind in "*%~>":  # all but the first are of RESP3, which Go's clients speak
        for _ in range(int(rest) * (2 if kind == "%" else 1)):
            element_end = _end(buffer, end)
            if element_end is None:
                return None
            end = element_end
    return end if end <= len(buffer) else None


def _parts(frame: bytes) -> list[bytes]:
    """The words of a command, an array of bulk strings."""
    count_end = frame.index(b"\r\n")
    parts: list[bytes] = []
    at = count_end + 2
    for _ in range(int(frame[1:count_end])):
        size_end = frame.index(b"\r\n", at)
        size = int(frame[at + 1 : size_end])
        parts.append(frame[size_end + 2 : size_end + 2 + size])
        at = size_end + 2 + size + 2
    return parts
