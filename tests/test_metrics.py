"""What Prometheus is shown: of queues, with asynq's names, and of workers."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from redis.asyncio import Redis
from redis_servers import RedisServer
from scraping import get, labels, samples, types
from serving import Working
from waiting import until

from asyncq import Client, Inspector, Task
from asyncq.metrics import QueueMetrics, WorkerMetrics
from asyncq.metrics.http import Page, PageServer, exposition, verdict
from asyncq.statistics import FAMILIES

# Wire format, section 19.
OF_ASYNQ = {
    "asynq_tasks_enqueued_total": "gauge",
    "asynq_queue_size": "gauge",
    "asynq_queue_latency_seconds": "gauge",
    "asynq_queue_memory_usage_approx_bytes": "gauge",
    "asynq_tasks_processed_total": "counter",
    "asynq_tasks_failed_total": "counter",
    "asynq_queue_paused_total": "gauge",
}
OF_OURS = {
    "asyncq_redis_up": "gauge",
    "asyncq_queue_aggregating": "gauge",
    "asyncq_queue_groups": "gauge",
    "asyncq_queue_servers": "gauge",
    "asyncq_servers_concurrency": "gauge",
    "asyncq_servers_busy": "gauge",
}


@pytest.fixture
def redis_server(start_redis: Callable[..., RedisServer]) -> RedisServer:
    """A server of one's own: all queues of it are shown."""
    return start_redis()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def queues(redis_url: str, registry: CollectorRegistry) -> Iterator[QueueMetrics]:
    collector = QueueMetrics(redis_url)
    registry.register(collector)
    yield collector
    collector.close()


async def scrape(registry: CollectorRegistry) -> str:
    return (await asyncio.to_thread(generate_latest, registry)).decode()


# Queues


async def test_names_labels_and_types_are_those_of_asynq(
    client: Client, queues: QueueMetrics, registry: CollectorRegistry
) -> None:
    await client.enqueue(Task("t"), queue="a")
    text = await scrape(registry)
    assert types(text) == OF_ASYNQ | OF_OURS
    states = samples(text, "asynq_tasks_enqueued_total")
    assert states.keys() == {
        labels(queue="a", state=state)
        for state in ("active", "pending", "scheduled", "retry", "archived", "completed")
    }
    for name in OF_ASYNQ.keys() - {"asynq_tasks_enqueued_total"}:
        assert samples(text, name).keys() == {labels(queue="a")}


async def test_queues_are_shown_as_they_are(
    client: Client, inspector: Inspector, queues: QueueMetrics, registry: CollectorRegistry
) -> None:
    await client.enqueue(Task("t"), queue="a")
    await client.enqueue(Task("t"), queue="a", process_in=3600)
    await client.enqueue(Task("t"), queue="a", group="g")
    info = await client.enqueue(Task("t"), queue="b")
    await inspector.archive_task("b", info.id)
    await inspector.pause_queue("b")
    text = await scrape(registry)
    found = samples(text, "asynq_tasks_enqueued_total")
    assert {labels for labels, value in found.items() if value} == {
        labels(queue="a", state="pending"),
        labels(queue="a", state="scheduled"),
        labels(queue="b", state="archived"),
    }
    a, b = labels(queue="a"), labels(queue="b")
    assert samples(text, "asynq_queue_size") == {a: 3, b: 1}
    assert samples(text, "asyncq_queue_aggregating") == {a: 1, b: 0}
    assert samples(text, "asyncq_queue_groups") == {a: 1, b: 0}
    assert samples(text, "asynq_queue_paused_total") == {a: 0, b: 1}
    assert samples(text, "asyncq_queue_servers") == {a: 0, b: 0}
    latency = samples(text, "asynq_queue_latency_seconds")
    assert latency[a] > 0
    assert latency[b] == 0
    assert samples(text, "asynq_queue_memory_usage_approx_bytes")[a] > 0
    assert samples(text, "asyncq_redis_up") == {frozenset(): 1}


async def test_what_was_processed_and_who_works_is_shown(
    working: Working, queues: QueueMetrics, registry: CollectorRegistry
) -> None:
    async def fails(task: Task) -> None:
        raise ValueError("no")

    async with working(fails, concurrency=7) as work:
        await work.enqueue("t", max_retry=0)
        await work.counted(1, 1)
        queue = labels(queue=work.queue)
        text = ""

        async def listed() -> bool:
            nonlocal text
            text = await scrape(registry)
            return samples(text, "asyncq_queue_servers") == {queue: 1}

        await until(listed, lambda: text)
        assert samples(text, "asynq_tasks_processed_total") == {queue: 1}
        assert samples(text, "asynq_tasks_failed_total") == {queue: 1}
        assert samples(text, "asyncq_servers_concurrency") == {frozenset(): 7}
        assert samples(text, "asyncq_servers_busy") == {frozenset(): 0}


