"""Asking for what the page shows, and taking in what arrives. Pure, as all of the machine."""

from __future__ import annotations

from dataclasses import replace

from .items import items, key_of, page_size, pages
from .keys import Place
from .series import Charts
from .snapshot import Part, Request, Scan, Snapshot
from .state import (
    Arrived,
    Effect,
    Failed,
    Read,
    Search,
    State,
    Step,
    TaskModal,
)

CHEAP = 1000
"""A search that looked at so many tasks or fewer is done again at every look."""


def ask(state: State, *, anew: bool = False) -> Step:
    """Look at Redis for what the page shows; `anew` also for what was long in searching."""
    view = state.view
    search = view.search
    scan = None
    if view.filter is not None and search is not None:
        if not search.done:
            wanted = page_size(state) - len(search.found)
            scan = Scan(filter=view.filter, start=search.at, wanted=wanted)
        elif anew or search.looked <= CHEAP:
            scan = Scan(filter=view.filter, start=search.starts[-1], wanted=page_size(state))
    modal = state.modal
    request = Request(
        number=state.asked + 1,
        place=view.place,
        queue=view.queue,
        state=view.state,
        group=view.group,
        page=view.page,
        size=page_size(state),
        scan=scan,
        counts_only=search is not None and scan is None,
        entry=view.entry,
        task=(modal.queue, modal.id) if isinstance(modal, TaskModal) else None,
    )
    return replace(state, asked=request.number, is_reading=True), (Read(request),)


def take(state: State, event: Arrived) -> Step:
    """What was asked for is there. Old answers are left alone."""
    if event.number != state.asked:
        return state, ()
    snapshot = event.snapshot
    state = replace(
        state,
        seen=snapshot,
        charts=_charted(state, snapshot),
        is_reading=False,
        trouble="",
    )
    if isinstance(state.modal, TaskModal):
        gone = snapshot.task is None
        task = snapshot.task or state.modal.task
        modal = replace(state.modal, task=task, worker=snapshot.worker, gone=gone)
        state = replace(state, modal=modal)
    effects: tuple[Effect, ...] = ()
    if snapshot.part is not None and state.view.search is not None:
        state, effects = _go_on(state, state.view.search, snapshot.part)
    page = state.view.page
    state = _in_place(state)
    if state.view.page != page and state.view.place is Place.TASKS:
        return ask(state)  # its tasks are gone; those of the last page there is
    return state, effects


def missed(state: State, event: Failed) -> Step:
    """There is no answer. What was seen last stays on the screen."""
    if event.number != state.asked:
        return state, ()
    state = replace(
        state,
        is_reading=False,
        trouble=event.reason,
        is_away=event.is_away,
        troubled_since_s=state.troubled_since_s if state.trouble else state.now_s,
    )
    return state, ()


def _charted(state: State, snapshot: Snapshot) -> Charts:
    least_s = state.refresh_s / 2
    charts = state.charts
    if snapshot.queues is not None:
        charts = charts.with_queues(snapshot.queues, least_s)
    if snapshot.queue is not None:
        charts = charts.with_queue(snapshot.queue, least_s)
    return charts


def _go_on(state: State, search: Search, part: Part) -> Step:
    """With the matches that were found; and look for more, if there are too few."""
    begins_anew = search.done
    found = part.tasks if begins_anew else search.found + part.tasks
    is_full = len(found) >= page_size(state)
    search = replace(
        search,
        found=found,
        looked=part.looked + (0 if begins_anew else search.looked),
        at=part.cursor,
        done=is_full or part.cursor is None,
        is_last=part.cursor is None,
    )
    state = replace(state, view=replace(state.view, search=search))
    return (state, ()) if search.done else ask(state)


def _in_place(state: State) -> State:
    """The page is one that there is, and what was selected stays so, wherever it is now."""
    view = state.view
    last = pages(state)
    if last is not None and view.page > last:
        view = replace(view, page=last)
        state = replace(state, view=view)
    keys = [key_of(item) for item in items(state)]
    row = min(view.row, len(keys))
    if row and keys[row - 1] != view.selected and view.selected in keys:
        row = keys.index(view.selected) + 1
    return replace(state, view=replace(view, row=row, selected=keys[row - 1] if row else ""))
