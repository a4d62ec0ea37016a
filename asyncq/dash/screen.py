"""The page as lines of text, exactly as many and as long as the terminal has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rich.text import Text

from asyncq import QueueInfo, ServerInfo
from asyncq.safe_text import safe
from asyncq.size_text import size_text

from .bars import legend, sparkline, stacked
from .grid import draw as draw_table
from .items import chart_rows, count_of, has_next_page, items, page_size, pages, total
from .keys import Place, keys_at
from .modals import filter_text
from .numbers import count, duration, percent, rate, short
from .palette import PLAIN, SELECTED, STRONG, palette
from .plain import fitted
from .redis_page import redis_heading, redis_lines
from .series import ALL
from .state import MAIN, STATES, State
from .tables import table

_NAMES = {
    Place.QUEUES: "Queues",
    Place.SERVERS: "Servers",
    Place.WORKERS: "Workers",
    Place.SCHEDULERS: "Schedulers",
    Place.REDIS: "Redis",
}
_OF_MAIN = {
    Place.TASKS: Place.QUEUES,
    Place.GROUPS: Place.QUEUES,
    Place.EVENTS: Place.SCHEDULERS,
}
_BRIEF = ["active", "pend", "aggr", "sched", "retry", "arch", "compl"]
_NAME_WIDTH = 16


@dataclass(frozen=True, slots=True)
class Frame:
    """A page."""

    lines: tuple[Text, ...]
    first_row: int
    """The line on which the table's first row stands."""


def draw(state: State) -> Frame:
    """The page of a state, modals apart."""
    above = [_title(state), *_HEADS.get(state.view.place, _heading)(state)]
    body = list(_body(state))
    below = [_paging(state), _notice(state), _keys(state)]
    room = max(0, state.height - len(above) - len(below))
    body = (body + [Text()] * room)[:room]
    lines = [*above, *body, *below][: state.height]
    return Frame(tuple(_cut(line, state.width) for line in lines), len(above) + 1)


def _cut(line: Text, width: int) -> Text:
    line.truncate(width, overflow="ellipsis", pad=True)
    return line


def _body(state: State) -> Iterator[Text]:
    if state.view.place is Place.REDIS:
        yield from redis_lines(state)
        return
    shown = table(state)
    yield from draw_table(shown, state.width, state.view.row)
    if not shown.rows:
        yield Text(f"  {_nothing(state)}", palette(state.dark).faint)


def _nothing(state: State) -> str:
    """Why there are no rows."""
    view, seen = state.view, state.seen
    if seen is None or not _is_read(state):
        return "no answer yet" if state.trouble else "reading ..."
    if view.search is not None:
        return "none match" if view.search.done else "none so far"
    return {
        Place.QUEUES: "no queues: nothing was ever enqueued here",
        Place.SERVERS: "no servers: nobody works on these queues",
        Place.WORKERS: "nothing is running",
        Place.SCHEDULERS: "no schedulers",
        Place.GROUPS: "no groups",
    }.get(view.place, "none")


def _is_read(state: State) -> bool:
    """Whether what belongs on the page has been read."""
    view, seen = state.view, state.seen
    if seen is None:
        return False
    if view.search is not None:
        return True
    read: dict[Place, object] = {
        Place.QUEUES: seen.queues,
        Place.TASKS: seen.tasks,
        Place.GROUPS: seen.groups,
        Place.SERVERS: seen.servers,
        Place.WORKERS: seen.servers,
        Place.SCHEDULERS: seen.entries,
        Place.EVENTS: seen.events,
        Place.REDIS: seen.redis,
    }
    return read[view.place] is not None


# Above the table


def _title(state: State) -> Text:
    place = _OF_MAIN.get(state.view.place, state.view.place)
    text = Text()
    for number, main in enumerate(MAIN, 1):
        name = f"{number} {_NAMES[main]}"
        text.append(*((f"[{name}]", STRONG) if main is place else (f" {name} ", PLAIN)))
    text.append("asyncq ".rjust(max(0, state.width - text.cell_len)))
    text.stylize(SELECTED)
    return text


def _heading(state: State) -> Iterator[Text]:
    """One line on what is listed."""
    view, seen = state.view, state.seen
    servers: tuple[ServerInfo, ...] = (seen.servers if seen else None) or ()
    strong = palette(state.dark).heading
    match view.place:
        case Place.SERVERS:
            running = sum(server.active_worker_count for server in servers)
            slots = sum(server.concurrency for server in servers)
            text = f" Servers: {len(servers)}, slots busy: {count(running)} of {count(slots)}"
        case Place.WORKERS if view.server:
            names = [f"{s.host}:{s.pid}" for s in servers if s.id == view.server]
            text = f" What {safe(names[0]) if names else 'a server that is gone'} runs"
        case Place.WORKERS:
            text = " What runs where, longest first"
        case Place.SCHEDULERS:
            text = " What is enqueued again and again"
        case Place.EVENTS:
            entries = [e for e in (seen.entries if seen else None) or () if e.id == view.entry]
            what = f"{entries[0].task.type} ({entries[0].spec})" if entries else view.entry
            text = f" What was enqueued for {safe(what)}"
        case _:
            text = redis_heading(state)
    yield Text(text, strong)


