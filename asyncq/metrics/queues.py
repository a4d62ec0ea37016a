"""What Redis knows of queues, with the names and labels of asynq's exporter."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from asyncq import (
    Client,
    Inspector,
    QueueInfo,
    QueueNotFoundError,
    RedisError,
    RedisReplyError,
    ServerInfo,
)
from asyncq.client import RedisSource

_log = logging.getLogger("asyncq")

_STATES = ("active", "pending", "scheduled", "retry", "archived", "completed")
_AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class _Seen:
    """What one scrape found."""

    queues: Sequence[QueueInfo]
    forbidden: Sequence[str]
    """The names of queues that this user of Redis may not look at."""
    servers: Sequence[ServerInfo]


class QueueMetrics(Collector):
    """Shows all queues, as Redis has them at each scrape; register it once.

        REGISTRY.register(QueueMetrics("redis://localhost:6379/0"))

    `redis` is what `Client` takes, but for a `Client`, whose connections belong to another event
    loop (`TypeError`): scrapes come in any thread, and are answered by a thread with a loop and a
    connection of its own. `close` ends it.

    When Redis does not answer within `timeout` seconds, or any queue cannot be read,
    `asyncq_redis_up` is 0 and nothing else is shown: no old numbers, and not half of them. Queues
    that its user of Redis has no rights to are left out, and named in the log.
    """

    def __init__(self, redis: RedisSource | None = None, *, timeout: float = 8) -> None:
        if isinstance(redis, Client):
            raise TypeError(
                "QueueMetrics cannot share the connections of a Client: give it the same URL"
            )
        self._redis = redis
        self._timeout = timeout
        self.where = Client(redis).where  # what is wrong with the source is said now
        """The address of Redis, without secrets."""
        self._lock = threading.Lock()
        self._reader: _Reader | None = None
        self._complained = False
        self._left_out: Sequence[str] = ()

    def describe(self) -> Iterator[Metric]:
        """The names, without asking Redis."""
        yield from _metrics(None)

    def collect(self) -> Iterator[Metric]:
        """All queues now."""
        seen: _Seen | None = None
        try:
            seen = self._read()
            self._complained = False
            self._tell(seen.forbidden)
        except (RedisError, TimeoutError) as error:
            if not self._complained:
                what = error if isinstance(error, RedisError) else f"no answer from {self.where}"
                _log.warning("metrics: %s", what)
            self._complained = True
        up = GaugeMetricFamily("asyncq_redis_up", "Whether the queues could be read.")
        up.add_metric((), int(seen is not None))
        yield up
        if seen is not None:
            yield from _metrics(seen)

    def close(self) -> None:
        """End the thread and its connection. Safe to call again."""
        with self._lock:
            reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    def _tell(self, forbidden: Sequence[str]) -> None:
        if forbidden and forbidden != self._left_out:
            names = ", ".join(map(repr, forbidden))
            _log.warning(
                "metrics: without %s: this user of Redis has no rights to look there", names
            )
        self._left_out = forbidden

    def _read(self) -> _Seen:
        with self._lock:
            if self._reader is None:
                self._reader = _Reader(self._redis)
            reader = self._reader
        future = reader.ask()
        try:
            return future.result(self._timeout)
        finally:
            future.cancel()


class _Reader:
    """A thread with an event loop and an inspector."""

    def __init__(self, redis: RedisSource | None) -> None:
        self._loop = asyncio.new_event_loop()
        self._inspector = Inspector(redis)
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="asyncq-metrics", daemon=True
        )
        self._thread.start()

    def ask(self) -> Future[_Seen]:
        return asyncio.run_coroutine_threadsafe(_look(self._inspector), self._loop)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._inspector.aclose(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _look(inspector: Inspector) -> _Seen:
    """All at once, so that one scrape takes a few round trips however many queues there are."""
    places, forbidden = asyncio.Semaphore(_AT_ONCE), list[str]()

    async def queue(name: str) -> QueueInfo | None:
        async with places:
            try:
                return await inspector.queue_info(name)
            except QueueNotFoundError:
                return None  # deleted since its name was read
            except RedisReplyError as error:
                if error.code != "NOPERM":
                    raise
                forbidden.append(name)
                return None

    names, servers = await inspector.queues(), await inspector.servers()
    queues = await asyncio.gather(*map(queue, names))
    return _Seen([queue for queue in queues if queue is not None], sorted(forbidden), servers)


def _metrics(seen: _Seen | None) -> Iterator[Metric]:
    """asynq's, then ours. Names end as asynq's do, which is not what Prometheus advises."""
    queues = seen.queues if seen else ()
    states = GaugeMetricFamily(
        "asynq_tasks_enqueued_total", "Tasks in a queue, by state.", labels=("queue", "state")
    )
    size = _gauge("asynq_queue_size", "Tasks in a queue, in whatever state.")
    latency = _gauge("asynq_queue_latency_seconds", "How long the next task has been pending.")
    memory = _gauge("asynq_queue_memory_usage_approx_bytes", "Memory, estimated from samples.")
    paused = _gauge("asynq_queue_paused_total", "1 if the queue is paused, else 0.")
    aggregating = _gauge("asyncq_queue_aggregating", "Tasks in groups, of which one is made.")
    groups = _gauge("asyncq_queue_groups", "Groups of tasks.")
    processed = CounterMetricFamily(
        "asynq_tasks_processed", "Attempts that ended, failed ones too.", labels=("queue",)
    )
    failed = CounterMetricFamily("asynq_tasks_failed", "Attempts that failed.", labels=("queue",))
    for info in queues:
        label = (info.queue,)
        for state in _STATES:
            states.add_metric((info.queue, state), getattr(info, state))
        size.add_metric(label, info.size)
        latency.add_metric(label, info.latency.total_seconds())
        memory.add_metric(label, info.memory_usage)
        paused.add_metric(label, int(info.paused))
        aggregating.add_metric(label, info.aggregating)
        groups.add_metric(label, info.groups)
        processed.add_metric(label, info.processed_total)
        failed.add_metric(label, info.failed_total)
    yield from (states, size, latency, memory, processed, failed, paused, aggregating, groups)
    yield from _server_metrics(seen)


def _server_metrics(seen: _Seen | None) -> Iterator[Metric]:
    servers = seen.servers if seen else ()
    working = Counter(
        queue for server in servers if server.status == "active" for queue in server.queues
    )
    known = {info.queue for info in seen.queues} | set(working) if seen else ()
    on_queue = _gauge("asyncq_queue_servers", "Servers that take tasks of a queue, Go's too.")
    for queue in sorted(known):
        on_queue.add_metric((queue,), working[queue])
    yield on_queue
    slots = GaugeMetricFamily("asyncq_servers_concurrency", "Tasks that all servers may run.")
    busy = GaugeMetricFamily("asyncq_servers_busy", "Tasks that all servers run.")
    if seen:
        slots.add_metric((), sum(server.concurrency for server in servers))
        busy.add_metric((), sum(server.active_worker_count for server in servers))
    yield from (slots, busy)


def _gauge(name: str, help: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, help, labels=("queue",))
