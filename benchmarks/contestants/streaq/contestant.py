"""streaQ: a stream per priority, scripts as Redis functions, anyio."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

from streaq import Worker

from benchmarks.contestants._cli import AsyncioLibrary, Payload, main
from benchmarks.contestants.protocol import Arguments, Workloads


class Streaq(AsyncioLibrary):
    distribution = "streaq"
    client = ("coredis",)
    configuration = (
        "concurrency as given, prefetch as much again (default), ttl=0 (no results), silent, uvloop"
    )
    bulk_size = 100

    def __init__(self) -> None:
        self.tasks: dict[str, Any] = {}
        self.stack = AsyncExitStack()

    async def open(self, given: Arguments) -> None:
        self.worker = self._worker(given, Workloads(None))
        await self.stack.enter_async_context(self.worker)

    async def close(self) -> None:
        await self.stack.aclose()

    async def enqueue(self, task: str, payload: Payload) -> object:
        return await self.tasks[task].enqueue(payload)

    async def enqueue_in(self, task: str, payload: Payload, seconds: float) -> object:
        return await self.tasks[task].enqueue(payload).start(delay=timedelta(seconds=seconds))

    async def enqueue_many(self, task: str, payloads: list[Payload]) -> object:
        registered = self.tasks[task]
        return await self.worker.enqueue_many([registered.enqueue(load) for load in payloads])

    def work(self, given: Arguments, workloads: Workloads) -> None:
        logging.basicConfig(level=logging.WARNING)
        self._worker(given, workloads).run_sync()

    def _worker(self, given: Arguments, workloads: Workloads) -> Worker[None]:
        worker: Worker[None] = Worker(
            given.redis,
            concurrency=given.concurrency,
            queue_name="bench",
            anyio_kwargs={"use_uvloop": True},
        )

        async def noop(payload: Payload) -> None:
            workloads.noop()

        async def sleep10(payload: Payload) -> None:
            await workloads.sleep10()

        async def stamp(payload: Payload) -> None:
            workloads.stamp(payload["ns"])

        for handler in (noop, sleep10, stamp):
            name = handler.__name__
            self.tasks[name] = worker.task(handler, name=name, silent=True, ttl=0)
        return worker


if __name__ == "__main__":
    main(Streaq())
