"""Bars: a queue's tasks by state, and a value over time."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from asyncq import QueueInfo

from .items import count_of
from .palette import STATE_LETTERS, STATE_STYLES
from .state import STATES

_EIGHTHS = " ▁▂▃▄▅▆▇█"


def stacked(info: QueueInfo, largest: int, width: int) -> Text:
    """A queue's tasks by state, so that `largest` tasks take all of the width.

    Of a state that has tasks at least one cell is seen, as long as there is one for each.
    """
    counts = [count_of(info, state) for state in STATES]
    total = sum(counts)
    if not total or largest <= 0 or width <= 0:
        return Text()
    present = sum(count > 0 for count in counts)
    length = min(width, max(present, round(width * total / largest), 1))
    bar = Text()
    for state, cells in zip(STATES, _shares(counts, length), strict=True):
        bar.append(STATE_LETTERS[state] * cells, STATE_STYLES[state])
    return bar


def _shares(counts: Sequence[int], length: int) -> list[int]:
    """So many cells for each, in all exactly `length`."""
    total = sum(counts)
    wanted = [length * count / total for count in counts]
    shares = [min(1, count) for count in counts]
    if sum(shares) > length:
        shares = [0] * len(counts)
    for _ in range(length - sum(shares)):
        neediest = max(range(len(counts)), key=lambda n: wanted[n] - shares[n])
        shares[neediest] += 1
    return shares


def legend() -> Text:
    """What the letters of the bars mean."""
    text = Text()
    for state in STATES:
        text.append(STATE_LETTERS[state], STATE_STYLES[state])
        text.append(f" {state} ")
    return text


def sparkline(values: Sequence[float], width: int, rows: int) -> list[str]:
    """The latest values as columns that grow from right to left, in lines from top to bottom.

    The highest of them takes the whole height; what is above zero is at least seen.
    """
    shown = list(values)[-width:] if width > 0 else []
    top = max(shown, default=0.0)
    levels = [
        max(1, round(value / top * 8 * rows)) if value > 0 and top > 0 else 0 for value in shown
    ]
    lines = []
    for row in reversed(range(rows)):
        cells = [_EIGHTHS[min(8, max(0, level - 8 * row))] for level in levels]
        lines.append("".join(cells).rjust(width))
    return lines
