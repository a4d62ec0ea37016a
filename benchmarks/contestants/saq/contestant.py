"""SAQ: one task per unit of concurrency, each blocked in BLMOVE on a connection of its own."""

from __future__ import annotations

import logging
import time
from typing import Any

from saq import Queue, Worker

from benchmarks.contestants._cli import AsyncioLibrary, Payload, main, run
from benchmarks.contestants.protocol import Arguments, Workloads


class Saq(AsyncioLibrary):
    distribution = "saq"
    configuration = (
        "concurrency as given, ttl=-1 (nothing is kept), max_concurrent_ops as many as calls in "
        "flight or tasks, timers as they are (delayed jobs are looked for once a second)"
    )
    no_bulk = "SAQ's map() and apply() enqueue job by job and wait for results"
    producer: Queue

    async def open(self, given: Arguments) -> None:
        self.producer = _queue(given.redis, given.in_flight)
        await self.producer.connect()

    async def close(self) -> None:
        await self.producer.disconnect()

    async def enqueue(self, task: str, payload: Payload) -> object:
        return await self.producer.enqueue(task, payload=payload, ttl=-1)

    async def enqueue_in(self, task: str, payload: Payload, seconds: float) -> object:
        due = time.time() + seconds
        return await self.producer.enqueue(task, payload=payload, ttl=-1, scheduled=due)

    def work(self, given: Arguments, workloads: Workloads) -> None:
        async def noop(_: dict[str, Any], payload: Payload) -> None:
            workloads.noop()

        async def sleep10(_: dict[str, Any], payload: Payload) -> None:
            await workloads.sleep10()

        async def stamp(_: dict[str, Any], payload: Payload) -> None:
            workloads.stamp(payload["ns"])

        async def sweep_first(context: dict[str, Any]) -> None:
            # The first sweep would run beside the first dequeues, and take a job that was just
            # dequeued for one whose worker has died.
            await context["worker"].queue.sweep()

        async def serve() -> None:
            queue = _queue(given.redis, given.concurrency)
            functions = [("noop", noop), ("sleep10", sleep10), ("stamp", stamp)]
            worker = Worker(queue, functions, concurrency=given.concurrency, startup=sweep_first)
            await queue.connect()
            await worker.start()
            await queue.disconnect()

        logging.basicConfig(level=logging.WARNING)
        run(serve())


def _queue(url: str, operations: int) -> Queue:
    return Queue.from_url(url, name="bench", max_concurrent_ops=max(20, operations))


if __name__ == "__main__":
    main(Saq())
