"""What a Redis says of itself, in words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial

from rich.text import Text

from asyncq import RedisInfo
from asyncq.safe_text import safe
from asyncq.size_text import size_text

from .grid import Column, Table, draw
from .numbers import count, duration, percent
from .palette import STRONG, palette
from .plain import fitted
from .snapshot import Places
from .state import State

_LABEL = 16


_NODES = (
    Column("Master", 14),
    Column("Memory", 7, right=True),
    Column("Limit", 7, right=True),
    Column("Keys", 6, right=True),
    Column("Clients", 5, right=True),
    Column("Commands/s", 6, right=True, brief="Cmds/s"),
    Column("Replicas", 4, right=True, brief="Repl"),
    Column("Uptime", 6, right=True),
)
_QUEUES = (Column("Queue", 10), Column("Slot", 5, right=True), Column("Nodes", 14))


def redis_heading(state: State) -> str:
    """How many servers; of a cluster what they have together."""
    infos = (state.seen.redis if state.seen else None) or ()
    if state.seen is None or state.seen.places is None:
        return f" Redis servers: {len(infos)}"
    keys, used, commands = (
        sum(of(info.values) for info in infos)
        for of in (_keys, partial(_number, name="used_memory"),
                   partial(_number, name="instantaneous_ops_per_sec"))
    )  # fmt: skip
    return (
        f" Redis Cluster, masters: {len(infos)}   memory: {size_text(used)}   keys: {count(keys)}"
        f"   commands/s: {count(commands)}"
    )


def redis_lines(state: State) -> Iterator[Text]:
    """One server a page; before the servers of a cluster a page of all."""
    infos = (state.seen.redis if state.seen else None) or ()
    if not infos:
        yield Text(
            "  no answer yet" if state.trouble else "  reading ...", palette(state.dark).faint
        )
        return
    places, page = state.seen.places if state.seen else None, state.view.page
    if places is not None and page == 1:
        yield from _overview(state, infos, places)
        return
    if places is not None:
        page -= 1
    info = infos[min(page, len(infos)) - 1]
    for label, value in [("Address", info.where), *_facts(info.values)]:
        line = Text(f" {fitted(label, _LABEL)}", STRONG)
        yield line.append(safe(value))


def _overview(state: State, infos: Sequence[RedisInfo], places: Places) -> Iterator[Text]:
    """The masters of a cluster, and which of them has which queue."""
    yield from draw(Table(_NODES, tuple(map(_node, infos))), state.width, 0)
    yield Text()
    rows = tuple((p.queue, str(p.slot), ", ".join(p.nodes)) for p in places.found)
    yield from draw(Table(_QUEUES, rows), state.width, 0)
    if places.queues > len(rows):
        more = f"  and {count(places.queues - len(rows))} more: asyncq queue ls"
        yield Text(more, palette(state.dark).faint)


def _node(info: RedisInfo) -> tuple[str, ...]:
    values = info.values
    limit = _number(values, "maxmemory")
    return (
        info.where,
        size_text(_number(values, "used_memory")),
        size_text(limit) if limit else "none",
        count(_keys(values)),
        count(_number(values, "connected_clients")),
        count(_number(values, "instantaneous_ops_per_sec")),
        count(_number(values, "connected_slaves")),
        duration(timedelta(seconds=_number(values, "uptime_in_seconds"))),
    )


def _keys(values: Mapping[str, str]) -> int:
    """How many there are: `db0:keys=12,expires=3,avg_ttl=0`, and so on."""
    found = (_KEYS.match(values[name]) for name in values if _DATABASE.fullmatch(name))
    return sum(int(match[1]) for match in found if match)


_DATABASE = re.compile(r"db\d+")
_KEYS = re.compile(r"keys=(\d+)")


def _facts(values: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    name = values.get("server_name", "redis")
    version = values.get("valkey_version") or values.get("redis_version", "?")
    mode = values.get("redis_mode") or values.get("server_mode", "?")
    yield "Version", f"{name} {version}, {mode}, {values.get('role', '?')}"
    yield "Uptime", duration(timedelta(seconds=_number(values, "uptime_in_seconds")))
    limit = _number(values, "maxmemory")
    used = _number(values, "used_memory")
    of_limit = f" of {size_text(limit)} ({percent(used, limit)})" if limit else ", no limit"
    peak = size_text(_number(values, "used_memory_peak"))
    yield "Memory", f"{size_text(used)}{of_limit}, peak {peak}"
    yield "Eviction", values.get("maxmemory_policy", "?")
    yield "Fragmentation", values.get("mem_fragmentation_ratio", "?")
    clients, most, blocked = (
        count(_number(values, name))
        for name in ("connected_clients", "maxclients", "blocked_clients")
    )
    yield "Clients", f"{clients} of {most}, {blocked} wait for a task or another reply"
    yield "Commands", f"{count(_number(values, 'instantaneous_ops_per_sec'))} a second"
    evicted, expired = (count(_number(values, f"{how}_keys")) for how in ("evicted", "expired"))
    yield "Keys", f"{count(_keys(values))}; {evicted} evicted, {expired} expired since its start"
    yield "Replicas", count(_number(values, "connected_slaves"))
    yield "Append-only", _on_off(values, "aof_enabled", "aof_last_write_status")
    changes = count(_number(values, "rdb_changes_since_last_save"))
    yield "Snapshot", f"{values.get('rdb_last_bgsave_status', '?')}, {changes} changes since"


def _on_off(values: Mapping[str, str], switch: str, status: str) -> str:
    return f"on, last write {values.get(status, '?')}" if values.get(switch) == "1" else "off"


def _number(values: Mapping[str, str], name: str) -> int:
    text = values.get(name, "0")
    return int(text) if text.isdigit() else 0
