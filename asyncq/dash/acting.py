"""What may be done to tasks and queues: asked for, confirmed, under way, done."""

from __future__ import annotations

import json
from dataclasses import replace

from asyncq import GroupInfo, QueueInfo, TaskInfo, TaskState, WorkerInfo
from asyncq.safe_text import safe

from .items import selected, size_of
from .keys import Command, Place
from .plain import is_editable
from .reading import ask
from .state import (
    Act,
    Action,
    ConfirmModal,
    EditModal,
    Ended,
    ManyTasks,
    Notice,
    OneTask,
    PayloadTyped,
    ProgressModal,
    SetPaused,
    State,
    Step,
    TaskModal,
    Verb,
    WritePayload,
)

LONGEST_PAYLOAD = 64 * 1024
"""Of one that can be edited."""

VERBS: dict[Command, Verb] = {
    Command.RUN: "run",
    Command.ARCHIVE: "archive",
    Command.DELETE: "delete",
    Command.CANCEL: "cancel",
    Command.RUN_ALL: "run",
    Command.ARCHIVE_ALL: "archive",
    Command.DELETE_ALL: "delete",
    Command.CANCEL_ALL: "cancel",
}
DONE: dict[Verb, str] = {
    "run": "made pending",
    "archive": "archived",
    "delete": "deleted",
    "cancel": "asked to cancel",
}
_EDITABLE = frozenset({TaskState.PENDING, TaskState.SCHEDULED, TaskState.RETRY, TaskState.ARCHIVED})


def why_not(verb: Verb, state: TaskState) -> str:
    """Why tasks in a state cannot be acted on so; empty if they can."""
    if verb == "cancel":
        return "" if state is TaskState.ACTIVE else f"only active tasks are cancelled, not {state}"
    if state is TaskState.ACTIVE:
        return f"an active task cannot be {_PARTICIPLES[verb]}; cancel it (c, C)"
    if verb == "run" and state is TaskState.PENDING:
        return "a pending task runs as soon as a worker is free"
    if verb == "archive" and state is TaskState.ARCHIVED:
        return "it is archived already"
    return ""


_PARTICIPLES: dict[Verb, str] = {"run": "run", "archive": "archived", "delete": "deleted"}


def act_on_one(state: State, verb: Verb) -> Step:
    """The selected task, or the one in the modal."""
    modal = state.modal
    item = modal.task if isinstance(modal, TaskModal) else selected(state)
    if isinstance(item, WorkerInfo):
        return _confirm(state, OneTask(verb, item.queue, item.task_id))
    if not isinstance(item, TaskInfo):
        return _say(state, "select a task first"), ()
    if reason := why_not(verb, item.state):
        return _say(state, reason), ()
    return _confirm(state, OneTask(verb, item.queue, item.id))


def act_on_many(state: State, verb: Verb) -> Step:
    """All tasks of the state that is shown, or of the selected group, that match the filter."""
    view = state.view
    group, total = view.group, size_of(state)
    if view.place is Place.GROUPS:
        item = selected(state)
        if not isinstance(item, GroupInfo):
            return _say(state, "select a group first"), ()
        group, total = item.group, item.size
    if reason := why_not(verb, view.state):
        return _say(state, reason), ()
    return _confirm(
        state,
        ManyTasks(
            verb=verb,
            queue=view.queue,
            state=view.state,
            group=group,
            filter=view.filter,
            total=total,
        ),
    )


def pause(state: State) -> Step:
    """Pause the queue that is selected or shown, or resume it."""
    item = selected(state) if state.view.place is Place.QUEUES else state.seen and state.seen.queue
    if not isinstance(item, QueueInfo):
        return _say(state, "select a queue first"), ()
    return _confirm(state, SetPaused(item.queue, not item.paused))


