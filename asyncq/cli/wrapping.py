"""Sentences for a terminal."""

from __future__ import annotations

import textwrap


def wrapped(text: str, width: int) -> str:
    """Lines of whole words, as far as there is room; ids stay in one piece."""
    return "\n".join(
        textwrap.fill(
            line,
            max(20, width),
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in text.split("\n")
    )
