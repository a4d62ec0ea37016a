"""What contestants written in Python share: from a library in a few methods to all actions.

Standard library only, but for uvloop, which every asyncio contestant lists in its requirements.
"""

from __future__ import annotations

import asyncio
import os
import platform
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterator
from importlib.metadata import version
from typing import Any, ClassVar

from benchmarks.contestants import protocol
from benchmarks.contestants.protocol import PAYLOAD, Arguments, Workloads

Payload = dict[str, int]


class Library(ABC):
    """What a library calls itself, how it was set, and its worker. Tasks are called as the
    workloads are, and take one argument, the payload.
    """

    kind: ClassVar[str]
    distribution: ClassVar[str]
    client: ClassVar[tuple[str, ...]] = ("redis", "hiredis")  # what talks to Redis
    runtime: ClassVar[tuple[str, ...]] = ()  # what runs handlers, beside CPython
    configuration: ClassVar[str]
    no_bulk: ClassVar[str] = ""  # why there is no `enqueue_many`
    bulk_size: ClassVar[int] = 100  # tasks per call of `enqueue_many`

    @abstractmethod
    def work(self, given: Arguments, workloads: Workloads) -> None:
        """Runs one worker until SIGTERM."""

    @abstractmethod
    def produce(self, given: Arguments) -> None:
        """Does one of the other actions."""

    def info(self) -> None:
        protocol.answer(
            name=self.distribution,
            version=version(self.distribution),
            kind=self.kind,
            runtime=" ".join(
                ["CPython", platform.python_version(), *map(_versioned, self.runtime)]
            ),
            client=" ".join(map(_versioned, self.client)),
            configuration=self.configuration,
        )


class AsyncioLibrary(Library):
    """A library whose producers await."""

    kind = "asyncio"
    runtime = ("uvloop",)

    async def open(self, given: Arguments) -> None:
        """Makes the producer, with room for `given.in_flight` calls at once."""
        raise NotImplementedError

    async def close(self) -> None:
        """Ends the producer."""

    async def enqueue(self, task: str, payload: Payload) -> object:
        raise NotImplementedError

    async def enqueue_in(self, task: str, payload: Payload, seconds: float) -> object:
        raise NotImplementedError

    async def enqueue_many(self, task: str, payloads: list[Payload]) -> object:
        raise NotImplementedError

    def produce(self, given: Arguments) -> None:
        run(self._produce(given))

    async def _produce(self, given: Arguments) -> None:
        await self.open(given)
        try:
            await self._actions()[given.action](given)
        finally:
            await self.close()

    def _actions(self) -> dict[str, Callable[[Arguments], Coroutine[Any, Any, None]]]:
        return {
            "enqueue-serial": self._serial,
            "enqueue-concurrent": self._concurrent,
            "enqueue-bulk": self._bulk,
            "fill": self._fill,
            "produce-stamped": self._stamped,
            "produce-delayed": self._delayed,
        }

    async def _serial(self, given: Arguments) -> None:
        await protocol.serial(lambda: self.enqueue("noop", PAYLOAD), given.count)

    async def _concurrent(self, given: Arguments) -> None:
        await protocol.concurrent(
            lambda: self.enqueue("noop", PAYLOAD), given.count, given.in_flight
        )

    async def _bulk(self, given: Arguments) -> None:
        await self._in_bulk("noop", protocol.WARM_UP)
        with protocol.measured(given.count):
            await self._in_bulk("noop", given.count)

    async def _in_bulk(self, task: str, count: int) -> None:
        for size in _chunks(count, self.bulk_size):
            await self.enqueue_many(task, [PAYLOAD] * size)

    async def _fill(self, given: Arguments) -> None:
        if self.no_bulk:
            left = iter(range(given.count))
            await asyncio.gather(*(self._one_by_one(given, left) for _ in range(given.in_flight)))
        else:
            await self._in_bulk(given.workload, given.count)
        protocol.answer(count=given.count)

    async def _one_by_one(self, given: Arguments, left: Iterator[int]) -> None:
        for _ in left:
            await self.enqueue(given.workload, PAYLOAD)

    async def _stamped(self, given: Arguments) -> None:
        await protocol.produce_stamped(lambda payload: self.enqueue("stamp", payload), given)

    async def _delayed(self, given: Arguments) -> None:
        await protocol.produce_delayed(
            lambda payload, seconds: self.enqueue_in("stamp", payload, seconds), given
        )


class BlockingLibrary(Library):
    """A library whose producers block: those at once are threads."""

    def open(self, given: Arguments) -> None:
        """Makes the producer, with room for `given.in_flight` calls at once."""
        raise NotImplementedError

    def enqueue(self, task: str, payload: Payload) -> object:
        raise NotImplementedError

    def enqueue_in(self, task: str, payload: Payload, seconds: float) -> object:
        raise NotImplementedError

    def enqueue_many(self, task: str, payloads: list[Payload]) -> object:
        raise NotImplementedError

    def produce(self, given: Arguments) -> None:
        self.open(given)
        match given.action:
            case "enqueue-serial":
                protocol.serial_blocking(self._enqueue_noop, given.count)
            case "enqueue-concurrent":
                protocol.concurrent_blocking(self._enqueue_noop, given.count, given.in_flight)
            case "enqueue-bulk":
                self._bulk(given)
            case "fill":
                self._fill(given)
            case "produce-stamped":
                protocol.produce_stamped_blocking(lambda load: self.enqueue("stamp", load), given)
            case _:
                protocol.produce_delayed_blocking(
                    lambda load, seconds: self.enqueue_in("stamp", load, seconds), given
                )

    def _enqueue_noop(self) -> None:
        self.enqueue("noop", PAYLOAD)

    def _bulk(self, given: Arguments) -> None:
        self._in_bulk("noop", protocol.WARM_UP)
        with protocol.measured(given.count):
            self._in_bulk("noop", given.count)

    def _in_bulk(self, task: str, count: int) -> None:
        for size in _chunks(count, self.bulk_size):
            self.enqueue_many(task, [PAYLOAD] * size)

    def _fill(self, given: Arguments) -> None:
        if self.no_bulk:
            for _ in range(given.count):
                self.enqueue(given.workload, PAYLOAD)
        else:
            self._in_bulk(given.workload, given.count)
        protocol.answer(count=given.count)


def main(library: Library) -> None:
    """Does what the command line says."""
    given = protocol.arguments()
    if given.board:
        os.environ["BENCH_BOARD"] = given.board  # for handlers that a child imports
    if given.action == "info":
        library.info()
    elif given.action == "work":
        library.work(given, Workloads(given.board))
    elif given.action == "enqueue-bulk" and library.no_bulk:
        protocol.unsupported(library.no_bulk)
    else:
        library.produce(given)


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    """Runs it on uvloop."""
    import uvloop  # noqa: PLC0415  # contestants without asyncio do not have it

    uvloop.run(coroutine)


def _versioned(distribution: str) -> str:
    return f"{distribution} {version(distribution)}"


def _chunks(count: int, size: int) -> Iterator[int]:
    for start in range(0, count, size):
        yield min(size, count - start)
