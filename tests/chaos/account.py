"""What became of every task, from what processes noted and what stands in Redis."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import pairwise

from .journal import Note

_UNEXPLAINED = "unexplained"


@dataclass(slots=True)
class Attempt:
    """One run of a handler with one task."""

    at_ns: int
    number: int
    """How often the task was retried before."""
    process: str
    pid: int
    ended_ns: int | None = None
    how: str = ""
    """`done`, `failed` (as it should), `skipped`; empty if it never came to an end."""


@dataclass(slots=True)
class Story:
    """All that is known of one task, or of all that was said of one."""

    token: str
    said: set[str] = field(default_factory=set[str])
    """What its producer was told: `acked`, `refused`, `unknown`, ...; empty if it died before."""
    in_doubt: bool = False
    """Whether the reply to an enqueue was lost."""
    in_thread: bool = False
    """Whether its handler runs in a thread, which nobody can end."""
    attempts: list[Attempt] = field(default_factory=list[Attempt])


@dataclass(frozen=True, slots=True)
class World:
    """What else the judgement of a story needs."""

    killed: Set[int]
    ended: Set[int]
    archived: Set[str]
    forgets: bool
    """Whether a failover may have forgotten what was acknowledged without a replica."""


@dataclass(slots=True)
class Account:
    """The tasks of one seed."""

    tasks: Counter[str] = field(default_factory=Counter[str])
    """By what their producers were told."""
    attempts: int = 0
    by_go: int = 0
    """Attempts of Go's workers that were done."""
    archived: int = 0
    lost: list[str] = field(default_factory=list[str])
    repeated: Counter[str] = field(default_factory=Counter[str])
    """Attempts beyond those that a task should have had, by their reason."""
    repeated_tasks: int = 0
    problems: list[str] = field(default_factory=list[str])
    suspects: list[str] = field(default_factory=list[str])
    """Tasks whose history tells of what went wrong."""


def stories(notes: Iterable[Note]) -> dict[str, Story]:
    """By token."""
    found: dict[str, Story] = {}
    open_attempts: dict[tuple[str, int, int], Attempt] = {}
    for note in sorted(notes, key=lambda note: note.at_ns):
        if note.event in ("up", "aggregating", "tick"):
            continue
        story = found.setdefault(note.token, Story(note.token))
        key = (note.token, note.pid, note.number)
        match note.event:
            case "sent":
                pass
            case "doubt":
                story.in_doubt = True
            case "thread":
                story.in_thread = True
            case "start":
                attempt = Attempt(note.at_ns, note.number, note.process, note.pid)
                open_attempts[key] = attempt
                story.attempts.append(attempt)
            case "done" | "failed" | "skipped":
                attempt = open_attempts[key]
                attempt.ended_ns, attempt.how = note.at_ns, note.event
            case said:
                story.said.add(said)
    return found


def account(notes: Iterable[Note], world: World) -> Account:
    """Judge every task. What waits in Redis is the caller's to look at: nothing should."""
    made = Account()
    for story in stories(notes).values():
        _judge(story, world, made)
    made.archived = len(world.archived)
    for token in world.archived:
        if token.startswith("unreadable"):
            made.problems.append(f"an archived task cannot be read: {token}")
    return made


def _judge(story: Story, world: World, made: Account) -> None:
    (said,) = story.said or {"unanswered"}
    made.tasks[said] += 1
    made.attempts += len(story.attempts)
    made.by_go += sum(a.process.startswith("go") and a.how == "done" for a in story.attempts)
    is_done = any(attempt.how == "done" for attempt in story.attempts)
    is_skipped = any(attempt.how == "skipped" for attempt in story.attempts)
    problems: list[str] = []
    if story.token in world.archived and not is_skipped:
        problems.append("was archived without a reason")
    if said == "acked" and not is_done and story.token not in world.archived:
        made.lost.append(story.token)
        problems.append("is lost")
    if said not in ("acked", "unknown", "unanswered", "unreplicated") and story.attempts:
        problems.append(f"ran although its producer was told: {said}")
    if said not in ("acked", "unknown", "unanswered", "unreplicated", "refused"):
        problems.append(f"its enqueue said: {said}")
    reasons = [reason for a, b in pairwise(story.attempts) if (reason := why(a, b, story, world))]
    made.repeated.update(reasons)
    made.repeated_tasks += bool(reasons)
    if _UNEXPLAINED in reasons:
        problems.append("ran again for no reason that is known")
    if problems:
        made.suspects.append(story.token)
        made.problems += [f"task {story.token} {problem}" for problem in problems]


def why(first: Attempt, second: Attempt, story: Story, world: World) -> str | None:
    """Why a task ran again; None if it was to."""
    was_over = first.ended_ns is not None and first.ended_ns < second.at_ns
    if second.number > first.number:
        if first.how == "failed":
            return None
        if was_over:
            return "outcome not written in time"
        return "worker killed" if first.pid in world.killed else "lease lost"
    if second.number < first.number and not world.forgets:
        return "lease lost"  # by a worker that had it, but stood still before it began
    if was_over and story.in_doubt:
        return "enqueued again after it was done"
    if first.pid in world.ended and (not was_over or story.in_thread):
        return "put back"
    if world.forgets:
        return "forgotten by a failover"
    return _UNEXPLAINED


def history(
    token: str, notes: Sequence[Note], faults: Mapping[int, str], start_ns: int
) -> Iterator[str]:
    """All that was noted of a task, and the faults between, in the order of time."""
    lines: dict[int, list[str]] = defaultdict(list)
    for note in notes:
        if note.token == token:
            retried = f" (retried {note.number} times)" if note.number else ""
            lines[note.at_ns].append(f"{note.process} [{note.pid}]: {note.event}{retried}")
    for at_ns, fault in faults.items():
        lines[at_ns].append(f"-- {fault}")
    for at_ns in sorted(lines):
        for line in lines[at_ns]:
            yield f"{(at_ns - start_ns) / 1e9:9.3f} s  {line}"
