"""Tables: as wide as the terminal at most, or tabs between uncut cells where there is none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TextIO

from asyncq.safe_text import safe

if TYPE_CHECKING:
    from rich.console import Console

_GAP = 2
_NEVER = 0


@dataclass(frozen=True, slots=True)
class Column:
    """A column and what becomes of it where there is little room."""

    title: str
    gives: int = _NEVER
    """When it is made narrower: 1 first, then 2, ...; 0 never."""
    least: int = 10
    """How narrow it may be made."""
    spare: int = _NEVER
    """When it is left out: 1 first, then 2, ...; 0 never."""
    right: bool = False
    brief: str = ""
    """A title for where columns would have to be left out."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A cell that stands out."""

    text: str
    style: Literal["red", "yellow", "green", "dim", "bold"]


Cell = str | int | Mark
"""A number is shown with separators on a terminal."""


def fitted(columns: Sequence[Column], natural: Sequence[int], room: int) -> list[int | None]:
    """The width of each column, None for those left out."""
    dropped = sorted((c.spare, n) for n, c in enumerate(columns) if c.spare)
    widths: list[int | None] = list(natural)
    while True:
        narrowed = _narrowed(columns, widths, room)
        if _total(narrowed) <= room or not dropped:
            return _squeezed(narrowed, room)
        _, n = dropped.pop(0)
        widths[n] = None


def _narrowed(
    columns: Sequence[Column], natural: Sequence[int | None], room: int
) -> list[int | None]:
    widths = list(natural)
    giving = sorted((c.gives, n) for n, c in enumerate(columns) if c.gives)
    for _, n in giving:
        width, over = widths[n], _total(widths) - room
        if width is not None and over > 0:
            widths[n] = max(min(width, columns[n].least), width - over)
    return widths


def _squeezed(natural: list[int | None], room: int) -> list[int | None]:
    """The last resort: the widest column is cut, so that no line is wrapped."""
    widths = list(natural)
    while (over := _total(widths) - room) > 0:
        widest = max(range(len(widths)), key=lambda n: widths[n] or 0)
        width = widths[widest] or 0
        if width <= 1:
            break
        widths[widest] = max(1, width - over)
    return widths


def _total(widths: Iterable[int | None]) -> int:
    shown = [width for width in widths if width is not None]
    return sum(shown) + _GAP * (len(shown) - 1)


class PlainTable:
    """For programs and files: a line of titles, then a line a row, tabs between the cells."""

    def __init__(self, columns: Sequence[Column], stream: TextIO) -> None:
        self._columns = columns
        self._stream = stream
        self._begun = False

    def add(self, rows: Iterable[Sequence[Cell]]) -> None:
        """Print rows, the first time below the titles."""
        if not self._begun:
            self._begun = True
            self._line([column.title for column in self._columns])
        for row in rows:
            self._line(row)

    def end(self) -> None:
        """Nothing more comes."""
        self.add([])

    def _line(self, cells: Sequence[Cell]) -> None:
        print("\t".join(safe(_text(cell)) for cell in cells), file=self._stream)


class TerminalTable:
    """For people: the widths are those that the first rows need, and fit the terminal."""

    def __init__(self, columns: Sequence[Column], console: Console) -> None:
        self._columns = columns
        self._console = console
        self._widths: list[int | None] | None = None

    def add(self, rows: Iterable[Sequence[Cell]]) -> None:
        """Print rows, the first time below the titles."""
        cells = [[_styled(cell) for cell in row] for row in rows]
        if self._widths is None:
            titles, self._widths = self._fitted(cells)
            self._line([(title, "bold") for title in titles], self._widths)
        for row in cells:
            self._line(row, self._widths)

    def end(self) -> None:
        """Nothing more comes; says which columns found no room."""
        if self._widths is None:
            self.add([])
        pairs = zip(self._columns, self._widths or [], strict=True)
        left_out = [column.title for column, width in pairs if width is None]
        if left_out:
            self._console.print(f"no room for: {', '.join(left_out)}", style="dim")

    def _fitted(
        self, cells: Sequence[Sequence[tuple[str, str]]]
    ) -> tuple[list[str], list[int | None]]:
        """The titles, brief ones if there is not room for all columns, and the widths."""
        titles = [column.title for column in self._columns]
        widths = fitted(self._columns, _natural(titles, cells), self._console.width)
        if None in widths:
            titles = [column.brief or column.title for column in self._columns]
            widths = fitted(self._columns, _natural(titles, cells), self._console.width)
        return titles, widths

    def _line(self, cells: Sequence[tuple[str, str]], widths: Sequence[int | None]) -> None:
        from rich.text import Text  # noqa: PLC0415 - as above

        line = Text()
        for column, (text, style), width in zip(self._columns, cells, widths, strict=True):
            if width is None:
                continue
            cell = Text(text, style=style)
            cell.truncate(width, overflow="ellipsis")
            padding = " " * (width - cell.cell_len)
            line.append(" " * _GAP if line else "")
            line.append(padding if column.right else "").append_text(cell)
            line.append("" if column.right else padding)
        line.rstrip()
        self._console.print(line, soft_wrap=True)


def _natural(titles: Sequence[str], cells: Sequence[Sequence[tuple[str, str]]]) -> list[int]:
    from rich.cells import cell_len  # noqa: PLC0415 - only for a terminal

    return [
        max([cell_len(title), *(cell_len(row[n][0]) for row in cells)])
        for n, title in enumerate(titles)
    ]


def _styled(cell: Cell) -> tuple[str, str]:
    if isinstance(cell, Mark):
        return safe(cell.text), cell.style
    return (f"{cell:,}" if isinstance(cell, int) else safe(cell)), ""


def _text(cell: Cell) -> str:
    return cell.text if isinstance(cell, Mark) else str(cell)
