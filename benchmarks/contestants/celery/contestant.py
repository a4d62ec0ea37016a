"""Celery: a process of one kind or another beside the one that fetches, through kombu."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery, Task

from benchmarks.contestants._cli import BlockingLibrary, Payload, main
from benchmarks.contestants.protocol import Arguments, Workloads


class CeleryLibrary(BlockingLibrary):
    kind = "processes"
    distribution = "celery"
    client = ("kombu", "redis", "hiredis")
    configuration = (
        "prefork pool of one process per core (at most concurrency), and a pool of as many threads "
        "as concurrency where tasks wait; task_ignore_result, worker_prefetch_multiplier=4 and "
        "early acknowledgement (defaults: a dead worker loses what it runs), no events, gossip, "
        "mingle or heartbeat; in bulk by kombu's Producer.batch()"
    )
    bulk_size = 1000  # what kombu sends at once by default

    def open(self, given: Arguments) -> None:
        self.app = _app(given.redis, given.in_flight)
        self.tasks = _tasks(self.app, Workloads(None))

    def enqueue(self, task: str, payload: Payload) -> object:
        return self.tasks[task].apply_async((payload,))

    def enqueue_in(self, task: str, payload: Payload, seconds: float) -> object:
        return self.tasks[task].apply_async((payload,), countdown=seconds)

    def enqueue_many(self, task: str, payloads: list[Payload]) -> object:
        apply = self.tasks[task].apply_async
        with self.app.producer_pool.acquire(block=True) as producer, producer.batch():
            for payload in payloads:
                apply((payload,), producer=producer)
        return None

    def work(self, given: Arguments, workloads: Workloads) -> None:
        app = _app(given.redis, given.concurrency)
        _tasks(app, workloads)
        # Children of Celery's default pool run one task at a time: more of them than cores help
        # only tasks that wait, for which threads are cheaper.
        if given.workload == "sleep10":
            pool, size = "threads", given.concurrency
        else:
            pool, size = "prefork", min(os.cpu_count() or 1, given.concurrency)
        app.worker_main(
            [
                *("worker", f"--pool={pool}", f"--concurrency={size}", "--loglevel=WARNING"),
                *("--without-gossip", "--without-mingle", "--without-heartbeat"),
                *(f"--hostname=bench{given.slot}@%h",),
            ]
        )


def _app(url: str, connections: int) -> Celery:
    app = Celery("bench", broker=url)
    app.conf.update(
        broker_connection_retry_on_startup=True,
        broker_pool_limit=connections,
        task_ignore_result=True,
        task_default_queue="bench",
    )
    return app


def _tasks(app: Celery, workloads: Workloads) -> dict[str, Task[Any, Any]]:
    def noop(payload: Payload) -> None:
        workloads.noop()

    def sleep10(payload: Payload) -> None:
        workloads.sleep10_blocking()

    def stamp(payload: Payload) -> None:
        workloads.stamp(payload["ns"])

    return {each.__name__: app.task(name=each.__name__)(each) for each in (noop, sleep10, stamp)}


if __name__ == "__main__":
    main(CeleryLibrary())
