"""Colours, for a dark and a light background. None of them says what nothing else says."""

from __future__ import annotations

from dataclasses import dataclass

from rich.style import Style

from asyncq import TaskState

PLAIN = Style()
STRONG = Style(bold=True)
SELECTED = Style(reverse=True)

STATE_LETTERS: dict[TaskState, str] = {
    TaskState.ACTIVE: "a",
    TaskState.PENDING: "p",
    TaskState.AGGREGATING: "g",
    TaskState.SCHEDULED: "s",
    TaskState.RETRY: "r",
    TaskState.ARCHIVED: "x",
    TaskState.COMPLETED: "c",
}
"""What a bar is made of, so that its parts are told apart without colours."""

STATE_STYLES: dict[TaskState, Style] = {
    TaskState.ACTIVE: Style(color="#ffffff", bgcolor="#1f5fbf"),
    TaskState.PENDING: Style(color="#000000", bgcolor="#2ebd50"),
    TaskState.AGGREGATING: Style(color="#000000", bgcolor="#a5e8a0"),
    TaskState.SCHEDULED: Style(color="#000000", bgcolor="#e8c547"),
    TaskState.RETRY: Style(color="#000000", bgcolor="#ff9ac1"),
    TaskState.ARCHIVED: Style(color="#ffffff", bgcolor="#7a3fb5"),
    TaskState.COMPLETED: Style(color="#ffffff", bgcolor="#0f5c28"),
}
"""asynq's colours. Letters stand on a ground of their own: the same on any background."""


@dataclass(frozen=True, slots=True)
class Palette:
    """Styles by what they are for."""

    faint: Style
    error: Style
    warning: Style
    good: Style
    heading: Style


DARK = Palette(
    faint=Style(color="#9a9a9a"),
    error=Style(color="#ff7b72", bold=True),
    warning=Style(color="#f0c060", bold=True),
    good=Style(color="#7ee787"),
    heading=Style(color="#79c0ff", bold=True),
)
LIGHT = Palette(
    faint=Style(color="#5c5c5c"),
    error=Style(color="#b00020", bold=True),
    warning=Style(color="#7a4f00", bold=True),
    good=Style(color="#116329"),
    heading=Style(color="#0b4fa0", bold=True),
)


def palette(dark: bool) -> Palette:
    """The one for a background."""
    return DARK if dark else LIGHT
