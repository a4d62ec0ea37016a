"""What a Redis says of itself, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta

from rich.text import Text

from asyncq.safe_text import safe

from .numbers import count, duration, percent, size
from .palette import STRONG, palette
from .plain import fitted
from .state import State

_LABEL = 16


def redis_lines(state: State) -> Iterator[Text]:
    """One server a page."""
    infos = (state.seen.redis if state.seen else None) or ()
    if not infos:
        yield Text(
            "  no answer yet" if state.trouble else "  reading ...", palette(state.dark).faint
        )
        return
    info = infos[min(state.view.page, len(infos)) - 1]
    for label, value in [("Address", info.where), *_facts(info.values)]:
        line = Text(f" {fitted(label, _LABEL)}", STRONG)
        yield line.append(safe(value))


def _facts(values: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    name = values.get("server_name", "redis")
    version = values.get("valkey_version") or values.get("redis_version", "?")
    mode = values.get("redis_mode") or values.get("server_mode", "?")
    yield "Version", f"{name} {version}, {mode}, {values.get('role', '?')}"
    yield "Uptime", duration(timedelta(seconds=_number(values, "uptime_in_seconds")))
    limit = _number(values, "maxmemory")
    used = _number(values, "used_memory")
    of_limit = f" of {size(limit)} ({percent(used, limit)})" if limit else ", no limit"
    yield "Memory", f"{size(used)}{of_limit}, peak {size(_number(values, 'used_memory_peak'))}"
    yield "Eviction", values.get("maxmemory_policy", "?")
    yield "Fragmentation", values.get("mem_fragmentation_ratio", "?")
    clients, most, blocked = (
        count(_number(values, name))
        for name in ("connected_clients", "maxclients", "blocked_clients")
    )
    yield "Clients", f"{clients} of {most}, {blocked} wait for a task or another reply"
    yield "Commands", f"{count(_number(values, 'instantaneous_ops_per_sec'))} a second"
    evicted, expired = (count(_number(values, f"{how}_keys")) for how in ("evicted", "expired"))
    yield "Keys", f"{evicted} evicted, {expired} expired"
    yield "Replicas", count(_number(values, "connected_slaves"))
    yield "Append-only", _on_off(values, "aof_enabled", "aof_last_write_status")
    changes = count(_number(values, "rdb_changes_since_last_save"))
    yield "Snapshot", f"{values.get('rdb_last_bgsave_status', '?')}, {changes} changes since"


def _on_off(values: Mapping[str, str], switch: str, status: str) -> str:
    return f"on, last write {values.get(status, '?')}" if values.get(switch) == "1" else "off"


def _number(values: Mapping[str, str], name: str) -> int:
    text = values.get(name, "0")
    return int(text) if text.isdigit() else 0
