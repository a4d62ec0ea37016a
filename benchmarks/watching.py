"""What metrics and traces cost: a backlog of tasks that do nothing, with and without, by turns.

    python -m benchmarks.watching

Each round runs every variant once, in another order, on the same Redis, in this process; the figure
of a variant is the median of its rate by that of the plain one in the same round. Tasks that do
nothing show what is paid for a task in the worst case: what a handler does comes on top of both.
Spans are made by the SDK of OpenTelemetry and exported to nowhere.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import uvloop
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from asyncq import Client, ServeMux, Server, ServerConfig, Statistics, Task
from asyncq.otel import tracing_middleware
from benchmarks.server import running

CONCURRENCY = 100
AT_ONCE = 5000
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0{}"


class Nowhere(SpanExporter):
    """Takes all spans."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


@dataclass(frozen=True)
class Variant:
    name: str
    counts: bool = False
    traces: bool = False
    sampled: Callable[[int], bool] | None = None
    """Whether the producer sampled the n-th task; None for a producer that does not trace."""


VARIANTS = (
    Variant("plain"),
    Variant("metrics", counts=True),
    Variant("traces, none sampled", traces=True, sampled=lambda n: False),
    Variant("traces, 1 % sampled", traces=True, sampled=lambda n: n % 100 == 0),
    Variant("traces, all sampled", traces=True, sampled=lambda n: True),
)


@dataclass
class Run:
    """One drain: the handler counts, and notes when the first and the last task ran."""

    total: int
    runs: int = 0
    first: float = 0.0
    last: float = 0.0

    def __post_init__(self) -> None:
        self.ended = asyncio.Event()

    async def handle(self, task: Task) -> None:
        if not self.runs:
            self.first = time.perf_counter()
        self.runs += 1
        if self.runs == self.total:
            self.last = time.perf_counter()
            self.ended.set()


async def drain(url: str, variant: Variant, total: int) -> float:
    """Tasks per second."""
    async with Client(url) as client:
        for first in range(0, total, AT_ONCE):
            await client.enqueue_many(tasks(variant, first, min(total, first + AT_ONCE)))
    run, mux = Run(total), ServeMux()
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    if variant.traces:
        mux.use(tracing_middleware(tracer_provider=provider))
    mux.handle("noop", run.handle)
    config = ServerConfig(
        concurrency=CONCURRENCY, statistics=Statistics() if variant.counts else None
    )
    async with Server(url, mux, config):
        await run.ended.wait()
    provider.shutdown()
    return total / (run.last - run.first)


def tasks(variant: Variant, first: int, end: int) -> Iterator[Task]:
    for n in range(first, end):
        if variant.sampled is None:
            yield Task("noop", b'{"n": 1}')
        else:
            header = TRACEPARENT.format(int(variant.sampled(n)))
            yield Task("noop", b'{"n": 1}', headers={"traceparent": header})


async def measure(url: str, empty: Callable[[], None], rounds: int, total: int) -> None:
    rates: dict[str, list[float]] = {variant.name: [] for variant in VARIANTS}
    for number in range(rounds + 1):
        turn = number % len(VARIANTS)
        for variant in (*VARIANTS[turn:], *VARIANTS[:turn]):
            empty()
            rate = await drain(url, variant, total)
            if number:  # the first round warms up
                rates[variant.name].append(rate)
    plain = rates[VARIANTS[0].name]
    print(f"{'':24}  tasks/s   of plain (least, most)   more per task")
    for name, measured in rates.items():
        shares = [rate / base for rate, base in zip(measured, plain, strict=True)]
        more_us = [1e6 / rate - 1e6 / base for rate, base in zip(measured, plain, strict=True)]
        print(
            f"{name:24}  {statistics.median(measured):7,.0f}"
            f"   {statistics.median(shares):7.1%} ({min(shares):.1%}, {max(shares):.1%})"
            f"   {statistics.median(more_us):6.2f} us"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=40_000, help="of each drain")
    parser.add_argument("--rounds", type=int, default=9)
    wanted = parser.parse_args()
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, *gc.get_threshold()[1:])  # as `asyncq worker` does
    with running() as server, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(f"{server.name} {server.version}, Python {platform.python_version()}\n")
        runner.run(measure(server.url, server.empty, wanted.rounds, wanted.tasks))


if __name__ == "__main__":
    main()
