"""Cuts lists into script calls: one queue each, not too many items, not too many bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")

# A script blocks Redis while it runs: about a millisecond for a slice.
ITEMS = 100
BYTES = 1 << 20
# What travels together: enough to be worth a round trip.
PER_ROUND = 500
BYTES_PER_ROUND = 5 * BYTES


@dataclass(frozen=True, slots=True)
class Slice(Generic[Item]):
    """Items of one queue, with their places in the input."""

    queue: str
    items: Sequence[tuple[int, Item]]


def rounds(
    items: Sequence[Item],
    queue_of: Callable[[Item], str],
    size_of: Callable[[Item], int],
    first_place: int = 0,
) -> Iterator[list[Slice[Item]]]:
    """`items` by queue, in slices, a few slices at a time. Order within a queue is kept."""
    queues: dict[str, list[tuple[int, Item]]] = {}
    for place, item in enumerate(items, first_place):
        queues.setdefault(queue_of(item), []).append((place, item))
    together: list[Slice[Item]] = []
    count = size = 0
    for queue, placed in queues.items():
        for part, part_size in _cut(placed, size_of):
            if together and (count + len(part) > PER_ROUND or size + part_size > BYTES_PER_ROUND):
                yield together
                together, count, size = [], 0, 0
            together.append(Slice(queue, part))
            count += len(part)
            size += part_size
    if together:
        yield together


def _cut(
    placed: Sequence[tuple[int, Item]], size_of: Callable[[Item], int]
) -> Iterator[tuple[list[tuple[int, Item]], int]]:
    """Parts of it, each with its size in bytes."""
    part: list[tuple[int, Item]] = []
    total = 0
    for entry in placed:
        size = size_of(entry[1])
        if part and (len(part) == ITEMS or total + size > BYTES):
            yield part, total
            part, total = [], 0
        part.append(entry)
        total += size
    yield part, total
