"""Progress: a few lines that change in place, or plain lines where nobody watches a terminal."""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .look import Queues
from .story import TICKS, Story

_LINE_EVERY_S = 1.0


class Display(Protocol):
    """Shows how far a run has come."""

    def update(self) -> None:
        """Look at the story again."""


@contextmanager
def display(story: Story, queues: Queues) -> Generator[Display]:
    """The one that suits standard output."""
    console = Console(highlight=False)
    if not console.is_terminal or console.is_dumb_terminal or os.environ.get("CI"):
        yield PlainDisplay(story, queues)
        return
    with Live(console=console, refresh_per_second=10, transient=True) as live:
        yield LiveDisplay(live, story, queues)


class LiveDisplay:
    """A block of lines on a terminal."""

    def __init__(self, live: Live, story: Story, queues: Queues) -> None:
        self._live = live
        self._story = story
        self._queues = queues

    def update(self) -> None:
        """Draw the block anew."""
        self._live.update(self._block())

    def _block(self) -> Group:
        story = self._story
        bars = _grid()
        ticks, done = len(story.pickups), _finished(story, self._queues)
        rate = f", {done / story.reading_s:,.0f}/s" if done and story.reading_s else ""
        bars.add_row("idle worker wakes up", _bar(ticks, TICKS), f"{ticks} times")
        bars.add_row(
            "files fingerprinted", _bar(done, story.files), f"{done:,} of {story.files:,}{rate}"
        )
        bars.add_row(
            "groups aggregated",
            _bar(story.summaries, story.directories),
            f"{story.summaries:,}, {_waiting(story, self._queues):,} wait for more",
        )
        others = _grid()
        for name, seen, ended in _specials(story):
            others.add_row(name, Text(seen, style="green" if ended else "dim"))
        return Group(bars, others)


def _grid() -> Table:
    grid = Table.grid(padding=(0, 2), pad_edge=True)
    grid.add_column(width=24, no_wrap=True)
    return grid


class PlainDisplay:
    """A line now and then, and one for each thing that has come to its end."""

    def __init__(self, story: Story, queues: Queues) -> None:
        self._story = story
        self._queues = queues
        self._start = self._said = time.monotonic()
        self._told: set[str] = set()

    def update(self) -> None:
        """Print what is new."""
        for name, seen, done in _specials(self._story):
            if done and name not in self._told:
                self._told.add(name)
                self._say(f"{name}: {seen}")
        if time.monotonic() - self._said >= _LINE_EVERY_S:
            self._said = time.monotonic()
            self._say(self._progress())

    def _progress(self) -> str:
        story = self._story
        if not story.counts:
            return f"idle worker: {len(story.pickups)} tasks picked up, one by one"
        return (
            f"files: {_finished(story, self._queues):,} of {story.files:,};"
            f" summaries: {story.summaries:,},"
            f" groups that wait for more: {_waiting(story, self._queues):,}"
        )

    def _say(self, text: str) -> None:
        print(f"{time.monotonic() - self._start:6.1f} s  {text}", flush=True)


def _bar(done: int, total: int) -> ProgressBar:
    return ProgressBar(total=max(1, total), completed=min(done, total), width=22)


def _finished(story: Story, queues: Queues) -> int:
    return story.counts[queues.files].finished if story.counts else 0


def _waiting(story: Story, queues: Queues) -> int:
    return story.counts[queues.summaries].grouped if story.counts else 0


def _specials(story: Story) -> list[tuple[str, str, bool]]:
    """The name of each special task, what is known of it, and whether that is its end."""
    begun = bool(story.counts)
    late = "" if story.late_s is None else f"ran {story.late_s * 1000:.0f} ms after its time"
    return [
        (
            "duplicate",
            "refused" if story.duplicate_refused else "not tried yet" if not begun else "accepted",
            story.duplicate_refused,
        ),
        ("delayed by 2 s", late or "waits", story.late_s is not None),
        (
            "always failing",
            f"attempts: {story.attempts}" + (", archived" if story.gave_up else ""),
            story.gave_up,
        ),
        (
            "hanging",
            "cancelled by its time-out" if story.timed_out else "runs" if begun else "waits",
            story.timed_out,
        ),
    ]
