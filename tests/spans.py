"""Spans that tests have made and look at."""

from __future__ import annotations

from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased
from waiting import until

from asyncq import TaskInfo

SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NOT_SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
TRACE_ID = 0x0AF7651916CD43DD8448EB211C80319C


class Spans:
    """What was recorded."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(sampler=ParentBased(ALWAYS_ON))
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def all(self) -> list[ReadableSpan]:
        return list(self._exporter.get_finished_spans())

    def of(self, operation: str) -> list[ReadableSpan]:
        return [s for s in self.all() if attributes(s).get("messaging.operation.name") == operation]

    async def ended(self, operation: str, count: int = 1) -> list[ReadableSpan]:
        await until(lambda: len(self.of(operation)) >= count, lambda: self.of(operation))
        return self.of(operation)


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def links(span: ReadableSpan) -> list[int]:
    return [link.context.span_id for link in span.links]


def ids(span: ReadableSpan) -> tuple[int, int]:
    """Of the trace, and of the span."""
    context = span.get_span_context()
    assert context is not None
    return context.trace_id, context.span_id


def context_of(info: TaskInfo) -> tuple[int, int]:
    """The trace and the span in the headers of a task that is sampled."""
    version, trace_id, span_id, flags = info.headers["traceparent"].split("-")
    assert (version, int(flags, 16) & 1) == ("00", 1)
    return int(trace_id, 16), int(span_id, 16)
