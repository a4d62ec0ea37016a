"""huey: each thread pops for itself with BRPOP; what it has popped is lost if it dies."""

from __future__ import annotations

import logging

from huey import RedisHuey
from huey.api import TaskWrapper

from benchmarks.contestants._cli import BlockingLibrary, Payload, main
from benchmarks.contestants.protocol import Arguments, Workloads


class Huey(BlockingLibrary):
    kind = "threads"
    distribution = "huey"
    configuration = (
        "threads = concurrency, blocking pop (default), results=False, no periodic tasks; "
        "no acknowledgement: a dead worker loses its tasks; delayed tasks once a second"
    )
    no_bulk = "huey has no call that enqueues several tasks"
    tasks: dict[str, TaskWrapper]

    def open(self, given: Arguments) -> None:
        self.tasks = _tasks(_huey(given.redis, given.in_flight), Workloads(None))

    def enqueue(self, task: str, payload: Payload) -> object:
        return self.tasks[task](payload)

    def enqueue_in(self, task: str, payload: Payload, seconds: float) -> object:
        return self.tasks[task].schedule(args=(payload,), delay=seconds)

    def work(self, given: Arguments, workloads: Workloads) -> None:
        logging.basicConfig(level=logging.WARNING)
        huey = _huey(given.redis, given.concurrency)
        _tasks(huey, workloads)
        consumer = huey.create_consumer(
            workers=given.concurrency, periodic=False, graceful_signal="TERM"
        )
        consumer.run()


def _huey(url: str, threads: int) -> RedisHuey:
    # redis-py 8 opens 100 at most, of which the scheduler of huey needs one too.
    return RedisHuey("bench", url=f"{url}?max_connections={threads + 10}", results=False)


def _tasks(huey: RedisHuey, workloads: Workloads) -> dict[str, TaskWrapper]:
    def noop(payload: Payload) -> None:
        workloads.noop()

    def sleep10(payload: Payload) -> None:
        workloads.sleep10_blocking()

    def stamp(payload: Payload) -> None:
        workloads.stamp(payload["ns"])

    return {each.__name__: huey.task(name=each.__name__)(each) for each in (noop, sleep10, stamp)}


if __name__ == "__main__":
    main(Huey())
