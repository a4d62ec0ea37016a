"""Text in so many cells of a terminal, and payloads, which are text of strangers."""

from __future__ import annotations

from rich.cells import cell_len, chop_cells, set_cell_size

from asyncq.safe_text import safe

NIL = "<nil>"


def plain_bytes(data: bytes, most: int) -> str:
    """At most the first `most` bytes, on one line; those that are not UTF-8 as `\\xff`."""
    return safe(_decoded(data[:most])) if data else NIL


def plain_lines(data: bytes, width: int, most: int) -> list[str]:
    """At most the first `most` bytes, broken at their line ends and at `width` cells."""
    if not data:
        return [NIL]
    lines = [
        part
        for line in _decoded(data[:most]).split("\n")
        for part in chop_cells(safe(line), max(1, width)) or [""]
    ]
    if len(data) > most:
        lines.append(f"... and {len(data) - most:,} bytes more")
    return lines


def is_editable(data: bytes) -> bool:
    """Whether it is text that a person can see all of: UTF-8, printable but for line ends and
    tabs."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return False
    return text.replace("\n", "").replace("\t", "").isprintable()


def fitted(text: str, width: int) -> str:
    """Text in exactly so many cells: filled up with blanks, or cut and marked by an ellipsis."""
    if width <= 0:
        return ""
    text = text[: 4 * width]  # whatever has no width is no reason to look at all of it
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    return set_cell_size(text, width - 1) + "…"


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")
