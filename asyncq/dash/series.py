"""Throughput, errors and sizes over time, from what the counters said at each look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from types import MappingProxyType

from asyncq import QueueInfo

_KEPT = 500


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at the counters of a queue, or of all."""

    at_s: float
    processed: int
    failed: int
    size: int


@dataclass(frozen=True, slots=True)
class Series:
    """The latest looks, oldest first."""

    samples: tuple[Sample, ...] = ()

    def with_sample(self, sample: Sample, least_s: float) -> Series:
        """With one more, unless it comes less than `least_s` after the one before."""
        if self.samples and sample.at_s - self.samples[-1].at_s < least_s:
            return self
        return Series((*self.samples[1 - _KEPT :], sample))

    def processed_rates(self) -> list[float]:
        """Tasks a second between each two looks, failed ones included."""
        return [_rate(a.processed, b.processed, b.at_s - a.at_s) for a, b in self._pairs()]

    def failed_rates(self) -> list[float]:
        """Failures a second between each two looks."""
        return [_rate(a.failed, b.failed, b.at_s - a.at_s) for a, b in self._pairs()]

    def sizes(self) -> list[float]:
        """Tasks in all states at each look."""
        return [float(sample.size) for sample in self.samples]

    def _pairs(self) -> Sequence[tuple[Sample, Sample]]:
        return list(pairwise(self.samples))


def _rate(before: int, after: int, seconds: float) -> float:
    """Never negative: a counter starts again when its queue is deleted."""
    return max(0, after - before) / seconds if seconds > 0 else 0.0


ALL = ""
"""The name of the series of all queues together; no queue has it."""


@dataclass(frozen=True, slots=True)
class Charts:
    """A series for each queue, and one for all of them."""

    by_queue: Mapping[str, Series] = field(default_factory=lambda: MappingProxyType({}))

    def of(self, queue: str) -> Series:
        """That of a queue, or of `ALL`."""
        return self.by_queue.get(queue, Series())

    def with_queues(self, infos: Sequence[QueueInfo], least_s: float) -> Charts:
        """After a look at all queues. Those that are gone are forgotten."""
        found = {
            info.queue: self.of(info.queue).with_sample(_sample([info]), least_s) for info in infos
        }
        if infos:
            found[ALL] = self.of(ALL).with_sample(_sample(infos), least_s)
        return Charts(MappingProxyType(found))

    def with_queue(self, info: QueueInfo, least_s: float) -> Charts:
        """After a look at one queue."""
        series = self.of(info.queue).with_sample(_sample([info]), least_s)
        return Charts(MappingProxyType({**self.by_queue, info.queue: series}))


def _sample(infos: Sequence[QueueInfo]) -> Sample:
    return Sample(
        max(info.timestamp for info in infos).timestamp(),
        sum(info.processed_total for info in infos),
        sum(info.failed_total for info in infos),
        sum(info.size for info in infos),
    )
