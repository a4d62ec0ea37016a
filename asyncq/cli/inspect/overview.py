"""`asyncq stats`: everything at a glance, once or again and again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from asyncq.errors import QueueNotFoundError, RedisReplyError
from asyncq.info import QueueInfo, RedisInfo
from asyncq.inspector import Inspector
from asyncq.size_text import size_text

from .output import Output
from .records import plain, queue_record
from .session import FORBIDDEN, Desk
from .table import Cell, Column, Mark
from .text import length, share

_AT_ONCE = 8
_ORDER = ("active", "pending", "aggregating", "scheduled", "retry", "archived", "completed")
"""As asynq shows them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """All queues and Redis at one moment."""

    queues: Sequence[QueueInfo]
    forbidden: Sequence[str]
    """The names of queues that this user of Redis may not look at."""
    redis: Sequence[RedisInfo]
    at: float
    """By a clock that only goes forward."""

    def total(self, field: str) -> int:
        """A field of `QueueInfo`, summed over the queues."""
        return sum(getattr(info, field) for info in self.queues)

    def record(self, rates: Mapping[str, float] | None) -> dict[str, Any]:
        """As JSON."""
        names = (*_ORDER, "processed", "failed")
        queues = [queue_record(info) for info in self.queues]
        if rates is not None:
            for queue in queues:
                queue["processed_per_second"] = rates.get(queue["queue"])
        return {
            "aggregate": {name: self.total(name) for name in names}
            | {"timestamp": plain(datetime.now(UTC))},
            "queues": queues,
            "redis": plain(self.redis),
        }


async def all_queues(inspector: Inspector) -> tuple[list[QueueInfo], list[str]]:
    """Every queue, by name, and the names of those that this user of Redis may not look at. Those
    that are deleted meanwhile are left out."""
    slots, forbidden = asyncio.Semaphore(_AT_ONCE), list[str]()

    async def look(name: str) -> QueueInfo | None:
        async with slots:
            try:
                return await inspector.queue_info(name)
            except QueueNotFoundError:
                pass
            except RedisReplyError as error:
                if error.code != FORBIDDEN:
                    raise
                forbidden.append(name)
            return None

    found = await asyncio.gather(*(look(name) for name in await inspector.queues()))
    return [info for info in found if info is not None], sorted(forbidden)


def remark_left_out(out: Output, names: Sequence[str]) -> None:
    """Says which queues are not among the results, if any."""
    if names:
        out.remark(_left_out(names))


def _left_out(names: Sequence[str]) -> str:
    return f"without {', '.join(map(repr, names))}: this user of Redis has no rights to look there"


async def overview(inspector: Inspector) -> Overview:
    """Looks at it all."""
    queues, forbidden = await all_queues(inspector)
    try:
        redis = await inspector.redis_info()
    except RedisReplyError:  # INFO is what a user of Redis with few rights may not say
        redis = []
    return Overview(queues=queues, forbidden=forbidden, redis=redis, at=time.monotonic())


async def show_stats(desk: Desk) -> None:
    """Once."""
    found = await overview(desk.inspector)
    if desk.out.json:
        remark_left_out(desk.out, found.forbidden)
        desk.out.record(found.record(None))
    else:
        print_overview(desk.out, found, None)


async def watch_stats(desk: Desk, every: float) -> None:
    """Again and again, until it is interrupted."""
    desk.out.endless = True
    if desk.out.is_terminal:
        await _watch_in_place(desk, every)
        return
    before: Overview | None = None
    while True:
        found = await overview(desk.inspector)
        rates = rates_between(before, found)
        if desk.out.json:
            if before is None:
                remark_left_out(desk.out, found.forbidden)
            desk.out.json_line(found.record(rates))
        else:
            print_overview(desk.out, found, rates)
            desk.out.line()
            desk.out.flush()
        before = found
        await asyncio.sleep(every)


async def _watch_in_place(desk: Desk, every: float) -> None:
    """On the whole terminal, whatever its size is by now."""
    console = desk.out.console
    desk.out.cut = True
    before: Overview | None = None
    with console.screen(hide_cursor=True):
        while True:
            found = await overview(desk.inspector)
            with console.capture() as captured:
                title = f"every {every:g} s; Ctrl-C ends it"
                desk.out.note(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}Z, {title}")
                print_overview(desk.out, found, rates_between(before, found))
            lines = captured.get().split("\n")[: console.height]
            # Written over what stands there, so that nothing flickers.
            desk.out.control("\033[H" + "\n".join(f"{line}\033[K" for line in lines) + "\033[J")
            before = found
            await asyncio.sleep(every)


def rates_between(before: Overview | None, now: Overview) -> dict[str, float]:
    """Tasks a second that each queue got done between two looks."""
    if before is None:
        return {}
    done = {info.queue: info.processed_total for info in before.queues}
    return {
        info.queue: round((info.processed_total - done[info.queue]) / (now.at - before.at), 1)
        for info in now.queues
        if info.queue in done and now.at > before.at
    }


def print_overview(out: Output, found: Overview, rates: Mapping[str, float] | None) -> None:
    """As text. `rates` None: nobody asked for them."""
    out.heading("Tasks by state")
    out.rows([Column(state, right=True) for state in _ORDER], [[found.total(s) for s in _ORDER]])
    out.line()
    out.heading("Queues")
    columns = [
        Column("Queue", gives=1), Column("State"), Column("Size", right=True),
        Column("Latency", right=True), Column("Processed", right=True),
        Column("Failed", right=True), Column("Error rate", right=True),
        Column("Memory", right=True, spare=1),
    ]  # fmt: skip
    if rates is not None:
        columns.insert(4, Column("Tasks/s", right=True))
    out.rows(columns, [_row(info, rates) for info in found.queues])
    if found.forbidden:
        out.prose(_left_out(found.forbidden))
    out.line()
    processed, failed = found.total("processed"), found.total("failed")
    out.heading("Today (UTC)")
    out.pairs([
        ("Processed", processed), ("Failed", failed), ("Error rate", share(failed, processed))
    ])  # fmt: skip
    out.line()
    out.heading("Redis")
    for redis in found.redis:
        out.prose(redis_line(redis))
    if not found.redis:
        out.line("it does not let this user see INFO")


def _row(info: QueueInfo, rates: Mapping[str, float] | None) -> list[Cell]:
    row: list[Cell] = [
        info.queue, run_state(info), info.size, length(info.latency), info.processed, info.failed,
        share(info.failed, info.processed), size_text(info.memory_usage),
    ]  # fmt: skip
    if rates is not None:
        rate = rates.get(info.queue)
        row.insert(4, "-" if rate is None else f"{rate:g}")
    return row


def run_state(info: QueueInfo) -> Cell:
    """Whether tasks are taken."""
    return Mark("paused", "yellow") if info.paused else "run"


def redis_line(redis: RedisInfo) -> str:
    """A Redis in a line."""
    values = redis.values
    name = "Valkey" if "valkey_version" in values else "Redis"
    version = values.get("valkey_version") or values.get("redis_version", "?")
    up = values.get("uptime_in_seconds", "")
    since = length(timedelta(seconds=int(up))) if up.isdigit() else "?"
    used, peak, limit = (
        size_text(int(text)) if (text := values.get(field, "")).isdigit() else "?"
        for field in ("used_memory", "used_memory_peak", "maxmemory")
    )
    of_limit = "" if limit in ("?", "0 B") else f" of {limit}"
    return (
        f"{redis.where}: {name} {version}, up {since},"
        f" {values.get('connected_clients', '?')} clients, {used}{of_limit} used (peak {peak})"
    )