def _queues_head(state: State) -> Iterator[Text]:
    seen = state.seen.queues if state.seen else None
    infos = seen or ()
    paused = sum(info.paused for info in infos)
    text = Text(f" Queues: {len(infos) if seen is not None else '-'}", palette(state.dark).heading)
    if seen is not None:
        text.append(f"   tasks: {count(sum(info.size for info in infos))}", PLAIN)
    if paused:
        text.append(f"   {paused} PAUSED", palette(state.dark).warning)
    if state.seen and state.seen.forbidden:
        text.append(f"   {state.seen.forbidden} more without rights to look", PLAIN)
    yield text
    yield from _charts(state, ALL)
    yield _cut(Text(" ").append_text(legend()), state.width)
    largest = max((info.size for info in infos), default=0)
    for item in items(state):
        if isinstance(item, QueueInfo):
            yield _bar(item, largest, state.width)


def _bar(info: QueueInfo, largest: int, width: int) -> Text:
    number = count(info.size)
    line = Text(f" {fitted(safe(info.queue), _NAME_WIDTH)} ")
    line.append_text(stacked(info, largest, width - _NAME_WIDTH - len(number) - 4))
    return line.append(f" {number}")


def _queue_head(state: State) -> Iterator[Text]:
    """Of one queue: summary, charts and the tabs of its states."""
    view, colours = state.view, palette(state.dark)
    info = state.seen.queue if state.seen else None
    text = Text(f" {safe(view.queue)}", colours.heading)
    if info is not None:
        text.append(*(("  PAUSED", colours.warning) if info.paused else ("  RUN", PLAIN)))
        text.append(
            f"  size {count(info.size)}  latency {duration(info.latency)}"
            f"  {size_text(info.memory_usage)}"
            f"  today {count(info.processed)}, {count(info.failed)} failed"
            f" ({percent(info.failed, info.processed)})",
            PLAIN,
        )
    yield text
    yield from _charts(state, view.queue)
    yield _tabs(state, info)


def _tabs(state: State, info: QueueInfo | None) -> Text:
    """The states with their counts; with short names where the line is too short for all."""
    view = state.view
    for names in ([task_state.value for task_state in STATES], _BRIEF):
        text = Text()
        for task_state, name in zip(STATES, names, strict=True):
            name += f" {short(count_of(info, task_state))}" if info else " -"
            chosen = task_state is view.state
            text.append(f"[{name}]" if chosen else f" {name} ", SELECTED if chosen else None)
        if text.cell_len <= state.width:
            break
    if view.group:
        text.append(f"  group {safe(view.group)}", STRONG)
    return text


_HEADS: dict[Place, Callable[[State], Iterator[Text]]] = {
    Place.QUEUES: _queues_head,
    Place.TASKS: _queue_head,
    Place.GROUPS: _queue_head,
}


def _charts(state: State, queue: str) -> Iterator[Text]:
    rows = chart_rows(state)
    if not rows:
        return
    series, colours = state.charts.of(queue), palette(state.dark)
    width = max(0, state.width - 28)
    for name, values, style, show in (
        ("done/s", series.processed_rates(), colours.good, rate),
        ("failed/s", series.failed_rates(), colours.error, rate),
        ("tasks", series.sizes(), colours.heading, short),
    ):
        lines = sparkline(values, width, rows)
        now = show(values[-1]) if values else "-"
        top = show(max(values[-width:])) if values and width else "-"
        for number, line in enumerate(lines):
            last = number == rows - 1
            text = Text(f" {name:9}{now:>6} " if last else " " * 17)
            text.append(line, style)
            yield text.append(f" max {top}" if last else "")


# Below the table


def _paging(state: State) -> Text:
    view, colours = state.view, palette(state.dark)
    if view.filter is not None and view.search is not None:
        text = Text(f" page {view.page}", colours.faint)
        text.append(f"  only {filter_text(view.filter)}", colours.warning)
        looked = f"looked at {count(view.search.looked)}"
        if not view.search.done:
            looked += ", searching ..."
        elif view.search.looked > 1000:
            looked += ", Ctrl+R looks anew"
        return text.append(f"  {looked}", colours.faint)
    known, lines = pages(state), total(state)
    parts = [f" page {view.page}" + (f" of {known}" if known is not None else "")]
    if lines is not None and view.place is not Place.REDIS:
        first = (view.page - 1) * page_size(state)
        shown = len(items(state))
        parts.append(f"{first + 1 if shown else 0} to {first + shown} of {count(lines)}")
    if has_next_page(state):
        parts.append("n: next")
    if view.page > 1:
        parts.append("p: previous")
    if view.filter is not None:
        parts.append(f"only {filter_text(view.filter)}, in the group")
    return Text("   ".join(parts), colours.faint)


def _notice(state: State) -> Text:
    """What is wrong with Redis, what became of an action, or when the last look was."""
    colours = palette(state.dark)
    if state.trouble:
        seconds = max(0.0, state.now_s - state.troubled_since_s)
        what = "Redis away" if state.is_away else "not read"
        return Text(f" ! {what} for {seconds:.0f} s: {safe(state.trouble)}", colours.error)
    if state.notice is not None:
        mark = "! " if state.notice.is_error else ""
        style = colours.error if state.notice.is_error else colours.good
        return Text(f" {mark}{state.notice.text}", style)
    seen = f" as of {state.seen.at:%H:%M:%S} UTC" if state.seen else " reading"
    return Text(f"{seen}, every {state.refresh_s:g} s, {safe(state.where)}", colours.faint)


def _keys(state: State) -> Text:
    """As many of the keys as there is room for; quitting always."""
    text = Text()
    keys = [key for key in keys_at(state.place) if key.label]
    for number, key in enumerate(keys):
        label = f" {key.shown.split()[0]} "
        last = number == len(keys) - 1
        if not last and text.cell_len + len(label) + len(key.label) + 14 > state.width:
            continue
        text.append(label, SELECTED)
        text.append(f" {key.label} ")
    return text
