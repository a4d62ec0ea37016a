"""Traces of tasks that schedulers and code without an event loop enqueue."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode
from redis.asyncio import Redis
from spans import SAMPLED, Spans, attributes, context_of, ids, links
from waiting import until

from asyncq import (
    DuplicateTaskError,
    EnqueueManyError,
    Inspector,
    PeriodicTask,
    PeriodicTaskManager,
    Scheduler,
    Task,
    TaskInfo,
)
from asyncq._broker import keys
from asyncq.otel import TracingSyncClient, schedule_trace


@pytest.fixture
def spans() -> Iterator[Spans]:
    spans = Spans()
    yield spans
    spans.provider.shutdown()


@pytest.fixture
def client(redis_url: str, spans: Spans) -> Iterator[TracingSyncClient]:
    with TracingSyncClient(redis_url, tracer_provider=spans.provider) as client:
        yield client


# Code without an event loop


async def test_a_blocking_enqueue_is_a_child_of_what_is_current_in_its_thread(
    client: TracingSyncClient, spans: Spans, queue: str
) -> None:
    tracer = spans.provider.get_tracer("test")

    def in_a_request(name: str) -> tuple[str, TaskInfo]:
        with tracer.start_as_current_span(name):
            return name, client.enqueue(Task("email:deliver", {"n": 1}), queue=queue)

    calls = [asyncio.to_thread(in_a_request, name) for name in ("one", "two")]
    infos = dict(await asyncio.gather(*calls))
    requests = {span.name: ids(span) for span in spans.all() if span.name in infos}
    assert len(spans.of("enqueue")) == 2
    for span in spans.of("enqueue"):
        assert span.parent is not None
        assert span.kind is SpanKind.PRODUCER
        assert span.name == f"enqueue {queue}"
        (request,) = [name for name, (_, own) in requests.items() if own == span.parent.span_id]
        assert context_of(infos[request]) == ids(span)
        assert attributes(span)["messaging.message.id"] == infos[request].id
        assert infos[request].payload == b'{"n":1}'


async def test_many_of_a_blocking_client_are_one_span(
    client: TracingSyncClient, spans: Spans, queue: str
) -> None:
    tasks = [Task("t", task_id=f"{queue}-{n}") for n in range(3)]
    infos = await asyncio.to_thread(client.enqueue_many, iter(tasks), queue=queue)
    (span,) = spans.of("enqueue")
    assert attributes(span)["messaging.batch.message_count"] == 3
    assert {context_of(info) for info in infos} == {ids(span)}
    with pytest.raises(EnqueueManyError):
        await asyncio.to_thread(client.enqueue_many, tasks, queue=queue)
    assert spans.of("enqueue")[1].status.status_code is StatusCode.ERROR


async def test_a_blocking_enqueue_that_fails_is_an_error_of_its_span(
    client: TracingSyncClient, spans: Spans, queue: str
) -> None:
    task = Task("t", unique=60, queue=queue)
    await asyncio.to_thread(client.enqueue, task)
    with pytest.raises(DuplicateTaskError):
        await asyncio.to_thread(client.enqueue, task)
    assert [span.status.status_code for span in spans.of("enqueue")] == [
        StatusCode.UNSET, StatusCode.ERROR,
    ]  # fmt: skip
    with pytest.raises(TypeError, match="enqueue takes a Task"):
        await asyncio.to_thread(client.enqueue, "t")  # type: ignore[arg-type]
    assert len(spans.of("enqueue")) == 2


# Schedulers


async def pending(redis: Redis, inspector: Inspector, queue: str, count: int) -> list[TaskInfo]:
    async def enough() -> Any:
        return await redis.llen(keys.pending(queue)) >= count

    await until(enough, f"{count} tasks")
    return await inspector.list_tasks(queue, "pending")


async def test_each_due_time_is_a_trace_that_its_task_carries(
    redis: Redis, inspector: Inspector, redis_url: str, spans: Spans, queue: str
) -> None:
    trace = schedule_trace(tracer_provider=spans.provider)
    scheduler = Scheduler(redis_url, trace=trace)
    task = Task("report", "yearly", headers={"tenant": "7"})
    scheduler.register("@every 1s", task, queue=queue, max_retry=2)
    with spans.provider.get_tracer("test").start_as_current_span("deployment"):
        # What is current here has nothing to do with what comes later.
        async with scheduler:
            await pending(redis, inspector, queue, 2)
    found = await inspector.list_tasks(queue, "pending")
    by_context = {ids(span): span for span in spans.of("enqueue")}
    assert len({trace_id for trace_id, _ in by_context}) == len(by_context)
    for info in found:
        span = by_context[context_of(info)]
        assert span.parent is None
        assert span.kind is SpanKind.PRODUCER
        assert attributes(span) == {
            "messaging.system": "asynq",
            "messaging.operation.name": "enqueue",
            "messaging.operation.type": "send",
            "messaging.destination.name": queue,
            "messaging.message.id": info.id,
            "asynq.task.type": "report",
        }
        assert (info.headers["tenant"], info.payload, info.max_retry) == ("7", b"yearly", 2)
    assert task.headers == {"tenant": "7"}


async def test_schedulers_that_trace_are_the_same_entry_as_those_that_do_not(
    redis_url: str, spans: Spans, queue: str
) -> None:
    plain, tracing = (
        Scheduler(redis_url, trace=trace)
        for trace in (None, schedule_trace(tracer_provider=spans.provider))
    )
    places = [
        scheduler.make_entry("@every 1s", Task("t"), None, {"queue": queue}).place
        for scheduler in (plain, tracing)
    ]
    assert places[0] == places[1]


async def test_of_many_schedulers_one_records_a_due_time(
    redis: Redis, inspector: Inspector, redis_url: str, spans: Spans, queue: str
) -> None:
    trace = schedule_trace(tracer_provider=spans.provider)
    schedulers = [Scheduler(redis_url, trace=trace) for _ in range(3)]
    for scheduler in schedulers:
        scheduler.register("@every 1s", Task("t"), queue=queue)
        await scheduler.start()
    await pending(redis, inspector, queue, 2)
    await asyncio.gather(*(scheduler.shutdown() for scheduler in schedulers))
    found = await inspector.list_tasks(queue, "pending")
    assert sorted(map(context_of, found)) == sorted(map(ids, spans.of("enqueue")))


async def test_what_a_schedule_runs_into_is_an_error_of_its_span(
    redis_url: str, spans: Spans, queue: str
) -> None:
    trace = schedule_trace(tracer_provider=spans.provider)
    scheduler = Scheduler(redis_url, trace=trace)
    scheduler.register("@every 1s", Task("t"), queue=queue, task_id=queue)
    async with scheduler:
        first, second, *_ = await spans.ended("enqueue", 2)
    assert first.status.status_code is StatusCode.UNSET
    assert second.status.status_code is StatusCode.ERROR
    assert attributes(second)["error.type"] == "TaskIdConflictError"


async def test_a_context_that_an_entry_has_is_kept_and_linked(
    redis: Redis, inspector: Inspector, redis_url: str, spans: Spans, queue: str
) -> None:
    scheduler = Scheduler(redis_url, trace=schedule_trace(tracer_provider=spans.provider))
    scheduler.register("@every 1s", Task("t", headers={"traceparent": SAMPLED}), queue=queue)
    async with scheduler:
        (info, *_) = await pending(redis, inspector, queue, 1)
        (span, *_) = await spans.ended("enqueue")
    assert info.headers == {"traceparent": SAMPLED}
    assert links(span) == [0xB7AD6B7169203331]


async def test_due_times_that_are_not_sampled_say_so(
    redis: Redis, inspector: Inspector, redis_url: str, queue: str
) -> None:
    trace = schedule_trace(tracer_provider=TracerProvider(sampler=ALWAYS_OFF))
    scheduler = Scheduler(redis_url, trace=trace)
    scheduler.register("@every 1s", Task("t"), queue=queue)
    async with scheduler:
        (info, *_) = await pending(redis, inspector, queue, 1)
    flags = info.headers["traceparent"].rpartition("-")[2]
    assert int(flags, 16) & 1 == 0


async def test_a_periodic_task_manager_traces_too(
    redis: Redis, inspector: Inspector, redis_url: str, spans: Spans, queue: str
) -> None:
    manager = PeriodicTaskManager(
        redis_url,
        lambda: [PeriodicTask("@every 1s", Task("t"), queue=queue)],
        trace=schedule_trace(tracer_provider=spans.provider),
    )
    async with manager:
        (info, *_) = await pending(redis, inspector, queue, 1)
        (span, *_) = await spans.ended("enqueue")
    assert context_of(info) == ids(span)


async def test_what_is_no_trace_is_refused(redis_url: str) -> None:
    with pytest.raises(TypeError, match="trace= takes a function"):
        Scheduler(redis_url, trace="yes")  # type: ignore[arg-type]
