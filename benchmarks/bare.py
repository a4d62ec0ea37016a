"""What Redis and the event loop cost by themselves, without a queue: the floor of each measure.

    python -m benchmarks.bare ping|evalsha|coroutines --redis URL ...

Prints one line of JSON, as contestants do.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvloop
from redis.asyncio import Redis

from asyncq._broker.connection import Call, Connection
from benchmarks.contestants import protocol
from benchmarks.contestants.protocol import Workloads
from benchmarks.recording import words


def ping(url: str, count: int, interval_ms: float) -> None:
    """Round trips of a blocking socket, as far apart as the tasks of the pick-up measure."""
    address = urlsplit(url)
    taken: list[int] = []
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(count):
            time.sleep(interval_ms / 1000)
            start = time.perf_counter_ns()
            connection.sendall(b"*1\r\n$4\r\nPING\r\n")
            connection.recv(64)
            taken.append(time.perf_counter_ns() - start)
    protocol.answer(latencies_ns=taken)


async def ping_awaited(url: str, count: int, interval_ms: float) -> None:
    """The same by redis-py, from an event loop."""
    taken: list[int] = []
    redis: Any = Redis.from_url(url)
    for _ in range(count):
        await asyncio.sleep(interval_ms / 1000)
        start = time.perf_counter_ns()
        await redis.ping()
        taken.append(time.perf_counter_ns() - start)
    await redis.aclose()
    protocol.answer(latencies_ns=taken)


async def evalsha(url: str, recorded: list[str], client: str) -> None:
    """Says recorded script calls one after another, each awaited."""
    arguments = [words(bytes.fromhex(call)) for call in recorded]
    async with _spoken_by(client, url) as say:
        for args in arguments[: protocol.WARM_UP]:
            await say(args)
        left = arguments[protocol.WARM_UP :]
        with protocol.measured(len(left)):
            for args in left:
                await say(args)


@asynccontextmanager
async def _spoken_by(client: str, url: str) -> AsyncGenerator[Callable[[list[bytes]], Any]]:
    """A way to await one command: redis-py, or the connection that asyncq uses."""
    if client == "redis-py":
        redis: Any = Redis.from_url(url)
        yield lambda words: redis.execute_command(*words)
        await redis.aclose()
    else:
        connection = Connection.open(url)
        yield lambda words: connection.run_one(Call.command(words[0].decode(), *words[1:]))
        await connection.aclose()


async def coroutines(count: int, concurrency: int) -> None:
    """As many handlers at a time as a worker of that concurrency would run."""
    workloads = Workloads(None)
    await protocol.concurrent(workloads.sleep10, count, concurrency)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("ping", "evalsha", "coroutines"))
    parser.add_argument("--redis", default="redis://127.0.0.1:6379/0")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--interval-ms", type=float, default=20)
    parser.add_argument("--concurrency", type=int, default=100)
    parser.add_argument("--calls", type=Path)
    parser.add_argument("--client", choices=("socket", "redis-py", "asyncq"), default="redis-py")
    given = parser.parse_args()
    match given.what:
        case "ping" if given.client == "redis-py":
            uvloop.run(ping_awaited(given.redis, given.count, given.interval_ms))
        case "ping":
            ping(given.redis, given.count, given.interval_ms)
        case "evalsha":
            uvloop.run(evalsha(given.redis, json.loads(given.calls.read_text()), given.client))
        case _:
            uvloop.run(coroutines(given.count, given.concurrency))


if __name__ == "__main__":
    main()
