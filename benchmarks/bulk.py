"""Run, archive and delete of a million tasks at once: how long Redis was held up, and how much
memory the caller took.

    python -m benchmarks.bulk

The longest script call is what Redis itself measured (its slow log), with its log rewriting
switched off. A plain command takes microseconds: where the longest of those took milliseconds,
the machine held Redis up, and script calls just as well. "of a half" acts on the tasks of one type
among two, mixed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import Redis as SyncRedis
from redis.asyncio import Redis

from asyncq import Client, Inspector, Task, TaskFilter
from asyncq.devredis import DevRedis, ensure
from asyncq.devredis.keeper import is_free

QUEUE = "default"
AT_ONCE = 10_000
# Not less: to forget thousands of entries of its slow log takes Redis longer than what is measured.
NOTED_US = 5000
HALF = TaskFilter(type="odd")
_NOT_PLAIN = (b"EVAL", b"SLOWLOG", b"CONFIG", b"INFO", b"L")  # commands on lists may be long


class Resident:
    """The caller's memory, sampled as the work goes on."""

    def __init__(self) -> None:
        self.first = self.most = self.now()
        self._looked = 0

    def look(self, done: int) -> None:
        if done - self._looked >= 20_000:
            self._looked = done
            self.most = max(self.most, self.now())

    @staticmethod
    def now() -> float:
        command = ["ps", "-o", "rss=", "-p", str(os.getpid())]
        return int(subprocess.run(command, capture_output=True, check=True).stdout) / 1024


@dataclass(frozen=True)
class Bench:
    redis: Any
    inspector: Inspector
    rows: dict[str, str]

    async def measure(
        self,
        name: str,
        work: Callable[..., Awaitable[int]],
        state: str,
        only: TaskFilter | None = None,
    ) -> None:
        await self.redis.slowlog_reset()
        await self.redis.config_resetstat()
        memory, start = Resident(), time.monotonic()
        count = await work(QUEUE, state, filter=only, on_progress=memory.look)
        took, memory.most = time.monotonic() - start, max(memory.most, memory.now())
        noted = await self.redis.slowlog_get(-1)
        longest = [e["duration"] / 1000 for e in noted if e["command"].startswith(b"EVAL")]
        calls = (await self.redis.info("commandstats"))["cmdstat_evalsha"]["calls"]
        plain = [e["duration"] / 1000 for e in noted if not e["command"].startswith(_NOT_PLAIN)]
        worst = f"{max(longest):5.1f}" if longest else f"<{NOTED_US / 1000:4.1f}"
        self.rows[name] = (
            f"{count:9,} in {took:5.1f} s   longest {worst} ms,"
            f" {sum(ms > 10 for ms in longest)} of {calls:,} over 10 ms"
            f" (a plain command {max(plain, default=0):.1f} ms)   caller"
            f" {memory.first:.0f} to {memory.most:.0f} MiB"
        )
        print(name, self.rows[name], flush=True)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1_000_000)
    total: int = parser.parse_args().tasks
    with _own_redis() as server:
        async with (
            Redis.from_url(server.url, socket_timeout=None) as redis,
            Client(server.url) as client,
            Inspector(client) as inspector,
        ):
            await _before_others(redis)
            print(f"enqueueing {total:,} tasks for tomorrow ...", flush=True)
            await _fill(client, total)
            # A fork of Redis makes every page that is written next a fault, whoever writes it.
            await redis.config_set("auto-aof-rewrite-percentage", 0)
            await redis.config_set("slowlog-log-slower-than", NOTED_US)
            await redis.config_set("slowlog-max-len", 100_000)
            bench = Bench(redis, inspector, {})
            await _all(bench)
        _print(bench.rows, server)


@contextmanager
def _own_redis() -> Generator[DevRedis]:
    """A development Redis, which keeps a log; it and its data are gone in the end."""
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


async def _before_others(redis: Any) -> None:
    """Where that is allowed, let other processes wait, not Redis: it is what is measured."""
    pid = (await redis.info("server"))["process_id"]
    try:
        os.sched_setscheduler(pid, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    except (AttributeError, PermissionError):  # not Linux, or not root
        print("other processes of this machine may hold Redis up: cannot go before them")


async def _fill(client: Client, total: int) -> None:
    for first in range(0, total, AT_ONCE):
        await client.enqueue_many(
            (
                Task("odd" if n % 2 else "even", b"x" * 100)
                for n in range(first, min(first + AT_ONCE, total))
            ),
            process_in=86_400,
        )


async def _all(bench: Bench) -> None:
    inspector, measure = bench.inspector, bench.measure
    await measure("run scheduled", inspector.run_all, "scheduled")
    await measure("archive pending", inspector.archive_all, "pending")
    await measure("run archived", inspector.run_all, "archived")
    await measure("archive pending, of a half", inspector.archive_all, "pending", HALF)
    await measure("run archived, of a half", inspector.run_all, "archived", HALF)
    await measure("delete pending, of a half", inspector.delete_all, "pending", HALF)
    await measure("delete pending, the rest", inspector.delete_all, "pending")


def _print(rows: dict[str, str], server: DevRedis) -> None:
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}"
    print(f"\n{machine}, Python {platform.python_version()}, {server.name} {server.version}\n")
    for name, value in rows.items():
        print(f"  {name:44}  {value}")


if __name__ == "__main__":
    asyncio.run(main())
