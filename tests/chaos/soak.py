"""A million tasks of all kinds, and what the processes and Redis hold before, meanwhile and after.

python -m chaos.soak [TASKS]
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from redis_servers import RedisServer
from redis_topologies import say
from waiting import until

from asyncq import Client, Inspector, ServeMux, Server, ServerConfig, Task, current

from .journal import count
from .nursery import Child
from .places import standing_of
from .report import table
from .roles import Told, journal, tell_of_start, told

_QUEUE = "soak"
_WORKERS = 2
_BATCH = 1000
_MOST_WAITING = 20_000
_SAMPLE_EVERY_S = 1.0
_LONGEST_S = 3600.0
_KEPT_S = 5

mux = ServeMux()


@mux.handle("noop")
async def noop(task: Task) -> None: ...


@mux.handle("fails-first")
async def fails_first(task: Task) -> None:
    if current().retry_count == 0:
        raise RuntimeError("the first attempt fails")


@mux.handle("returns")
async def returns(task: Task) -> bytes:
    return task.payload


def worker() -> Server:
    """A target of `asyncq worker`."""
    config = ServerConfig(
        queues={_QUEUE: 1},
        concurrency=200,
        retry_delay=lambda *_: random.uniform(0.1, 2),
        lifespan=tell_of_start,
        log_level="error",  # a line for each of thousands of failures says nothing
    )
    return Server(None, mux, config)


def produce() -> None:
    """Enqueue so many tasks, never far ahead of the workers."""
    asyncio.run(_produce(told().tasks))


async def _produce(tasks: int) -> None:
    async with Client() as client, Inspector(client) as inspector:
        for first in range(0, tasks, _BATCH):
            while await _waiting(inspector) > _MOST_WAITING:
                await asyncio.sleep(0.01)
            await client.enqueue_many([_task(n) for n in range(first, min(tasks, first + _BATCH))])
            journal().note("batch", "-")


async def _waiting(inspector: Inspector) -> int:
    if _QUEUE not in await inspector.queues():
        return 0
    info = await inspector.queue_info(_QUEUE)
    return info.pending + info.active


def _task(n: int) -> Task:
    """Of each hundred: 85 plain, 5 scheduled, 4 unique, 3 that fail once, 3 that keep a result."""
    payload, kind = str(n), n % 100
    if kind < 85:
        return Task("noop", payload, queue=_QUEUE)
    if kind < 90:
        return Task("noop", payload, queue=_QUEUE, process_in=random.uniform(0.1, 5))
    if kind < 94:
        return Task("noop", payload, queue=_QUEUE, unique=60)
    if kind < 97:
        return Task("fails-first", payload, queue=_QUEUE)
    return Task("returns", payload, queue=_QUEUE, retention=_KEPT_S)


@dataclass(frozen=True, slots=True)
class Sample:
    """One moment."""

    handled: int
    worker_rss_mib: float
    """The largest of the workers'."""
    producer_rss_mib: float
    connections: int
    redis_mib: float
    keys: int


_NAMES = {
    "handled": "tasks handled",
    "worker_rss_mib": "RSS of a worker, MiB",
    "producer_rss_mib": "RSS of the producer, MiB",
    "connections": "connections to Redis",
    "redis_mib": "Redis's memory, MiB",
    "keys": "keys in Redis",
}


class Soak:
    """The processes, and samples of what they hold."""

    def __init__(self, server: RedisServer, directory: Path, tasks: int) -> None:
        self._server = server
        self._directory = directory
        self._tasks = tasks
        self._workers = [
            self._child(f"worker{n}", "worker", "chaos.soak:worker") for n in range(_WORKERS)
        ]
        self._producer: Child | None = None
        self.samples: list[Sample] = []

    def _child(self, name: str, *command: str) -> Child:
        said = Told(
            directory=str(self._directory), name=name, queues=[_QUEUE], seed=0, tasks=self._tasks
        )
        environment = {"ASYNCQ_REDIS_URL": self._server.url, **said.to_environment()}
        return Child(command, environment, self._directory / f"{name}.log")

    async def run(self) -> float:
        """Handle all. Returns how many seconds it took."""
        await until(lambda: all(self._is_up(n) for n in range(_WORKERS)), "all work")
        await asyncio.sleep(2)
        self._look()
        begun = time.monotonic()
        self._producer = self._child("producer", "call", "chaos.soak:produce")
        while self._is_producing() or standing_of(self._server, _QUEUE):
            assert time.monotonic() < begun + _LONGEST_S, self.samples[-1]
            self._look()
            await asyncio.sleep(_SAMPLE_EVERY_S)
        took_s = time.monotonic() - begun
        # What was kept for a while goes with the janitor's next round, locks at their time.
        await until(lambda: self._look().keys <= self.samples[0].keys + 20, self._keys, every_s=1)
        return took_s

    def close(self) -> None:
        for child in [*self._workers, *([self._producer] if self._producer else [])]:
            child.kill()

    def _is_producing(self) -> bool:
        return self._producer is not None and self._producer.status is None

    def _is_up(self, n: int) -> bool:
        return count(self._directory, f"worker{n}", "up") > 0

    def _keys(self) -> object:
        return say(self._server, "KEYS", "*")[:100]

    def _look(self) -> Sample:
        sample = Sample(
            int(say(self._server, "GET", f"asynq:{{{_QUEUE}}}:processed") or 0),
            max(_rss_mib(worker.pid) for worker in self._workers),
            _rss_mib(self._producer.pid)
            if self._producer and self._producer.status is None
            else 0.0,
            _info(self._server, "clients", "connected_clients") - 1,
            _info(self._server, "memory", "used_memory") / (1 << 20),
            int(say(self._server, "DBSIZE")),
        )
        self.samples.append(sample)
        return sample


def _rss_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def _info(server: RedisServer, section: str, name: str) -> int:
    lines: list[str] = say(server, "INFO", section).splitlines()
    return next(int(line.partition(":")[2]) for line in lines if line.startswith(f"{name}:"))


def summary(samples: Sequence[Sample], tasks: int) -> str:
    """Before, at shares of the whole, the peak, and after, in a table."""
    shares = [0.1, 0.5, 0.9]
    at = [next(s for s in samples if s.handled >= share * tasks) for share in shares]
    columns = [samples[0], *at, samples[-1]]
    head = ["", "before", *(f"at {share:.0%}" for share in shares), "after", "peak"]
    rows = [head]
    for field in fields(Sample):
        values = [getattr(sample, field.name) for sample in columns]
        peak = max(getattr(sample, field.name) for sample in samples)
        rows.append([_NAMES[field.name], *(f"{value:.0f}" for value in [*values, peak])])
    return table(rows)


async def main(tasks: int) -> None:
    directory = Path(tempfile.mkdtemp(prefix="asyncq-chaos-soak-"))
    with RedisServer() as server:
        soak = Soak(server, directory, tasks)
        try:
            took_s = await soak.run()
        finally:
            soak.close()
    _say(f"{tasks} tasks, {_WORKERS} workers, one producer: {took_s:.0f} s\n")
    _say(summary(soak.samples, tasks))


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - what this is run for


if __name__ == "__main__":
    asyncio.run(main(*[int(arg) for arg in sys.argv[1:]] or (1_000_000,)))
