"""Tables of the command line: what gives way where there is little room, and what a pipe gets."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from asyncq.cli.inspect.table import Cell, Column, Mark, PlainTable, TerminalTable, fitted

ID = Column("ID")
TYPE = Column("Type", gives=2, least=8)
PAYLOAD = Column("Payload", gives=1, least=10, spare=1)


@pytest.mark.parametrize(
    ("room", "widths"),
    [
        (100, [36, 20, 40]),  # all of it
        (99, [36, 20, 39]),  # the payload first
        (70, [36, 20, 10]),
        (60, [36, 10, 10]),  # then the type
        (58, [36, 8, 10]),
        (57, [36, 19, None]),  # then the payload is left out
        (46, [36, 8, None]),
        (40, [30, 8, None]),  # and in the end something has to be cut
    ],
)
def test_payload_gives_way_first(room: int, widths: list[int | None]) -> None:
    assert fitted([ID, TYPE, PAYLOAD], [36, 20, 40], room) == widths


columns = st.builds(
    Column,
    title=st.just("x"),
    gives=st.integers(0, 3),
    least=st.integers(1, 20),
    spare=st.integers(0, 3),
)


@given(st.lists(st.tuples(columns, st.integers(1, 200)), min_size=1, max_size=6), st.integers(20))
def test_table_is_never_wider_than_the_room(pairs: list[tuple[Column, int]], room: int) -> None:
    widths = fitted([c for c, _ in pairs], [n for _, n in pairs], room)
    shown = [width for width in widths if width is not None]
    assert sum(shown) + 2 * (len(shown) - 1) <= room
    assert all(w is None or w <= natural for w, (_, natural) in zip(widths, pairs, strict=True))


def lines_of(columns: Sequence[Column], *chunks: list[Sequence[Cell]], width: int) -> list[str]:
    stream = io.StringIO()
    console = Console(file=stream, width=width, highlight=False, markup=False, emoji=False)
    table = TerminalTable(columns, console)
    for rows in chunks:
        table.add(rows)
    table.end()
    return [line.rstrip() for line in stream.getvalue().splitlines()]


def test_cells_are_cut_and_never_wrapped() -> None:
    assert lines_of([ID, PAYLOAD], [("a", "0123456789abcdef")], width=16) == [
        "ID  Payload",
        "a   0123456789a…",
    ]


def test_wide_characters_count_for_two() -> None:
    lines = lines_of([ID, PAYLOAD], [("漢字", "漢" * 20), ("a", "b" * 40)], width=30)
    assert all(cell_len(line) <= 30 for line in lines)
    assert lines[1].startswith("漢字  漢漢")
    assert lines[2].startswith("a     bb")


def test_markup_and_commands_for_the_terminal_are_shown_as_text() -> None:
    cells: list[Sequence[Cell]] = [("[red]x[/red] :smile:", Mark("\x1b[31mred", "red"))]
    lines = lines_of([ID, PAYLOAD], cells, width=80)
    assert lines[1] == r"[red]x[/red] :smile:  \x1b[31mred"


def test_numbers_stand_on_the_right_with_separators() -> None:
    columns = [ID, Column("Size", right=True)]
    assert lines_of(columns, [("a", 1234567), ("b", 5)], width=80) == [
        "ID       Size",
        "a   1,234,567",
        "b           5",
    ]


def test_rows_that_come_later_stand_below_the_same_titles() -> None:
    lines = lines_of([ID, TYPE], [("a", "first")], [("b", "a longer one")], [], width=80)
    assert lines == ["ID  Type", "a   first", "b   a lo…"]


def test_what_found_no_room_is_named() -> None:
    lines = lines_of([ID, PAYLOAD], [("i" * 30, "payload")], width=32)
    assert lines == ["ID", "i" * 30, "no room for: Payload"]


def test_brief_titles_make_room_for_columns() -> None:
    columns = [ID, Column("Scheduled", right=True, brief="Sched"), Column("Memory", spare=1)]
    rows: list[Sequence[Cell]] = [("a", 5, "1.5 MiB")]
    assert lines_of(columns, rows, width=22)[0] == "ID  Scheduled  Memory"
    assert lines_of(columns, rows, width=18) == ["ID  Sched  Memory", "a       5  1.5 MiB"]
    assert lines_of(columns, rows, width=16) == ["ID  Sched", "a       5", "no room for:", "Memory"]


def test_table_without_rows_has_its_titles() -> None:
    assert lines_of([ID, TYPE], width=80) == ["ID  Type"]


def test_pipe_gets_tabs_and_uncut_cells() -> None:
    stream = io.StringIO()
    table = PlainTable([ID, PAYLOAD, Column("Size")], stream)
    table.add([("a\tb", "x" * 300, 1234567)])
    table.add([("c", Mark("\x1b\n", "red"), 0)])
    table.end()
    assert stream.getvalue().splitlines() == [
        "ID\tPayload\tSize",
        f"a\\tb\t{'x' * 300}\t1234567",
        "c\t\\x1b\\n\t0",
    ]