async def test_without_redis_nothing_is_shown_but_that(
    redis_server: RedisServer,
    client: Client,
    queues: QueueMetrics,
    registry: CollectorRegistry,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await client.enqueue(Task("t"), queue="a")
    assert samples(await scrape(registry), "asynq_queue_size")
    redis_server.stop()
    for _ in range(2):
        text = await scrape(registry)
        assert types(text) == {"asyncq_redis_up": "gauge"}
        assert samples(text, "asyncq_redis_up") == {frozenset(): 0}
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    redis_server.start()
    text = await scrape(registry)
    assert samples(text, "asyncq_redis_up") == {frozenset(): 1}


async def test_a_redis_that_does_not_answer_in_time_counts_as_away(
    redis: Redis, redis_url: str, registry: CollectorRegistry
) -> None:
    collector = QueueMetrics(redis_url, timeout=0.2)
    registry.register(collector)
    # Scripts wait, as they may write; the end of the pause does not.
    await redis.client_pause(60_000, all=False)
    try:
        text = await scrape(registry)
        assert samples(text, "asyncq_redis_up") == {frozenset(): 0}
    finally:
        await redis.client_unpause()
    await asyncio.to_thread(collector.close)


def test_registering_asks_nobody(registry: CollectorRegistry) -> None:
    collector = QueueMetrics("redis://127.0.0.1:1/0")
    registry.register(collector)
    collector.close()


async def test_a_client_cannot_be_shared_with_a_thread(client: Client) -> None:
    with pytest.raises(TypeError, match="give it the same URL"):
        QueueMetrics(client)


# Workers


async def test_workers_show_every_family(working: Working, registry: CollectorRegistry) -> None:
    async def works(task: Task) -> None:
        return

    metrics = WorkerMetrics(registry)
    async with working(works, statistics=metrics) as work:
        await work.enqueue("email:deliver")
        done = labels(queue=work.queue, type="email:deliver", outcome="succeeded")
        text = ""

        async def counted() -> bool:
            nonlocal text
            text = await scrape(registry)
            return samples(text, "asyncq_worker_attempts_total") == {done: 1}

        await until(counted, lambda: text)
        shown = types(text)
        assert shown == {
            f"{family.name}_total" if family.kind == "counter" else family.name: family.kind
            for family in FAMILIES
        }
        of_type = labels(queue=work.queue, type="email:deliver")
        assert samples(text, "asyncq_worker_attempt_duration_seconds_count") == {of_type: 1}
        buckets = samples(text, "asyncq_worker_attempt_duration_seconds_bucket")
        assert buckets[of_type | labels(le="+Inf")] == 1
        assert sorted(buckets.values()) == list(buckets.values())  # cumulated
        assert samples(text, "asyncq_worker_concurrency") == {frozenset(): 10}
        assert samples(text, "asyncq_worker_ready") == {frozenset(): 1}


def test_a_registry_shows_worker_metrics_once(registry: CollectorRegistry) -> None:
    metrics = WorkerMetrics(registry)
    with pytest.raises(ValueError, match="Duplicated"):
        WorkerMetrics(registry)
    metrics.unregister()
    WorkerMetrics(registry)


# Pages


@pytest.fixture
def pages(registry: CollectorRegistry) -> Iterator[PageServer]:
    def broken(accept: str) -> Page:
        raise ValueError("no")

    WorkerMetrics(registry)
    server = PageServer(
        "127.0.0.1",
        0,
        {
            "/metrics": exposition(registry),
            "/healthz": lambda _: verdict(""),
            "/readyz": lambda _: verdict("it is starting"),
            "/broken": broken,
        },
    )
    server.start()
    yield server
    server.close()


async def test_pages_are_served(pages: PageServer) -> None:
    assert await get(pages.port, "/healthz") == (200, "ok\n")
    assert await get(pages.port, "/readyz") == (503, "it is starting\n")
    assert await get(pages.port, "/else") == (404, "one of /metrics, /healthz, /readyz, /broken\n")
    status, text = await get(pages.port, "/metrics?name[]=x")
    assert status == 200
    assert "asyncq_worker_busy_slots 0.0" in text


async def test_metrics_come_in_the_form_that_is_asked_for(pages: PageServer) -> None:
    _, text = await get(pages.port, "/metrics", accept="application/openmetrics-text")
    assert text.endswith("# EOF\n")


async def test_a_page_that_fails_is_an_error_and_the_others_go_on(pages: PageServer) -> None:
    assert await get(pages.port, "/broken") == (500, "see the log\n")
    assert await get(pages.port, "/healthz") == (200, "ok\n")


async def test_a_client_that_says_nothing_holds_up_nobody(pages: PageServer) -> None:
    with socket.create_connection(("127.0.0.1", pages.port)):
        assert await get(pages.port, "/healthz") == (200, "ok\n")


def test_a_port_that_is_taken_is_an_error(pages: PageServer) -> None:
    with pytest.raises(OSError, match="in use"):
        PageServer("127.0.0.1", pages.port, {})


async def test_all_addresses_of_the_machine_are_listened_on() -> None:
    server = PageServer("", 0, {"/healthz": lambda _: verdict("")})
    server.start()
    try:
        assert await get(server.port, "/healthz") == (200, "ok\n")
    finally:
        server.close()
