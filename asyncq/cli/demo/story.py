"""What the demo promises, what was seen of it, and whether the two agree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from .look import Counts

TICKS = 50
"""How many tasks an idle worker is given to pick up, one by one."""
_ENOUGH_FILES = 200


@dataclass
class Story:
    """Everything seen in one run; each number comes from Redis, a task's result or a clock."""

    files: int
    """How many were found, each to become a task."""
    directories: int
    skipped: int
    """Files whose names are not Unicode, which JSON cannot carry."""
    counts: dict[str, Counts] = field(default_factory=dict[str, Counts])
    pickups: list[float] = field(default_factory=list[float])
    """Seconds from `enqueue` to the handler, one after the other, the worker idle."""
    reading_s: float = 0
    """From the first enqueue of a file to the end of the last."""
    summaries: int = 0
    files_read: int = 0
    """By the results of the tasks of files, as the next one."""
    bytes_read: int = 0
    files_summarised: int = 0
    """By the results of the summaries, as the next one."""
    bytes_summarised: int = 0
    files_archived: int = 0
    duplicate_refused: bool = False
    first_imported: bool = False
    late_s: float | None = None
    """How long after its time the delayed task began; None if it did not."""
    attempts: int = 0
    gave_up: bool = False
    """Whether the failing task is archived."""
    timed_out: bool = False
    """Whether the hanging task is archived because of its time-out."""
    timed_out_s: float = 0
    """When that was seen, counted from its enqueue."""
    seconds: float = 0

    @property
    def specials_done(self) -> bool:
        """Whether each task but those of files has come to its promised end."""
        return self.first_imported and self.late_s is not None and self.gave_up and self.timed_out


@dataclass(frozen=True, slots=True)
class Row:
    """One promise of the demo."""

    what: str
    seen: str
    kept: bool = True


def rows(story: Story) -> list[Row]:
    """The closing table."""
    return [*_files(story), *_specials(story), *_pickup(story), _all(story)]


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all do not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def _files(story: Story) -> list[Row]:
    read = f"{story.files_read:,} of {story.files:,}, {story.bytes_read / 1e6:,.1f} MB"
    rate = "these files are too few to tell"
    if story.files_read >= _ENOUGH_FILES and story.reading_s:
        rate = f"{story.files_read / story.reading_s:,.0f} tasks per second"
    added_up = (story.files_summarised, story.bytes_summarised) == (
        story.files_read,
        story.bytes_read,
    )
    summarised = f"{story.files_summarised:,} files became {story.summaries:,} summaries"
    found = [
        Row("files fingerprinted", read, story.files_read + story.files_archived == story.files),
        Row("how fast, with enqueueing", rate),
        Row("aggregated by directory", summarised, added_up),
    ]
    if story.files_archived:
        found.append(Row("files that could not be read", f"{story.files_archived:,}, archived"))
    if story.skipped:
        found.append(Row("files whose names are not text", f"{story.skipped:,}, left out"))
    return found


def _specials(story: Story) -> list[Row]:
    refused = "refused: DuplicateTaskError" if story.duplicate_refused else "accepted"
    late = "did not run" if story.late_s is None else f"ran {_ms(story.late_s)} after its time"
    gave_up = "archived" if story.gave_up else "not archived"
    ended = f"cancelled, archived after {story.timed_out_s:.2f} s"
    on_time = story.late_s is not None and story.late_s >= 0
    return [
        Row("unique task, enqueued twice", refused, story.duplicate_refused),
        Row("delayed task", late, on_time),
        Row(
            "task that always fails",
            f"{story.attempts} attempts, then {gave_up}",
            story.gave_up and story.attempts == 3,
        ),
        Row(
            "task that hangs, time-out 1 s",
            ended if story.timed_out else "not cancelled",
            story.timed_out,
        ),
    ]


def _pickup(story: Story) -> list[Row]:
    what = "picked up by an idle worker"
    if not story.pickups:
        return [Row(what, "nothing was", False)]
    p50, p99 = percentile(story.pickups, 0.5), percentile(story.pickups, 0.99)
    return [
        Row(
            what,
            f"after {_ms(p50)} (p50), {_ms(p99)} (p99) of {len(story.pickups)}",
            len(story.pickups) == TICKS,
        )
    ]


def _all(story: Story) -> Row:
    counts = story.counts.values()
    left = sum(count.unfinished for count in counts)
    return Row(
        "all of it, as Redis counted",
        f"{sum(c.processed for c in counts):,} attempts, {sum(c.failed for c in counts):,} failed;"
        f" {left:,} tasks left",
        left == 0 and bool(story.counts),
    )


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"
