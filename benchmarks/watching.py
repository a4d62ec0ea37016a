"""What metrics and traces cost: a backlog of tasks that do nothing, with and without, by turns.

    python -m benchmarks.watching

Each round runs every variant once, in another order, on the same Redis, in this process; a ratio
is the median of those to the plain variant in the same round. Beside the rate stands the processor
time of a task, the worker's and Redis's: it says the same on a machine that has other things to
do, where rates say little. Tasks that do nothing show the worst case: what a handler does comes on
top of both. Spans are made by the SDK of OpenTelemetry and exported to nowhere.
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
from benchmarks.server import Server as BenchServer
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
    Variant("headers, no traces", sampled=lambda n: False),
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


@dataclass(frozen=True)
class Figures:
    """Of one drain."""

    rate: float
    """Tasks per second."""
    worker_us: float
    redis_us: float
    """Processor time of a task."""


async def drain(server: BenchServer, variant: Variant, total: int) -> Figures:
    url = server.url
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
    worker_s, redis_s = time.process_time(), server.cpu_seconds()
    async with Server(url, mux, config):
        await run.ended.wait()
    worker_s, redis_s = time.process_time() - worker_s, server.cpu_seconds() - redis_s
    provider.shutdown()
    rate = total / (run.last - run.first)
    return Figures(rate, worker_s / total * 1e6, redis_s / total * 1e6)


def tasks(variant: Variant, first: int, end: int) -> Iterator[Task]:
    for n in range(first, end):
        if variant.sampled is None:
            yield Task("noop", b'{"n": 1}')
        else:
            header = TRACEPARENT.format(int(variant.sampled(n)))
            yield Task("noop", b'{"n": 1}', headers={"traceparent": header})


async def measure(server: BenchServer, rounds: int, total: int) -> None:
    found: dict[str, list[Figures]] = {variant.name: [] for variant in VARIANTS}
    for number in range(rounds + 1):
        turn = number % len(VARIANTS)
        for variant in (*VARIANTS[turn:], *VARIANTS[:turn]):
            server.empty()
            figures = await drain(server, variant, total)
            if number:  # the first round warms up
                found[variant.name].append(figures)
    plain = found[VARIANTS[0].name]
    print(f"{'':22} {'tasks/s':>14}  {'worker, us/task':>22}  {'Redis, us/task':>22}")
    for name, measured in found.items():
        cells = [
            f"{statistics.median(map(of, measured)):8,{form}} {ratio(measured, plain, of)}"
            for form, of in ((".0f", rate_of), (".1f", worker_of), (".1f", redis_of))
        ]
        print(f"{name:22} {cells[0]:>14}  {cells[1]:>22}  {cells[2]:>22}")


def rate_of(figures: Figures) -> float:
    return figures.rate


def worker_of(figures: Figures) -> float:
    return figures.worker_us


def redis_of(figures: Figures) -> float:
    return figures.redis_us


def ratio(
    measured: Sequence[Figures], plain: Sequence[Figures], of: Callable[[Figures], float]
) -> str:
    """To the plain variant, round by round: the median."""
    pairs = zip(measured, plain, strict=True)
    return f"({statistics.median(of(one) / of(base) for one, base in pairs):.1%})"


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
        runner.run(measure(server, wanted.rounds, wanted.tasks))


if __name__ == "__main__":
    main()
