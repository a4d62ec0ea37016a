"""asyncq, as its own documentation says to run it: `Client`, and the `asyncq worker` command."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Coroutine
from importlib.metadata import version
from typing import Any

import uvloop

from asyncq import Client, ServeMux, Task
from benchmarks.contestants import protocol
from benchmarks.contestants.protocol import PAYLOAD, Arguments, Workloads

BULK = 10_000  # tasks per call of `enqueue_many`

mux = ServeMux()
workloads = Workloads.from_environment()


@mux.handle("noop")
async def noop(task: Task) -> None:
    workloads.noop()


@mux.handle("sleep10")
async def sleep10(task: Task) -> None:
    await workloads.sleep10()


@mux.handle("stamp")
async def stamp(task: Task) -> None:
    workloads.stamp(task.json()["ns"])


def info() -> None:
    protocol.answer(
        name="asyncq",
        version=version("asyncq"),
        kind="asyncio",
        runtime=f"CPython {platform.python_version()}, uvloop {version('uvloop')}",
        client=f"redis-py {version('redis')}, hiredis {version('hiredis')}",
        configuration="all as it comes; a task of a dead worker is run again",
    )


def work(given: Arguments) -> None:
    flags = ["--concurrency", str(given.concurrency), "--processes", str(given.processes)]
    command = [sys.executable, "-m", "asyncq", "worker", "contestant:mux", *flags]
    os.execv(command[0], [*command, "--redis", given.redis, "--log-level", "warning"])


async def enqueue_serial(given: Arguments, client: Client) -> None:
    await protocol.serial(lambda: client.enqueue(Task("noop", PAYLOAD)), given.count)


async def enqueue_concurrent(given: Arguments, client: Client) -> None:
    def enqueue() -> Coroutine[Any, Any, object]:
        return client.enqueue(Task("noop", PAYLOAD))

    await protocol.concurrent(enqueue, given.count, given.in_flight)


async def enqueue_bulk(given: Arguments, client: Client) -> None:
    await _many(client, "noop", protocol.WARM_UP)
    with protocol.measured(given.count):
        await _many(client, "noop", given.count)


async def fill(given: Arguments, client: Client) -> None:
    await _many(client, given.workload, given.count)
    protocol.answer(count=given.count)


async def _many(client: Client, workload: str, count: int) -> None:
    for first in range(0, count, BULK):
        size = min(BULK, count - first)
        await client.enqueue_many(Task(workload, PAYLOAD) for _ in range(size))


async def produce_stamped(given: Arguments, client: Client) -> None:
    await protocol.produce_stamped(lambda payload: client.enqueue(Task("stamp", payload)), given)


async def produce_delayed(given: Arguments, client: Client) -> None:
    await protocol.produce_delayed(
        lambda payload, seconds: client.enqueue(Task("stamp", payload), process_in=seconds),
        given,
    )


PRODUCERS = {
    "enqueue-serial": enqueue_serial,
    "enqueue-concurrent": enqueue_concurrent,
    "enqueue-bulk": enqueue_bulk,
    "fill": fill,
    "produce-stamped": produce_stamped,
    "produce-delayed": produce_delayed,
}


async def produce(given: Arguments) -> None:
    async with Client(given.redis) as client:
        await PRODUCERS[given.action](given, client)


def main() -> None:
    given = protocol.arguments()
    if given.action == "info":
        info()
    elif given.action == "work":
        work(given)
    else:
        uvloop.run(produce(given))


if __name__ == "__main__":
    main()
