"""rq: a worker runs one job at a time."""

from __future__ import annotations

import functools
from datetime import timedelta

from redis import Redis
from rq import Queue, SimpleWorker

from benchmarks.contestants._cli import BlockingLibrary, Payload, main
from benchmarks.contestants.protocol import Arguments, Workloads


class Rq(BlockingLibrary):
    kind = "processes"
    distribution = "rq"
    configuration = (
        "SimpleWorker (runs jobs in its own process; the default one forks for each, and is far "
        "slower), one job at a time whatever the concurrency, result_ttl=0, no job descriptions; "
        "the first worker also starts the scheduler, which delayed jobs need, once a second"
    )
    bulk_size = 1000
    queue: Queue

    def open(self, given: Arguments) -> None:
        connection = Redis.from_url(given.redis, max_connections=given.in_flight + 10)
        self.queue = Queue("bench", connection=connection)

    def enqueue(self, task: str, payload: Payload) -> object:
        return self.queue.enqueue_call(
            f"contestant.{task}", (payload,), result_ttl=0, description=task
        )

    def enqueue_in(self, task: str, payload: Payload, seconds: float) -> object:
        return self.queue.enqueue_in(
            timedelta(seconds=seconds), f"contestant.{task}", payload, result_ttl=0
        )

    def enqueue_many(self, task: str, payloads: list[Payload]) -> object:
        return self.queue.enqueue_many(
            Queue.prepare_data(f"contestant.{task}", (load,), result_ttl=0, description=task)
            for load in payloads
        )

    def work(self, given: Arguments, workloads: Workloads) -> None:
        connection = Redis.from_url(given.redis)
        worker = SimpleWorker(
            [Queue("bench", connection=connection)],
            connection=connection,
            log_job_description=False,
        )
        worker.work(logging_level="WARNING", with_scheduler=given.slot == 0)


# What jobs name, as functions of the module `contestant`: rq imports it.


@functools.cache
def _workloads() -> Workloads:
    return Workloads.from_environment()


def noop(payload: Payload) -> None:
    _workloads().noop()


def sleep10(payload: Payload) -> None:
    _workloads().sleep10_blocking()


def stamp(payload: Payload) -> None:
    _workloads().stamp(payload["ns"])


if __name__ == "__main__":
    main(Rq())
