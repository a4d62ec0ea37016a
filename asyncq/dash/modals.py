"""What stands in the windows above the page, as lines of text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.cells import chop_cells
from rich.text import Text

from asyncq import TaskFilter, TaskInfo, TaskState, WorkerInfo
from asyncq.safe_text import safe

from .acting import DONE, described
from .keys import Key, Place, keys_at
from .numbers import count, duration, moment
from .palette import STRONG, Palette, palette
from .plain import fitted, plain_lines
from .state import (
    Action,
    ConfirmModal,
    EditModal,
    FilterModal,
    HelpModal,
    ManyTasks,
    OneTask,
    ProgressModal,
    State,
    TaskModal,
)

_LONGEST_SHOWN = 64 * 1024
_LABEL = 14


@dataclass(frozen=True, slots=True)
class Window:
    """A window: its title, the lines that are seen, and its size without the frame."""

    title: str
    lines: tuple[Text, ...]
    width: int
    height: int


def window(state: State) -> Window | None:
    """That of the modal, if there is one."""
    modal = state.modal
    if modal is None:
        return None
    width, height = inner_size(state)
    everything = _lines(state, width)
    scroll = getattr(modal, "scroll", 0)
    if isinstance(modal, (HelpModal, TaskModal)):
        shown = everything[scroll : scroll + height]
    else:
        shown, height = everything[:height], min(height, len(everything))
    for line in shown:
        line.truncate(width, overflow="ellipsis")
    return Window(_TITLES[state.place], tuple(shown), width, height)


def last_scroll(state: State) -> int:
    """How far the text of the modal can be moved up."""
    width, height = inner_size(state)
    return max(0, len(_lines(state, width)) - height)


def inner_size(state: State) -> tuple[int, int]:
    """Width and height of a window inside its frame: most of the screen."""
    return max(1, min(120, state.width - 8)), max(1, state.height - 6)


_TITLES = {
    Place.HELP: "Keys",
    Place.TASK: "Task",
    Place.CONFIRM: "Are you sure?",
    Place.FILTER: "Filter",
    Place.EDIT: "Payload",
    Place.PROGRESS: "At work",
}


def _lines(state: State, width: int) -> list[Text]:
    modal, colours = state.modal, palette(state.dark)
    match modal:
        case HelpModal():
            return _help(state.view.place, width)
        case TaskModal():
            now = state.seen.at if state.seen else datetime.now(UTC)
            return list(_task(modal, now, width, colours))
        case ConfirmModal():
            return list(_question(modal.action, width, colours))
        case FilterModal():
            return [
                Text("Tasks of the state that match all of these. Empty: any.", colours.faint),
                Text("Enter: apply   Tab: next field   Esc: leave as it was", colours.faint),
            ]
        case EditModal():
            return list(_edit(modal, width, colours))
        case ProgressModal():
            return _progress(modal, width)
        case None:
            return []


def _help(place: Place, width: int) -> list[Text]:
    """In two columns, if there is room."""
    keys = keys_at(place)
    if width < 70:
        return [_key(key, width) for key in keys]
    half = -(-len(keys) // 2)
    column = width // 2
    lines = [_key(key, column) for key in keys[:half]]
    for line, key in zip(lines, keys[half:], strict=False):
        line.append_text(_key(key, width - column))
    return lines


def _key(key: Key, width: int) -> Text:
    text = Text(fitted(key.shown, 8), STRONG)
    text.append(fitted(" " + key.help, width - 9) + " ")
    return text


def _task(modal: TaskModal, now: datetime, width: int, colours: Palette) -> Iterator[Text]:
    if modal.gone:
        yield Text(
            "This task is gone: done, deleted, or its retention is over."
            + (" What is below was seen before." if modal.task else ""),
            colours.warning,
        )
    task = modal.task
    if task is None:
        yield from _field("ID", modal.id, width)
        yield from _field("Queue", modal.queue, width)
        if not modal.gone:
            yield Text("reading ...", colours.faint)
        return
    for label, value in _fields(task, modal.worker, now):
        yield from _field(label, value, width)
    if task.last_error:
        yield from _field("Last failure", task.last_error, width, colours)
        yield from _field("  at", moment(task.last_failed_at, now), width)
    for name, value in task.headers.items():
        yield from _field("Header", f"{name}: {value}", width)
    yield from _block("Payload", task.payload, width)
    if task.result is not None:
        yield from _block("Result", task.result, width)


def _fields(task: TaskInfo, worker: WorkerInfo | None, now: datetime) -> Iterator[tuple[str, str]]:
    orphaned = " (its lease has run out: its worker is gone)" if task.is_orphaned else ""
    yield "ID", task.id
    yield "Type", task.type
    yield "State", task.state + orphaned
    if worker is not None:
        yield "Worker", f"{worker.host}:{worker.pid}, for {duration(now - worker.started)}"
        yield "Must end", moment(worker.deadline, now)
    yield "Queue", task.queue
    if task.group:
        yield "Group", task.group
    yield "Retried", f"{task.retried} of {task.max_retry}"
    if task.next_process_at is not None and task.state is not TaskState.PENDING:
        yield "Next process", moment(task.next_process_at, now)
    if task.completed_at is not None:
        yield "Completed", moment(task.completed_at, now)
    if task.timeout:
        yield "Time-out", duration(task.timeout)
    if task.deadline is not None:
        yield "Deadline", moment(task.deadline, now)
    if task.retention:
        yield "Retention", duration(task.retention)


def _field(label: str, value: str, width: int, colours: Palette | None = None) -> Iterator[Text]:
    """Label and value; the value goes on below itself where the line is too short."""
    parts = chop_cells(safe(value[:_LONGEST_SHOWN]), max(1, width - _LABEL)) or [""]
    for number, part in enumerate(parts):
        line = Text(fitted("" if number else label, _LABEL), STRONG)
        line.append(part, colours.error if colours else None)
        yield line


def _block(label: str, data: bytes, width: int) -> Iterator[Text]:
    yield Text(f"{label} ({len(data):,} bytes)", STRONG)
    for line in plain_lines(data, width - 2, _LONGEST_SHOWN):
        yield Text("  " + line)


def _question(action: Action, width: int, colours: Palette) -> Iterator[Text]:
    question = described(action)
    yield from _wrapped(f"{question[0].upper()}{question[1:]}?", width)
    for line in _consequences(action):
        yield from _wrapped(line, width)
    if isinstance(action, (OneTask, ManyTasks)) and action.verb == "delete":
        yield Text("This cannot be undone.", colours.error)
    yield Text()
    yield Text("y: yes   n: no", STRONG)


def _consequences(action: Action) -> Iterator[str]:
    if isinstance(action, ManyTasks):
        if action.filter is not None:
            yield "Only those with " + filter_text(action.filter) + "."
        if action.total:
            most = "At most" if action.filter else "About"
            yield f"{most} {count(action.total)} tasks, on all pages."
    if isinstance(action, (OneTask, ManyTasks)) and action.verb == "cancel":
        yield "The attempt fails; it is retried, or archived when it was the last."


def _wrapped(text: str, width: int) -> Iterator[Text]:
    for part in chop_cells(text, width) or [""]:
        yield Text(part)


def _edit(modal: EditModal, width: int, colours: Palette) -> Iterator[Text]:
    yield Text(f"Task {safe(modal.id)} of queue {safe(modal.queue)}"[: 4 * width])
    hint = "Ctrl+S: save   Esc: leave as it was" + ("   JSON" if modal.is_json else "")
    yield Text(hint, colours.faint)
    yield Text(modal.problem, colours.error)


def _progress(modal: ProgressModal, width: int) -> list[Text]:
    action = modal.action
    total = action.total
    done = f"{count(modal.done)} {DONE[action.verb]}"
    if total:
        done += f" of {'at most ' if action.filter else ''}{count(total)}"
    cells = min(width, 40)
    full = min(cells, cells * modal.done // total) if total else 0
    return [
        *_wrapped(described(action), width),
        Text(done),
        Text("[" + "#" * full + "." * (cells - full) + "]"),
        Text("stopping ..." if modal.stopping else "Esc: stop; what is done is done", STRONG),
    ]


def filter_text(filter: TaskFilter) -> str:
    """What a filter asks for."""
    payload = filter.payload
    given = {
        "type": filter.type,
        "payload": payload.decode("utf-8", "replace") if isinstance(payload, bytes) else payload,
        "error": filter.error,
    }
    return ", ".join(f"{name} {safe(text)!r}" for name, text in given.items() if text)
