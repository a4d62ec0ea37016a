"""What the benchmarks share: a Redis and a worker process of their own, and figures."""

from __future__ import annotations

import asyncio
import math
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from redis import Redis as SyncRedis
from redis.asyncio import Redis

from asyncq.devredis import DevRedis, ensure
from asyncq.devredis.keeper import is_free

QUEUE = "default"
_HERE = Path(__file__).parent


@contextmanager
def own_redis() -> Generator[DevRedis]:
    """A development Redis; it and its data are gone in the end."""
    home = Path(tempfile.mkdtemp(prefix="asyncq-bench-"))
    try:
        with ensure(home) as server:
            yield server
            with SyncRedis.from_url(server.url) as redis:
                redis.shutdown(nosave=True)
        while not is_free(home / "keeper.lock"):
            time.sleep(0.02)
    finally:
        shutil.rmtree(home, ignore_errors=True)


@asynccontextmanager
async def worker(url: str, *flags: str) -> AsyncGenerator[int]:
    """The id of a worker process that is ready."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "asyncq", "worker", "bench_tasks:mux", "--redis", url),
        *("--log-level", "warning", *flags),
        cwd=_HERE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with Redis.from_url(url) as redis:
            while not await _any(redis).zcard("asynq:servers"):
                if process.returncode is not None:
                    raise RuntimeError("the worker did not start")
                await asyncio.sleep(0.02)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        await process.wait()


async def until_empty(redis: Redis) -> None:
    """Returns when no task of the queue is pending or running."""
    while sum([await count(redis, "pending"), await count(redis, "active")]):
        await asyncio.sleep(0.01)  # nobody tells


async def count(redis: Redis, state: str) -> int:
    """How many tasks of the queue are `pending` or `active`."""
    waiting: int = await _any(redis).llen(f"asynq:{{{QUEUE}}}:{state}")
    return waiting


async def result(redis: Redis, task_id: str) -> float:
    """The result of a retained task, a number, when it is there."""
    while True:
        state, value = await _any(redis).hmget(f"asynq:{{{QUEUE}}}:t:{task_id}", "state", "result")
        if state == b"completed":
            return float(value)
        await asyncio.sleep(0.005)


def percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def milliseconds(values: Sequence[float]) -> str:
    p50, p99 = percentile(values, 0.5) * 1000, percentile(values, 0.99) * 1000
    return f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, worst {max(values) * 1000:.1f} ms"


def print_table(rows: dict[str, str], server: DevRedis) -> None:
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}"
    print(f"\n{machine}, Python {platform.python_version()}, {server.name} {server.version}\n")
    for name, value in rows.items():
        print(f"  {name:44}  {value}")


def _any(redis: Redis) -> Any:
    return redis  # redis-py types its answers loosely
