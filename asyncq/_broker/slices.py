"""Cuts lists into script calls: one queue each, not too many items, not too many bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")

# A script blocks Redis while it runs: about a millisecond for a slice.
ITEMS = 100
BYTES = 1 << 20
PER_ROUND = 5
"""How many slices travel together."""


@dataclass(frozen=True, slots=True)
class Slice(Generic[Item]):
    """Items of one queue, with their places in the input."""

    queue: str
    items: Sequence[tuple[int, Item]]


def rounds(
    items: Sequence[Item], queue_of: Callable[[Item], str], size_of: Callable[[Item], int]
) -> Iterator[list[Slice[Item]]]:
    """`items` by queue, in slices, a few slices at a time. Order within a queue is kept."""
    queues: dict[str, list[tuple[int, Item]]] = {}
    for place, item in enumerate(items):
        queues.setdefault(queue_of(item), []).append((place, item))
    slices = [
        Slice(queue, part) for queue, placed in queues.items() for part in _cut(placed, size_of)
    ]
    for first in range(0, len(slices), PER_ROUND):
        yield slices[first : first + PER_ROUND]


def _cut(
    placed: Sequence[tuple[int, Item]], size_of: Callable[[Item], int]
) -> Iterator[list[tuple[int, Item]]]:
    part: list[tuple[int, Item]] = []
    size = 0
    for entry in placed:
        size += size_of(entry[1])
        if part and (len(part) == ITEMS or size > BYTES):
            yield part
            part, size = [], size_of(entry[1])
        part.append(entry)
    yield part
