"""Where a command prints: JSON, text for a terminal, or plain text for a pipe."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from asyncq.safe_text import safe

from ..wrapping import wrapped
from .records import dumps
from .table import Cell, Column, Mark, PlainTable, TerminalTable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


class Output:
    """Results go to stdout; problems, questions and progress to stderr."""

    def __init__(self, *, json: bool) -> None:
        self.json = json
        self.is_terminal = sys.stdout.isatty() and not json
        self.endless = False
        """The command runs until it is interrupted, so that is a good end of it."""
        self.cut = False
        """Lines longer than the terminal is wide are cut, not wrapped."""
        self._console: Console | None = None

    @property
    def console(self) -> Console:
        """Of stdout; only for a terminal, since it takes a while to import."""
        if self._console is None:
            from rich.console import Console  # noqa: PLC0415

            self._console = Console(highlight=False, markup=False, emoji=False)
        return self._console

    def line(self, text: str = "") -> None:
        """A line of text."""
        if self.is_terminal:
            self._print(safe(text))
        else:
            print(safe(text))

    def prose(self, text: str) -> None:
        """A sentence: on a terminal it is broken between words."""
        if self.is_terminal and not self.cut:
            text = wrapped(safe(text), self.console.width)
            self.console.print(text, soft_wrap=True)
        else:
            self.line(text)

    def raw(self, data: bytes) -> None:
        """Bytes as they are."""
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    def heading(self, text: str) -> None:
        """A line that stands out."""
        if self.is_terminal:
            self._print(safe(text), "bold")
        else:
            print(safe(text))

    def note(self, text: str) -> None:
        """A remark for people; none for a pipe."""
        if self.is_terminal:
            self._print(wrapped(safe(text), self.console.width), "dim")

    def pairs(self, pairs: Iterable[tuple[str, Cell | Sequence[str]]]) -> None:
        """Names and values. A sequence stands on lines of its own below the name."""
        found = list(pairs)
        width = max((len(name) for name, _ in found), default=0) + 2
        for name, value in found:
            if isinstance(value, (str, int, Mark)):
                self._pair(name, value, width)
            else:
                self.line(f"{name}:")
                for text in value:
                    self.line(f"  {text}")

    def _pair(self, name: str, value: Cell, width: int) -> None:
        text = value.text if isinstance(value, Mark) else value
        if not self.is_terminal:
            print(f"{name}:\t{safe(str(text))}")
            return
        from rich.text import Text  # noqa: PLC0415 - only for a terminal

        shown = f"{text:,}" if isinstance(text, int) else safe(text)
        line = Text(f"{name + ':':{width}}")
        line.append(shown, style=value.style if isinstance(value, Mark) else "")
        self._print(line)

    def _print(self, text: str | Text, style: str = "") -> None:
        """On a terminal. A line that is too long goes on below, as it came."""
        if self.cut:
            self.console.print(text, style=style, no_wrap=True, overflow="ellipsis")
        else:
            self.console.print(text, style=style, soft_wrap=True)

    def table(self, columns: Sequence[Column]) -> PlainTable | TerminalTable:
        """A table to add rows to."""
        if self.is_terminal:
            return TerminalTable(columns, self.console)
        return PlainTable(columns, sys.stdout)

    def rows(self, columns: Sequence[Column], rows: Iterable[Sequence[Cell]]) -> None:
        """A whole table."""
        table = self.table(columns)
        table.add(rows)
        table.end()

    def record(self, value: object) -> None:
        """One JSON value."""
        print(dumps(value, indent=2))

    def array(self) -> JsonArray:
        """A JSON array whose items come one after the other."""
        return JsonArray()

    def json_line(self, value: object) -> None:
        """One JSON value on a line, for whoever reads at once."""
        print(dumps(value), flush=True)

    def control(self, text: str) -> None:
        """Text with commands for the terminal: only what this program made itself."""
        sys.stdout.write(text)
        sys.stdout.flush()

    def flush(self) -> None:
        """Have what was printed read now."""
        sys.stdout.flush()

    def problem(self, text: str) -> None:
        """Why something was not done."""
        self._tell(f"error: {safe(text)}")

    def remark(self, text: str) -> None:
        """What to know of a result, whatever form it has."""
        self._tell(f"note: {safe(text)}")

    def _tell(self, text: str) -> None:
        sys.stdout.flush()
        if sys.stderr.isatty():
            text = wrapped(text, shutil.get_terminal_size().columns)
        print(text, file=sys.stderr)


class JsonArray:
    """A JSON array, an item a line; none of it is kept."""

    def __init__(self) -> None:
        self._separator = "[\n"

    def add(self, value: object) -> None:
        """The next item."""
        print(f"{self._separator}{dumps(value)}", end="")
        self._separator = ",\n"

    def end(self) -> None:
        """No item comes any more."""
        print("[]" if self._separator == "[\n" else "\n]")
