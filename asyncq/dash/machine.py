"""The state machine: an event in, the next state and what it asks for out. No input or output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from asyncq import (
    EnqueueEvent,
    GroupInfo,
    QueueInfo,
    SchedulerEntry,
    ServerInfo,
    TaskFilter,
    TaskInfo,
    TaskState,
    WorkerInfo,
)

from .acting import VERBS, act_on_many, act_on_one, answer, edit, end, pause, take_payload
from .items import has_next_page, items, key_of, page_size, selected
from .keys import Command, Place
from .modals import last_scroll
from .reading import ask, missed, take
from .state import (
    MAIN,
    STATES,
    Arrived,
    Clicked,
    EditModal,
    Ended,
    Event,
    Failed,
    FilterModal,
    FilterTyped,
    HelpModal,
    Leave,
    PayloadTyped,
    Pressed,
    Progressed,
    ProgressModal,
    Redraw,
    Resized,
    Search,
    Started,
    State,
    Step,
    StopActing,
    TaskModal,
    Ticked,
    View,
)


def step(state: State, event: Event) -> Step:
    """What an event makes of a state."""
    return _ON_EVENTS[type(event)](state, event)


def _tick(state: State, event: Ticked) -> Step:
    state = replace(state, now_s=event.now_s)
    return (state, ()) if state.is_reading else ask(state)


def _advance(state: State, event: Progressed) -> Step:
    if isinstance(state.modal, ProgressModal):
        state = replace(state, modal=replace(state.modal, done=event.done))
    return state, ()


def _press(state: State, event: Pressed) -> Step:
    state, command = replace(state, notice=None), event.command
    if command in _EVERYWHERE:
        return _EVERYWHERE[command](state)
    if isinstance(state.modal, (HelpModal, TaskModal)) and command in _SCROLLS:
        scroll = min(max(0, state.modal.scroll + _SCROLLS[command]), last_scroll(state))
        return replace(state, modal=replace(state.modal, scroll=scroll)), ()
    if command in VERBS:
        act = act_on_one if command in _ON_ONE else act_on_many
        return act(state, VERBS[command])
    if state.modal is None and command in _ON_PAGES:
        return _ON_PAGES[command](state)
    return state, ()


def _resize(state: State, event: Resized) -> Step:
    before = page_size(state)
    state = replace(state, width=event.width, height=event.height)
    if page_size(state) == before or state.seen is None:
        return state, ()
    # What stands on which page changes; begin with the first.
    search = Search() if state.view.search else None
    return ask(replace(state, view=replace(state.view, page=1, row=0, selected="", search=search)))


# Moving about


def _move(by: int) -> Callable[[State], Step]:
    def move(state: State) -> Step:
        shown = items(state)
        row = (state.view.row + by) % (len(shown) + 1)
        return _select(state, row), ()

    return move


def _select(state: State, row: int) -> State:
    shown = items(state)
    key = key_of(shown[row - 1]) if row else ""
    return replace(state, view=replace(state.view, row=row, selected=key))


def _click(state: State, event: Clicked) -> Step:
    """Select a line; open it, if it is selected already."""
    if state.modal is not None or not 1 <= event.row <= len(items(state)):
        return state, ()
    state = replace(state, notice=None)
    return _open(state) if event.row == state.view.row else (_select(state, event.row), ())


def _turn(by: int) -> Callable[[State], Step]:
    def turn(state: State) -> Step:
        view = state.view
        if view.place in (Place.TASKS, Place.GROUPS):
            state_now = STATES[(STATES.index(view.state) + by) % len(STATES)]
            return _go(_out_of_group(state), _view_of(view.queue, state_now, view.filter))
        if view.place in MAIN and not view.server:
            return _go(state, View(place=MAIN[(MAIN.index(view.place) + by) % len(MAIN)]))
        return state, ()

    return turn


def _out_of_group(state: State) -> State:
    """The groups that it was chosen from are no page to go back to from another state."""
    trail = state.trail
    if state.view.group and trail and trail[-1].place is Place.GROUPS:
        trail = trail[:-1]
    return replace(state, trail=trail)


def _view_of(queue: str, task_state: TaskState, filter: TaskFilter | None) -> View:
    if task_state is TaskState.AGGREGATING:
        return View(place=Place.GROUPS, queue=queue, state=task_state, filter=filter)
    return View(
        place=Place.TASKS,
        queue=queue,
        state=task_state,
        filter=filter,
        search=Search() if filter else None,
    )


def _page(by: int) -> Callable[[State], Step]:
    def page(state: State) -> Step:
        view = state.view
        if (by > 0 and not has_next_page(state)) or view.page + by < 1:
            return state, ()
        search = view.search
        if search is not None:
            starts = (*search.starts, search.at) if by > 0 else search.starts[:-1]
            search = Search(starts=starts, at=starts[-1])
        view = replace(view, page=view.page + by, row=0, selected="", search=search)
        return _go(state, view)

    return page


def _go_to(place: Place) -> Callable[[State], Step]:
    def go(state: State) -> Step:
        return _go(replace(state, trail=()), View(place=place))

    return go


def _go(state: State, view: View) -> Step:
    """Show a page in place of this one. Of what was seen, what belongs there too is kept."""
    seen = state.seen
    if seen is not None:
        same_queue = bool(view.queue) and view.queue == state.view.queue
        paged = view.place is state.view.place and view.place not in (Place.TASKS, Place.EVENTS)
        seen = (
            seen
            if paged
            else replace(
                seen,
                queues=None,
                tasks=None,
                groups=None,
                events=None,
                queue=seen.queue if same_queue else None,
            )
        )
    return ask(replace(state, view=view, seen=seen))


def _enter(state: State, view: View) -> Step:
    """Show a page, and come back to this one."""
    return _go(replace(state, trail=(*state.trail, state.view)), view)


def _open(state: State) -> Step:
    item = selected(state)
    match item:
        case None:
            return state, ()
        case QueueInfo():
            return _enter(state, _view_of(item.queue, TaskState.ACTIVE, None))
        case GroupInfo():
            view = replace(_view_of(item.queue, TaskState.ACTIVE, state.view.filter))
            view = replace(view, state=TaskState.AGGREGATING, group=item.group)
            return _enter(state, view)
        case ServerInfo():
            return _enter(state, View(place=Place.WORKERS, server=item.id))
        case SchedulerEntry():
            return _enter(
                state,
                View(place=Place.EVENTS, entry=item.id, queue=item.options.get("queue", "default")),
            )
        case TaskInfo():
            return _look_at(state, TaskModal(item.queue, item.id, item))
        case WorkerInfo():
            return _look_at(state, TaskModal(item.queue, item.task_id, None))
        case EnqueueEvent():
            return _look_at(state, TaskModal(state.view.queue, item.task_id, None))


def _look_at(state: State, modal: TaskModal) -> Step:
    return ask(replace(state, modal=modal))


def _back(state: State) -> Step:
    modal = state.modal
    if isinstance(modal, EditModal):
        return replace(state, modal=modal.back), ()
    if modal is not None:
        return replace(state, modal=None), ()
    if state.trail:
        return _go(replace(state, trail=state.trail[:-1]), state.trail[-1])
    if state.view.place is not Place.QUEUES:
        return _go(state, View(place=Place.QUEUES))
    return state, (Leave(),)


# Forms


def _open_filter(state: State) -> Step:
    given = state.view.filter or TaskFilter()
    payload = given.payload if isinstance(given.payload, str) else ""
    return replace(state, modal=FilterModal(given.type or "", payload, given.error or "")), ()


def _take_filter(state: State, event: FilterTyped) -> Step:
    given = {"type": event.type, "payload": event.payload, "error": event.error}
    texts = {name: text for name, text in given.items() if text}
    wanted = TaskFilter(**texts) if texts else None
    view = replace(
        state.view,
        filter=wanted,
        search=Search() if wanted else None,
        page=1,
        row=0,
        selected="",
    )
    return _go(replace(state, modal=None), view)


# What else there is


def _help(state: State) -> Step:
    return replace(state, modal=HelpModal()), ()


def _stop(state: State) -> Step:
    if isinstance(state.modal, ProgressModal):
        state = replace(state, modal=replace(state.modal, stopping=True))
    return state, (StopActing(),)


def _change_theme(state: State) -> Step:
    return replace(state, dark=not state.dark), ()


def _read_anew(state: State) -> Step:
    return ask(state, anew=True)


_SCROLLS = {Command.DOWN: 1, Command.UP: -1}
_ON_ONE = frozenset({Command.RUN, Command.ARCHIVE, Command.DELETE, Command.CANCEL})
_EVERYWHERE: dict[Command, Callable[[State], Step]] = {
    Command.QUIT: lambda state: (state, (Leave(),)),
    Command.REDRAW: lambda state: (state, (Redraw(),)),
    Command.BACK: _back,
    Command.EDIT: edit,
    Command.YES: lambda state: answer(state, True),
    Command.NO: lambda state: answer(state, False),
    Command.STOP: _stop,
}
_ON_PAGES: dict[Command, Callable[[State], Step]] = {
    Command.DOWN: _move(1),
    Command.UP: _move(-1),
    Command.RIGHT: _turn(1),
    Command.LEFT: _turn(-1),
    Command.OPEN: _open,
    Command.NEXT_PAGE: _page(1),
    Command.PREVIOUS_PAGE: _page(-1),
    Command.QUEUES: _go_to(Place.QUEUES),
    Command.SERVERS: _go_to(Place.SERVERS),
    Command.WORKERS: _go_to(Place.WORKERS),
    Command.SCHEDULERS: _go_to(Place.SCHEDULERS),
    Command.REDIS: _go_to(Place.REDIS),
    Command.FILTER: _open_filter,
    Command.PAUSE: pause,
    Command.READ: _read_anew,
    Command.THEME: _change_theme,
    Command.HELP: _help,
}
_ON_EVENTS: dict[type, Callable[[State, Any], Step]] = {
    Started: lambda state, _: ask(state),
    Resized: _resize,
    Ticked: _tick,
    Pressed: _press,
    Clicked: _click,
    FilterTyped: _take_filter,
    PayloadTyped: take_payload,
    Arrived: take,
    Failed: missed,
    Progressed: _advance,
    Ended: end,
}
