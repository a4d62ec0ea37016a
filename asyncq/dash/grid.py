"""Tables of a given width: columns that share it, cells that are cut where it is too little."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from asyncq.safe_text import safe

from .palette import SELECTED, STRONG
from .plain import fitted

_GAP = 2
_MARK = "> "


@dataclass(frozen=True, slots=True)
class Column:
    """One column. Its cells get a width of at least `least`, if they need it, and of more if
    there is more."""

    title: str
    least: int = 6
    right: bool = False
    brief: str = ""
    """A title for where there is little room."""
    weight: int = 1
    """Where there is too little for all, this column gets so many times the width of others."""


@dataclass(frozen=True, slots=True)
class Table:
    """What stands where. Cells may hold the text of strangers: it is made harmless here."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]


def draw(table: Table, width: int, selected: int) -> list[Text]:
    """The line of titles, and one for each row; `selected` counts from 1."""
    rows = [[safe(cell[: 4 * width]) for cell in row] for row in table.rows]
    widths = _widths(table.columns, rows, width - len(_MARK))
    titles = [
        column.title if len(column.title) <= width else column.brief or column.title
        for column, width in zip(table.columns, widths, strict=True)
    ]
    lines = [Text(fitted("  " + _joined(table.columns, titles, widths), width), STRONG)]
    for number, row in enumerate(rows, 1):
        mark = _MARK if number == selected else " " * len(_MARK)
        line = Text(fitted(mark + _joined(table.columns, row, widths), width))
        if number == selected:
            line.stylize(SELECTED)
        lines.append(line)
    return lines


def _joined(columns: Sequence[Column], cells: Sequence[str], widths: Sequence[int]) -> str:
    parts = []
    for column, cell, width in zip(columns, cells, widths, strict=True):
        filler = " " * max(0, width - cell_len(cell)) if column.right else ""
        parts.append(fitted(filler + cell, width))
    return (" " * _GAP).join(parts)


def _widths(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """As much as each needs; where that is too much, less for those that need most."""
    needs = [
        max([len(column.brief or column.title), *(cell_len(row[n]) for row in rows)])
        for n, column in enumerate(columns)
    ]
    widths = [min(need, column.least) for need, column in zip(needs, columns, strict=True)]
    weights = [column.weight for column in columns]
    _grow(widths, needs, weights, width - _GAP * (len(columns) - 1))
    # Whole titles only where all of the cells has its place.
    titled = [max(need, len(c.title)) for need, c in zip(needs, columns, strict=True)]
    _grow(widths, titled, weights, width - _GAP * (len(columns) - 1))
    return widths


def _grow(widths: list[int], needs: Sequence[int], weights: Sequence[int], total: int) -> None:
    """Narrow columns first, until they have what they need or there is no more."""
    for _ in range(total - sum(widths)):
        growing = [n for n, need in enumerate(needs) if widths[n] < need]
        if not growing:
            return
        widths[min(growing, key=lambda n: widths[n] / weights[n])] += 1
