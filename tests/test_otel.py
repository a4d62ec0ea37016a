"""Traces: spans of enqueues and attempts, joined by the headers of tasks."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace import TracerProvider as AnyTracerProvider
from serving import Working
from spans import NOT_SAMPLED, SAMPLED, TRACE_ID, Spans, attributes, context_of, ids, links
from waiting import soon

from asyncq import (
    Client,
    DuplicateTaskError,
    EnqueueManyError,
    RevokeTask,
    ServeMux,
    Task,
    current,
)
from asyncq.cli.logs import JsonFormatter
from asyncq.otel import TracingClient, tracing_middleware


@pytest.fixture
def spans() -> Iterator[Spans]:
    spans = Spans()
    yield spans
    spans.provider.shutdown()


@pytest.fixture
async def tracing(redis_url: str, spans: Spans) -> AsyncIterator[TracingClient]:
    async with TracingClient(redis_url, tracer_provider=spans.provider) as client:
        yield client


def traced(handler: Any, spans: Spans | AnyTracerProvider, **how: Any) -> ServeMux:
    """A mux with one handler and the middleware."""
    mux = ServeMux()
    provider = spans.provider if isinstance(spans, Spans) else spans
    mux.use(tracing_middleware(tracer_provider=provider, **how))
    mux.handle("email:", handler)
    return mux


async def nothing(task: Task) -> None:
    return


# Producers


async def test_an_enqueue_is_a_span_and_its_context_goes_with_the_task(
    tracing: TracingClient, spans: Spans, queue: str
) -> None:
    task = Task("email:deliver", b"x", headers={"tenant": "7"})
    info = await tracing.enqueue(task, queue=queue)
    (span,) = spans.of("enqueue")
    assert span.name == f"enqueue {queue}"
    assert span.kind is SpanKind.PRODUCER
    assert attributes(span) == {
        "messaging.system": "asynq",
        "messaging.operation.name": "enqueue",
        "messaging.operation.type": "send",
        "messaging.destination.name": queue,
        "messaging.message.id": info.id,
        "asynq.task.type": "email:deliver",
    }
    assert info.headers["tenant"] == "7"
    assert context_of(info) == ids(span)
    assert task.headers == {"tenant": "7"}


async def test_an_enqueue_is_a_child_of_what_is_current(
    tracing: TracingClient, spans: Spans, queue: str
) -> None:
    tracer = spans.provider.get_tracer("test")
    with tracer.start_as_current_span("request") as request:
        await tracing.enqueue(Task("t"), queue=queue)
    (span,) = spans.of("enqueue")
    assert span.parent is not None
    assert span.parent.span_id == request.get_span_context().span_id


async def test_options_and_payloads_stay_what_they_are(tracing: TracingClient, queue: str) -> None:
    task = Task("t", {"n": 1}, queue=queue, max_retry=3, retention=60)
    info = await tracing.enqueue(task, timeout=20)
    assert (info.queue, info.max_retry, info.payload) == (queue, 3, b'{"n":1}')
    assert info.timeout is not None
    assert info.timeout.total_seconds() == 20
    none = await tracing.enqueue(Task("t", queue=queue))
    assert none.payload == b""


async def test_a_context_that_a_task_has_already_is_kept_and_linked(
    tracing: TracingClient, spans: Spans, queue: str
) -> None:
    info = await tracing.enqueue(Task("t", headers={"traceparent": SAMPLED}), queue=queue)
    assert info.headers == {"traceparent": SAMPLED}
    (span,) = spans.of("enqueue")
    assert links(span) == [0xB7AD6B7169203331]


async def test_a_failed_enqueue_is_an_error_of_its_span(
    tracing: TracingClient, spans: Spans, queue: str
) -> None:
    await tracing.enqueue(Task("t"), queue=queue, unique=60)
    with pytest.raises(DuplicateTaskError):
        await tracing.enqueue(Task("t"), queue=queue, unique=60)
    first, second = spans.of("enqueue")
    assert first.status.status_code is StatusCode.UNSET
    assert second.status.status_code is StatusCode.ERROR
    assert attributes(second)["error.type"] == "DuplicateTaskError"
    assert [event.name for event in second.events] == ["exception"]


async def test_what_is_no_task_is_refused_as_by_a_client(tracing: TracingClient) -> None:
    with pytest.raises(TypeError, match="enqueue takes a Task"):
        await tracing.enqueue("t")  # type: ignore[arg-type]


async def test_many_are_one_span(tracing: TracingClient, spans: Spans, queue: str) -> None:
    tasks = [Task("t", headers={"n": str(n)}) for n in range(3)]
    infos = await tracing.enqueue_many(iter(tasks), queue=queue)
    (span,) = spans.of("enqueue")
    assert attributes(span)["messaging.batch.message_count"] == 3
    assert [info.headers["n"] for info in infos] == ["0", "1", "2"]
    assert {context_of(info) for info in infos} == {ids(span)}


async def test_many_of_several_queues_name_none_and_fail_as_they_do(
    tracing: TracingClient, spans: Spans, queue: str
) -> None:
    tasks = [Task("a", queue=queue, task_id="x"), Task("b", queue=f"{queue}-2")]
    await tracing.enqueue_many(tasks)
    with pytest.raises(EnqueueManyError):
        await tracing.enqueue_many(tasks)
    first, second = spans.of("enqueue")
    assert first.name == "enqueue"
    assert "messaging.destination.name" not in attributes(first)
    assert second.status.status_code is StatusCode.ERROR


# Attempts


async def test_an_attempt_is_in_the_trace_of_its_enqueue(
    working: Working, tracing: TracingClient, spans: Spans, queue: str
) -> None:
    async with working(traced(nothing, spans)):
        info = await tracing.enqueue(Task("email:deliver", b"four"), queue=queue)
        (span,) = await spans.ended("process")
    (producer,) = spans.of("enqueue")
    assert span.name == f"process {queue}"
    assert span.kind is SpanKind.CONSUMER
    assert span.status.status_code is StatusCode.UNSET
    assert attributes(span) == {
        "messaging.system": "asynq",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": queue,
        "messaging.message.id": info.id,
        "messaging.message.body.size": 4,
        "asynq.task.type": "email:deliver",
        "asynq.task.retry_count": 0,
        "asynq.task.max_retry": 25,
    }
    assert span.parent is not None
    assert (span.parent.trace_id, span.parent.span_id) == ids(producer)
    assert links(span) == [ids(producer)[1]]


async def test_an_attempt_may_begin_a_trace_of_its_own(
    working: Working, tracing: TracingClient, spans: Spans, queue: str
) -> None:
    async with working(traced(nothing, spans, same_trace=False)):
        await tracing.enqueue(Task("email:deliver"), queue=queue)
        (span,) = await spans.ended("process")
    (producer,) = spans.of("enqueue")
    assert span.parent is None
    assert ids(span)[0] != ids(producer)[0]
    assert links(span) == [ids(producer)[1]]


async def test_a_task_without_a_context_begins_a_trace(
    working: Working, client: Client, spans: Spans, queue: str
) -> None:
    async with working(traced(nothing, spans)):
        await client.enqueue(Task("email:deliver"), queue=queue)
        (span,) = await spans.ended("process")
    assert span.parent is None
    assert links(span) == []


async def test_a_context_that_is_nonsense_begins_a_trace(
    working: Working, client: Client, spans: Spans, queue: str
) -> None:
    async with working(traced(nothing, spans)):
        task = Task("email:deliver", headers={"traceparent": "\N{SNOWMAN}"})
        await client.enqueue(task, queue=queue)
        (span,) = await spans.ended("process")
    assert span.parent is None


async def test_each_retry_is_a_span_of_the_same_trace_with_its_error(
    working: Working, tracing: TracingClient, spans: Spans, queue: str
) -> None:
    async def fails_once(task: Task) -> None:
        if current().retry_count == 0:
            raise ValueError("not yet")

    async with working(traced(fails_once, spans), retry_delay=lambda *_: 0) as work:
        info = await tracing.enqueue(Task("email:deliver"), queue=queue)
        await work.gone(info)
        failed, succeeded = await spans.ended("process", 2)
    assert {ids(span)[0] for span in (failed, succeeded, *spans.of("enqueue"))} == {ids(failed)[0]}
    assert [attributes(s)["asynq.task.retry_count"] for s in (failed, succeeded)] == [0, 1]
    assert failed.status.status_code is StatusCode.ERROR
    assert failed.status.description == "ValueError: not yet"
    assert attributes(failed)["error.type"] == "ValueError"
    assert [event.name for event in failed.events] == ["exception"]
    assert succeeded.status.status_code is StatusCode.UNSET


async def test_a_revoked_task_is_no_error(
    working: Working, client: Client, spans: Spans, queue: str
) -> None:
    async def revokes(task: Task) -> None:
        raise ExceptionGroup("all", [RevokeTask("not wanted")])

    async with working(traced(revokes, spans)):
        await client.enqueue(Task("email:deliver"), queue=queue)
        (span,) = await spans.ended("process")
    assert span.status.status_code is StatusCode.UNSET


async def test_a_time_out_and_a_cancellation_are_told_apart(
    working: Working, client: Client, spans: Spans, queue: str
) -> None:
    entered = asyncio.Event()

    async def sleeps(task: Task) -> None:
        entered.set()
        await asyncio.Event().wait()

    async with working(traced(sleeps, spans), retry_delay=lambda *_: 3600) as work:
        await client.enqueue(Task("email:slow"), queue=queue, timeout=1)
        await spans.ended("process")
        entered.clear()
        info = await client.enqueue(Task("email:long"), queue=queue)
        await soon(entered.wait())
        await work.cancel(info)
        await spans.ended("process", 2)
    errors = {attributes(s)["asynq.task.type"]: attributes(s) for s in spans.of("process")}
    assert errors["email:slow"]["error.type"] == "timeout"
    assert errors["email:long"]["error.type"] == "cancelled"


async def test_what_a_handler_enqueues_and_starts_belongs_to_its_trace(
    working: Working, tracing: TracingClient, spans: Spans, queue: str
) -> None:
    async def passes_on(task: Task) -> None:
        if task.type == "email:first":
            await tracing.enqueue(Task("email:second"), queue=queue)

    async with working(traced(passes_on, spans)):
        await tracing.enqueue(Task("email:first"), queue=queue)
        await spans.ended("process", 2)
    everything = spans.of("process") + spans.of("enqueue")
    assert len(everything) == 4
    assert len({ids(span)[0] for span in everything}) == 1


async def test_what_the_producer_did_not_sample_is_not_recorded_and_passed_on(
    working: Working, tracing: TracingClient, spans: Spans, queue: str
) -> None:
    passed_on: list[str] = []

    async def passes_on(task: Task) -> None:
        info = await tracing.enqueue(Task("other"), queue=f"{queue}-2")
        passed_on.append(info.headers["traceparent"])

    async with working(traced(passes_on, spans)) as work:
        task = Task("email:deliver", headers={"traceparent": NOT_SAMPLED})
        info = await work.client.enqueue(task, queue=queue)
        await work.gone(info)
    assert spans.of("process") == spans.of("enqueue") == []
    (header,) = passed_on
    assert header.startswith(f"00-{TRACE_ID:032x}-")
    assert header.endswith("-00")


async def test_attempts_do_not_see_the_spans_of_others(
    working: Working, client: Client, spans: Spans, queue: str
) -> None:
    seen: set[int] = set()

    async def looks(task: Task) -> None:
        seen.add(trace.get_current_span().get_span_context().span_id)

    async with working(traced(looks, spans), concurrency=1):
        await client.enqueue_many([Task("email:deliver")] * 5, queue=queue)
        found = await spans.ended("process", 5)
    assert seen == {ids(span)[1] for span in found}
    assert len({ids(span)[0] for span in found}) == 5
    assert not trace.get_current_span().get_span_context().is_valid


async def test_a_handler_called_by_hand_is_traced_too(spans: Spans) -> None:
    mux = traced(nothing, spans)
    await asyncio.create_task(mux(Task("email:deliver")))
    (span,) = spans.of("process")
    assert span.name == "process"


async def test_the_sampler_decides_where_no_producer_did(
    working: Working, client: Client, queue: str
) -> None:
    async with working(traced(nothing, TracerProvider(sampler=ALWAYS_OFF))) as work:
        info = await client.enqueue(Task("email:deliver"), queue=queue)
        await work.gone(info)


# Logs


async def test_log_lines_of_an_attempt_and_of_its_failure_have_its_trace(
    working: Working, client: Client, spans: Spans, queue: str
) -> None:
    async def fails(task: Task) -> None:
        logging.getLogger("asyncq").warning("working on it")
        raise ValueError("no")

    output = io.StringIO()
    handler = logging.StreamHandler(output)
    handler.setFormatter(JsonFormatter())
    logging.getLogger("asyncq").addHandler(handler)
    try:
        async with working(traced(fails, spans)) as work:
            info = await client.enqueue(Task("email:deliver"), queue=queue, max_retry=0)
            await work.comes_to("archived", info)
    finally:
        logging.getLogger("asyncq").removeHandler(handler)
    (span,) = spans.of("process")
    lines = [json.loads(line) for line in output.getvalue().splitlines()]
    own, failed = (
        next(line for line in lines if text in line["message"])
        for text in ("working on it", "failed: ValueError: no")
    )
    trace_id, span_id = ids(span)
    for line in (own, failed):
        assert (line["trace_id"], line["span_id"]) == (f"{trace_id:032x}", f"{span_id:016x}")
    assert (failed["task_id"], failed["task_type"]) == (info.id, "email:deliver")
    assert (failed["queue"], failed["attempt"]) == (queue, 1)


def test_a_log_line_outside_of_all_spans_has_no_trace() -> None:
    record = logging.makeLogRecord({"msg": "hello"})
    assert "trace_id" not in json.loads(JsonFormatter().format(record))


# Off


def test_a_program_that_does_not_trace_does_not_import_it() -> None:
    # redis-py imports OpenTelemetry by itself, where it is installed.
    program = (
        "import sys, asyncq, asyncq.server, asyncq.cli.process, asyncq.cli.logs\n"
        "assert not {'asyncq.otel', 'asyncq.metrics', 'prometheus_client'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
