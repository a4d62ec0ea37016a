"""arq: jobs are strings in Redis, their ids in a sorted set that workers poll."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import Any

import uvloop
from arq.connections import ArqRedis, RedisSettings, create_pool
from arq.worker import Worker

from benchmarks.contestants._cli import AsyncioLibrary, Payload, main
from benchmarks.contestants.protocol import Arguments, Workloads


class Arq(AsyncioLibrary):
    distribution = "arq"
    configuration = (
        "max_jobs=concurrency, keep_result=0, log_results=False; poll_delay=0.5 s is the default "
        "and stays: less would trade idle load for latency, and drains no faster"
    )
    no_bulk = "arq has no call that enqueues several jobs"
    producer: ArqRedis

    async def open(self, given: Arguments) -> None:
        self.producer = await create_pool(RedisSettings.from_dsn(given.redis))

    async def close(self) -> None:
        await self.producer.aclose()

    async def enqueue(self, task: str, payload: Payload) -> object:
        return await self.producer.enqueue_job(task, payload)

    async def enqueue_in(self, task: str, payload: Payload, seconds: float) -> object:
        delay = timedelta(seconds=seconds)
        return await self.producer.enqueue_job(task, payload, _defer_by=delay)

    def work(self, given: Arguments, workloads: Workloads) -> None:
        async def noop(_: dict[str, Any], payload: Payload) -> None:
            workloads.noop()

        async def sleep10(_: dict[str, Any], payload: Payload) -> None:
            await workloads.sleep10()

        async def stamp(_: dict[str, Any], payload: Payload) -> None:
            workloads.stamp(payload["ns"])

        logging.basicConfig(level=logging.WARNING)
        asyncio.set_event_loop(uvloop.new_event_loop())  # the worker takes the one that is set
        for handler in (noop, sleep10, stamp):
            handler.__qualname__ = handler.__name__
        worker = Worker(
            functions=[noop, sleep10, stamp],
            redis_settings=RedisSettings.from_dsn(given.redis),
            max_jobs=given.concurrency,
            keep_result=0,
            log_results=False,
        )
        worker.run()


if __name__ == "__main__":
    main(Arq())
