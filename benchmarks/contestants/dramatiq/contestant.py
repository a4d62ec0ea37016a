"""dramatiq: a process of threads; one more thread fetches for them, by one Lua script."""

from __future__ import annotations

import logging
import signal

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from benchmarks.contestants._cli import BlockingLibrary, Payload, main
from benchmarks.contestants.protocol import Arguments, Workloads


class Dramatiq(BlockingLibrary):
    kind = "threads"
    distribution = "dramatiq"
    configuration = (
        "threads = concurrency, prefetch twice that (default), default middleware, no results; "
        "worker_timeout=1000 ms, up to which an idle worker backs off, is the default and stays"
    )
    bulk_size = 100
    actors: dict[str, dramatiq.Actor[[Payload], None]]

    def open(self, given: Arguments) -> None:
        self.broker = _broker(given.redis, given.in_flight)
        self.actors = _actors(self.broker, Workloads(None))

    def enqueue(self, task: str, payload: Payload) -> object:
        return self.actors[task].send(payload)

    def enqueue_in(self, task: str, payload: Payload, seconds: float) -> object:
        return self.actors[task].send_with_options(args=(payload,), delay=round(seconds * 1000))

    def enqueue_many(self, task: str, payloads: list[Payload]) -> object:
        actor = self.actors[task]
        return dramatiq.group([actor.message(load) for load in payloads], broker=self.broker).run()

    def work(self, given: Arguments, workloads: Workloads) -> None:
        logging.basicConfig(level=logging.WARNING)
        broker = _broker(given.redis, given.concurrency)
        _actors(broker, workloads)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # in all threads of the worker
        worker = dramatiq.Worker(broker, worker_threads=given.concurrency)
        worker.start()
        signal.sigwait({signal.SIGTERM})
        worker.stop()


def _broker(url: str, threads: int) -> RedisBroker:
    # redis-py 8 opens 100 at most, of which consumers of dramatiq need some too.
    return RedisBroker(url=f"{url}?max_connections={threads + 10}")


def _actors(
    broker: RedisBroker, workloads: Workloads
) -> dict[str, dramatiq.Actor[[Payload], None]]:
    def noop(payload: Payload) -> None:
        workloads.noop()

    def sleep10(payload: Payload) -> None:
        workloads.sleep10_blocking()

    def stamp(payload: Payload) -> None:
        workloads.stamp(payload["ns"])

    dramatiq.set_broker(broker)
    return {each.__name__: dramatiq.actor(each, broker=broker) for each in (noop, sleep10, stamp)}


if __name__ == "__main__":
    main(Dramatiq())
