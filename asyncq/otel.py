"""Traces by OpenTelemetry: a span for every enqueue, and one for every attempt, in one trace.

    client = TracingClient(url)                       # instead of Client; or TracingSyncClient
    mux.use(tracing_middleware())                     # in the worker
    Scheduler(url, trace=schedule_trace())            # and PeriodicTaskManager

The context travels in the task's headers as W3C `traceparent` and `tracestate`, as a Go program
that injects it there does, so their traces join. Spans follow the semantic conventions of
messaging systems; `messaging.system` is `asynq`, whose queues these are, whatever their Redis.
Payloads are never recorded.

It needs opentelemetry-api: `pip install "asyncq[otel]"`, and whatever exports your spans. Programs
that do not import this module pay nothing.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

try:
    from opentelemetry import context as contexts
    from opentelemetry import trace
except ImportError as _missing:
    raise ImportError(
        'asyncq.otel needs opentelemetry-api: pip install "asyncq[otel]"'
    ) from _missing
from opentelemetry.context import Context
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TracerProvider,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from . import __version__
from .client import Client, RedisSource
from .context import TaskContext, current
from .errors import RevokeTask
from .handler import Handler, Middleware
from .info import TaskInfo
from .scheduler import Trace, TraceEnd
from .sync import SyncClient
from .task import Task

__all__ = ["TracingClient", "TracingSyncClient", "schedule_trace", "tracing_middleware"]

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

_PROPAGATOR = TraceContextTextMapPropagator()
_TRACEPARENT = "traceparent"
_LAST_FLAG = 54
_NOT_SAMPLED = frozenset("02468ace")
"""The last digit of a header whose lowest flag is 0."""

_SYSTEM = {"messaging.system": "asynq"}
_ENQUEUE = {
    **_SYSTEM,
    "messaging.operation.name": "enqueue",
    "messaging.operation.type": "send",
}
_PROCESS = {
    **_SYSTEM,
    "messaging.operation.name": "process",
    "messaging.operation.type": "process",
}
_DEFAULT_QUEUE = "default"


# Producers


class _Producer:
    """Makes the spans of enqueues."""

    def __init__(self, tracer_provider: TracerProvider | None) -> None:
        self._tracer = trace.get_tracer("asyncq", __version__, tracer_provider)

    @contextmanager
    def span(
        self, given: Sequence[object], options: Mapping[str, Any]
    ) -> Generator[tuple[Span, list[object]]]:
        """A span, the current one, and what was given, the tasks with its context in their
        headers."""
        tasks = [task for task in given if isinstance(task, Task)]
        queues = {_queue_of(task, options) for task in tasks}
        span = self.start(tasks, queues.pop() if len(queues) == 1 else "", None)
        headers = _headers_for(span)
        try:
            with trace.use_span(span, record_exception=False, set_status_on_exception=False):
                yield span, [_with_headers(one, headers) for one in given]
        except BaseException as error:
            _fail(span, error, type(error).__qualname__)
            raise
        finally:
            span.end()

    def start(self, tasks: Sequence[Task], queue: str, context: Context | None) -> Span:
        """A span for these, a child of what is in the context, None: the current one."""
        attributes: dict[str, Any] = dict(_ENQUEUE)
        if queue:
            attributes["messaging.destination.name"] = queue
        types = {task.type for task in tasks}
        if len(types) == 1:
            attributes["asynq.task.type"] = types.pop()
        return self._tracer.start_span(
            f"enqueue {queue}".rstrip(),
            context=context,
            kind=SpanKind.PRODUCER,
            attributes=attributes,
            links=[link for task in tasks if (link := _link_of(task)) is not None],
        )


def _traced(enqueue: F) -> F:
    """`Client.enqueue` inside a span, whose context goes with the task."""

    @functools.wraps(enqueue)
    async def traced(self: TracingClient, task: Task, **options: Any) -> Any:
        if not isinstance(task, Task):
            return await enqueue(self, task, **options)  # it says what is wrong
        with self._spans.span([task], options) as (span, (sent,)):
            info = await enqueue(self, sent, **options)
            span.set_attribute("messaging.message.id", info.id)
            return info

    return cast(F, traced)


def _traced_many(enqueue_many: F) -> F:
    """The same for many: one span for all."""

    @functools.wraps(enqueue_many)
    async def traced(self: TracingClient, tasks: Iterable[Task], **options: Any) -> Any:
        given = list(tasks)
        with self._spans.span(given, options) as (span, sent):
            span.set_attribute("messaging.batch.message_count", len(given))
            return await enqueue_many(self, sent, **options)

    return cast(F, traced)


class TracingClient(Client):
    """A `Client` that makes a span for each `enqueue` and each `enqueue_many`.

    The span is a child of the current one, `enqueue <queue>`, of kind producer. Its context goes
    into the headers of the task, unless there is a `traceparent` already: then that one stays,
    and the span links to it. An error is recorded, and is the status of the span.

    Spans are made by `tracer_provider`, the global one if not given.
    """

    def __init__(
        self,
        redis: RedisSource | None = None,
        *,
        tracer_provider: TracerProvider | None = None,
        **more: Any,
    ) -> None:
        super().__init__(redis, **more)
        self._spans = _Producer(tracer_provider)

    enqueue = _traced(Client.enqueue)
    enqueue_many = _traced_many(Client.enqueue_many)


def _traced_blocking(enqueue: F) -> F:
    """`SyncClient.enqueue` inside a span of the calling thread."""

    @functools.wraps(enqueue)
    def traced(self: TracingSyncClient, task: Task, **options: Any) -> Any:
        if not isinstance(task, Task):
            return enqueue(self, task, **options)
        with self._spans.span([task], options) as (span, (sent,)):
            info = enqueue(self, sent, **options)
            span.set_attribute("messaging.message.id", info.id)
            return info

    return cast(F, traced)


def _traced_many_blocking(enqueue_many: F) -> F:
    @functools.wraps(enqueue_many)
    def traced(self: TracingSyncClient, tasks: Iterable[Task], **options: Any) -> Any:
        given = list(tasks)
        with self._spans.span(given, options) as (span, sent):
            span.set_attribute("messaging.batch.message_count", len(given))
            return enqueue_many(self, sent, **options)

    return cast(F, traced)


class TracingSyncClient(SyncClient):
    """A `SyncClient` that makes the spans of `TracingClient`: children of what is current in the
    thread that calls."""

    def __init__(
        self,
        redis: RedisSource | None = None,
        *,
        tracer_provider: TracerProvider | None = None,
        **more: Any,
    ) -> None:
        super().__init__(redis, **more)
        self._spans = _Producer(tracer_provider)

    enqueue = _traced_blocking(SyncClient.enqueue)
    enqueue_many = _traced_many_blocking(SyncClient.enqueue_many)


def schedule_trace(*, tracer_provider: TracerProvider | None = None) -> Trace:
    """What a `Scheduler` or a `PeriodicTaskManager` takes as `trace`: a span for each due time that
    it enqueues, `enqueue <queue>`, of kind producer, which begins a trace; its context goes with
    the task.

    Where several schedulers run, one of them enqueues a due time, and records its span. What Redis
    refuses is an error of the span.
    """
    producer = _Producer(tracer_provider)

    def begin(task: Task, queue: str) -> tuple[Task, TraceEnd]:
        # In a context of its own: what was current when the scheduler was started is long over.
        span = producer.start([task], queue, Context())

        def end(info: TaskInfo | None, error: Exception | None) -> None:
            if info is not None:
                span.set_attribute("messaging.message.id", info.id)
            if error is not None:
                _fail(span, error, type(error).__qualname__)
            span.end()

        # A span that is not ended, as where another scheduler was first, is never exported.
        return _with_headers(task, _headers_for(span)), end

    return begin


def _queue_of(task: Task, options: Mapping[str, Any]) -> str:
    queue = options.get("queue") or task.options.get("queue") or _DEFAULT_QUEUE
    return str(queue)


def _link_of(task: Task) -> Link | None:
    """To who made the context that a task has already."""
    if _TRACEPARENT not in task.headers:
        return None
    made = trace.get_current_span(_PROPAGATOR.extract(task.headers, Context()))
    return Link(made.get_span_context()) if made.get_span_context().is_valid else None


def _headers_for(span: Span) -> dict[str, str]:
    headers: dict[str, str] = {}
    _PROPAGATOR.inject(headers, trace.set_span_in_context(span, Context()))
    return headers


def _with_headers(task: T, headers: Mapping[str, str]) -> T:
    """The task with these headers, unless it has a context already. What is no task stays itself:
    whoever enqueues it says what is wrong."""
    if not isinstance(task, Task) or not headers or _TRACEPARENT in task.headers:
        return task
    payload = task.payload if task.has_payload else None
    sent = Task(task.type, payload, headers={**task.headers, **headers}, **task.options)
    return cast(T, sent)


# Consumers


def tracing_middleware(
    *, tracer_provider: TracerProvider | None = None, same_trace: bool = True
) -> Middleware:
    """Middleware that makes a span for each attempt; add it first, so that it is the outermost.

    The span is `process <queue>`, of kind consumer, links to the span that enqueued the task, and
    is its child, so that all of a task is one trace; with `same_trace=False` it begins a trace of
    its own. In the same trace the producer's word holds whether it is sampled: what is not costs
    next to nothing here, whatever the sampler. Retries are spans beside each other, told apart by
    `asynq.task.retry_count`. A failed attempt has the status error, with `error.type` and the
    exception; one that the worker cut short has the error type `timeout` or `cancelled`; one that
    raised `RevokeTask` is no error.

    The span stays the current one until the attempt is over: what is logged about its failure, and
    what `error_handler` does, belongs to it.
    """
    tracer = trace.get_tracer("asyncq", __version__, tracer_provider)

    async def trace_attempt(task: Task, call_next: Handler) -> object:
        header = task.headers.get(_TRACEPARENT)
        if same_trace and header is not None and header[_LAST_FLAG:] in _NOT_SAMPLED:
            _make_current(_NOT_RECORDED)
            return await call_next(task)
        span = _consumer_span(tracer, task, same_trace=same_trace)
        _make_current(trace.set_span_in_context(span))
        try:
            return await call_next(task)
        except BaseException as error:
            if not _is_revoked(error):
                _fail(span, error, _kind(error))
            raise
        finally:
            span.end()

    return trace_attempt


class _NotSampled(NonRecordingSpan):
    """Stands for the spans of all attempts that nobody records, so that what is done under them is
    not recorded either.

    Most attempts never ask for its context: it is read from the task's headers when they do.
    """

    def __init__(self) -> None:
        pass  # it has no context of its own

    def get_span_context(self) -> SpanContext:
        attempt = _attempt()
        if attempt is None:
            return INVALID_SPAN_CONTEXT
        made = trace.get_current_span(_PROPAGATOR.extract(attempt.headers, Context()))
        return made.get_span_context()


_NOT_RECORDED = trace.set_span_in_context(_NotSampled(), Context())


def _make_current(context: Context) -> None:
    # Never detached: an attempt has a context of its own, which ends with it, and what is said
    # about its failure is said after the middleware has returned.
    contexts.attach(context)


def _consumer_span(tracer: trace.Tracer, task: Task, *, same_trace: bool) -> Span:
    parent = _PROPAGATOR.extract(task.headers, Context()) if task.headers else Context()
    made = trace.get_current_span(parent).get_span_context()
    attributes: dict[str, Any] = {**_PROCESS, "asynq.task.type": task.type}
    name = "process"
    attempt = _attempt()
    if attempt is not None:
        name = f"process {attempt.queue}"
        attributes |= {
            "messaging.destination.name": attempt.queue,
            "messaging.message.id": attempt.task_id,
            "messaging.message.body.size": len(task.payload),
            "asynq.task.retry_count": attempt.retry_count,
            "asynq.task.max_retry": attempt.max_retry,
        }
    return tracer.start_span(
        name,
        context=parent if same_trace else Context(),
        kind=SpanKind.CONSUMER,
        attributes=attributes,
        links=[Link(made)] if made.is_valid else (),
    )


def _kind(error: BaseException) -> str:
    if not isinstance(error, asyncio.CancelledError):
        return type(error).__qualname__
    attempt = _attempt()
    deadline = attempt.deadline if attempt else None
    return "timeout" if deadline is not None and deadline <= datetime.now(UTC) else "cancelled"


def _attempt() -> TaskContext | None:
    try:
        return current()
    except RuntimeError:
        return None  # the handler is called by hand, without a server


def _is_revoked(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(_is_revoked(leaf) for leaf in error.exceptions)
    return isinstance(error, RevokeTask)


def _fail(span: Span, error: BaseException, kind: str) -> None:
    if span.is_recording():
        span.set_attribute("error.type", kind)
        span.record_exception(error)
        span.set_status(StatusCode.ERROR, f"{type(error).__name__}: {error}")