def edit(state: State) -> Step:
    """A form for the payload of the selected task, or of the one in the modal."""
    modal = state.modal
    item = modal.task if isinstance(modal, TaskModal) else selected(state)
    if not isinstance(item, TaskInfo):
        return _say(state, "select a task first"), ()
    if item.state not in _EDITABLE:
        return _say(state, f"the payload of a task that is {item.state} stays as it is"), ()
    if len(item.payload) > LONGEST_PAYLOAD:
        return _say(state, f"its payload is longer than {LONGEST_PAYLOAD:,} bytes"), ()
    if not is_editable(item.payload):
        return _say(state, "its payload is not text, and cannot be edited as such"), ()
    text = item.payload.decode()
    form = EditModal(
        item.queue, item.id, text, is_json=not why_no_json(text), problem="", back=modal
    )
    return replace(state, modal=form), ()


def take_payload(state: State, event: PayloadTyped) -> Step:
    """Check what was typed in."""
    form = state.modal
    if not isinstance(form, EditModal):
        return state, ()
    problem = why_no_json(event.text) if form.is_json else ""
    if problem:
        return replace(state, modal=replace(form, text=event.text, problem=problem)), ()
    form = replace(form, text=event.text, problem="")
    return _confirm(
        replace(state, modal=form), WritePayload(form.queue, form.id, event.text.encode())
    )


def why_no_json(text: str) -> str:
    """What is wrong with JSON; empty if nothing is."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return f"not JSON, as it was before: {error}"
    except (ValueError, RecursionError):
        return "not JSON that can be read: a number too long, or nested too deeply"
    return ""


def answer(state: State, yes: bool) -> Step:
    """To the question whether to do it."""
    modal = state.modal
    if not isinstance(modal, ConfirmModal):
        return state, ()
    if not yes:
        return replace(state, modal=modal.back), ()
    if state.acting is not None:
        return _say(state, "wait: something is being done already"), ()
    action = modal.action
    back = modal.back
    if isinstance(back, EditModal):
        back = back.back
    after = ProgressModal(action) if isinstance(action, ManyTasks) else back
    return replace(state, modal=after, acting=action), (Act(action),)


def end(state: State, event: Ended) -> Step:
    """Say what became of it, and look what is there now."""
    if isinstance(state.modal, ProgressModal):
        state = replace(state, modal=None)
    state = replace(state, acting=None, notice=Notice(*_outcome(event)))
    return ask(state)


def described(action: Action) -> str:
    """What is to be done, for people."""
    match action:
        case OneTask():
            return f"{action.verb} task {safe(action.id)} of queue {safe(action.queue)}"
        case SetPaused():
            return f"{'pause' if action.paused else 'resume'} queue {safe(action.queue)}"
        case WritePayload():
            size = f"{len(action.payload):,} bytes"
            return f"replace the payload of task {safe(action.id)} by {size}"
        case ManyTasks():
            group = f" of group {safe(action.group)}" if action.group else ""
            return f"{action.verb} all {action.state} tasks{group} of queue {safe(action.queue)}"


def _outcome(event: Ended) -> tuple[str, bool]:
    action = event.action
    if isinstance(action, ManyTasks):
        done = f"{event.done:,} {'task' if event.done == 1 else 'tasks'} {DONE[action.verb]}"
        if event.error:
            return f"{done}, then: {safe(event.error)}", True
        return done + (", then stopped" if event.stopped else ""), False
    if event.error:
        return safe(event.error), True
    match action:
        case OneTask():
            return f"task {safe(action.id)} {DONE[action.verb]}", False
        case SetPaused():
            return f"queue {safe(action.queue)} {'paused' if action.paused else 'resumed'}", False
        case WritePayload():
            return f"payload of task {safe(action.id)} written", False


def _confirm(state: State, action: Action) -> Step:
    if state.acting is not None:
        return _say(state, "wait: something is being done already"), ()
    return replace(state, modal=ConfirmModal(action, back=state.modal)), ()


def _say(state: State, text: str) -> State:
    return replace(state, notice=Notice(text, is_error=True))
