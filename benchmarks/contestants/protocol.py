"""How a contestant is asked and answers, and the loops that must be the same for all of them.

Standard library only. A contestant is a program `contestant.py ACTION [options]`; it prints one
line of JSON, on standard output, and logs to standard error. Actions are listed in
`benchmarks/README.md`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager
from typing import NoReturn

from benchmarks.contestants import board

ACTIONS = (
    *("info", "enqueue-serial", "enqueue-concurrent", "enqueue-bulk", "fill"),
    *("work", "produce-stamped", "produce-delayed"),
)
WARM_UP = 200  # calls before the clock starts: connections, script caches, code paths
PAYLOAD = {"n": 1}  # of every task that carries no time


class Arguments(argparse.Namespace):
    """What the driver says. Options that an action does not need are there, with a default."""

    action: str
    redis: str
    count: int
    concurrency: int
    in_flight: int
    processes: int
    workload: str  # noop, sleep10 or stamp
    board: str | None
    slot: int  # number of this worker among those started at once
    delay_ms: float
    spread_ms: float
    interval_ms: float


def arguments() -> Arguments:
    """Reads the command line."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("action", choices=ACTIONS)
    parser.add_argument("--redis", default="redis://127.0.0.1:6379/0")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--concurrency", type=int, default=100)
    parser.add_argument("--in-flight", type=int, default=100)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--workload", choices=("noop", "sleep10", "stamp"), default="noop")
    parser.add_argument("--board")
    parser.add_argument("--slot", type=int, default=0)
    parser.add_argument("--delay-ms", type=float, default=2000)
    parser.add_argument("--spread-ms", type=float, default=0)
    parser.add_argument("--interval-ms", type=float, default=20)
    return parser.parse_args(namespace=Arguments())


def answer(**figures: object) -> None:
    """Prints the one line that the driver reads."""
    print(json.dumps(figures), flush=True)


def unsupported(why: str) -> NoReturn:
    """Answers that the library has no way to do what is asked, and ends the program."""
    answer(unsupported=why)
    sys.exit(0)


@contextmanager
def measured(count: int) -> Generator[None]:
    """Answers how long the block took, for `count` tasks, and what processor time it used."""
    cpu, start = cpu_seconds(), time.perf_counter()
    yield
    seconds = time.perf_counter() - start
    answer(count=count, seconds=seconds, cpu_seconds=cpu_seconds() - cpu)


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


# Producers that await. `enqueue()` puts one task with PAYLOAD into the queue.


async def serial(enqueue: Callable[[], Awaitable[object]], count: int) -> None:
    for _ in range(WARM_UP):
        await enqueue()
    with measured(count):
        for _ in range(count):
            await enqueue()


async def concurrent(enqueue: Callable[[], Awaitable[object]], count: int, in_flight: int) -> None:
    """As many coroutines as calls in flight, each of which enqueues one after another."""

    async def producer(left: Iterator[int]) -> None:
        for _ in left:
            await enqueue()

    async def produce(total: int) -> None:
        left = iter(range(total))  # shared: a producer that is slow holds nobody up
        await asyncio.gather(*(producer(left) for _ in range(in_flight)))

    await produce(max(WARM_UP, 2 * in_flight))
    with measured(count):
        await produce(count)


async def produce_stamped(
    enqueue: Callable[[dict[str, int]], Awaitable[object]], given: Arguments
) -> None:
    """One task every `--interval-ms`; its payload is `{"ns": the time before the call}`."""
    start = time.monotonic()
    for number in range(given.count):
        await asyncio.sleep(max(0, start + number * given.interval_ms / 1000 - time.monotonic()))
        await enqueue({"ns": time.time_ns()})
    answer(count=given.count)


async def produce_delayed(
    enqueue: Callable[[dict[str, int], float], Awaitable[object]], given: Arguments
) -> None:
    """`enqueue(payload, seconds)`: due in so many seconds; the payload is `{"ns": when due}`."""
    for seconds in due_in(given):
        await enqueue({"ns": time.time_ns() + int(seconds * 1e9)}, seconds)
    answer(count=given.count)


# The same for producers that block. In flight are threads.


def serial_blocking(enqueue: Callable[[], object], count: int) -> None:
    for _ in range(WARM_UP):
        enqueue()
    with measured(count):
        for _ in range(count):
            enqueue()


def concurrent_blocking(enqueue: Callable[[], object], count: int, in_flight: int) -> None:
    def producer(left: Iterator[int]) -> None:
        for _ in left:
            enqueue()

    def produce(total: int) -> None:
        left = iter(range(total))
        threads = [threading.Thread(target=producer, args=(left,)) for _ in range(in_flight)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    produce(max(WARM_UP, 2 * in_flight))
    with measured(count):
        produce(count)


def produce_stamped_blocking(enqueue: Callable[[dict[str, int]], object], given: Arguments) -> None:
    start = time.monotonic()
    for number in range(given.count):
        time.sleep(max(0, start + number * given.interval_ms / 1000 - time.monotonic()))
        enqueue({"ns": time.time_ns()})
    answer(count=given.count)


def produce_delayed_blocking(
    enqueue: Callable[[dict[str, int], float], object], given: Arguments
) -> None:
    for seconds in due_in(given):
        enqueue({"ns": time.time_ns() + int(seconds * 1e9)}, seconds)
    answer(count=given.count)


def due_in(given: Arguments) -> list[float]:
    """In how many seconds each delayed task is due: `--delay-ms` and up to `--spread-ms` more."""
    step = given.spread_ms / max(1, given.count - 1)
    return [(given.delay_ms + number * step) / 1000 for number in range(given.count)]


# Workers. Their handlers are `noop`, `sleep10` and `stamp`, or what their library wants around
# these three calls.


class Workloads:
    """What handlers do. `WORKLOADS = Workloads.from_environment()` in a worker's module works in
    forked and spawned children too: the driver sets BENCH_BOARD beside `--board`.
    """

    def __init__(self, path: str | None) -> None:
        self._board = board.Board(path)
        self.noop = self._board.tick

    @classmethod
    def from_environment(cls) -> Workloads:
        return cls(os.environ.get("BENCH_BOARD"))

    async def sleep10(self) -> None:
        self._board.tick()
        await asyncio.sleep(0.01)

    def sleep10_blocking(self) -> None:
        self._board.tick()
        time.sleep(0.01)

    def stamp(self, payload_ns: int) -> None:
        self._board.latency(time.time_ns() - payload_ns)
