"""What the settings and the condition of a server mean for the tasks it keeps."""

from __future__ import annotations

import re

from .._broker.vitals import Vitals
from .finding import Findings

_OLDEST = (6, 2)
_OLDEST_VALKEY = (7, 2)
_FULL, _NEAR = 0.95, 0.8
_SHORT_S = 60
"""Of `timeout`: what is longer is not felt. By feel."""


def judge(vitals: Vitals, found: Findings) -> None:
    """Adds what is wrong with a server."""
    _memory(vitals, found)
    if vitals.refused:
        found.say("settings-unseen", vitals.where, why=vitals.refused)
    if vitals.number("loading"):
        found.say("loading", vitals.where)
    _persistence(vitals, found)
    _replication(vitals, found)
    _version(vitals, found)
    _connections(vitals, found)


def _memory(vitals: Vitals, found: Findings) -> None:
    where = vitals.where
    policy = vitals.info.get("maxmemory_policy") or vitals.settings.get("maxmemory-policy")
    if policy and policy != "noeviction":
        found.say("eviction", where, policy=policy)
    if vitals.number("evicted_keys"):
        found.say("evicted", where, count=vitals.number("evicted_keys"))
    most = vitals.number("maxmemory")
    used = vitals.number("used_memory") / most if most else 0
    if used >= _NEAR:
        kind = "memory-full" if used >= _FULL else "memory-near"
        found.say(kind, where, percent=round(used * 100))


def _persistence(vitals: Vitals, found: Findings) -> None:
    where, settings = vitals.where, vitals.settings
    failed = [
        name
        for name in (
            "rdb_last_bgsave_status",
            "aof_last_bgrewrite_status",
            "aof_last_write_status",
        )
        if vitals.info.get(name, "ok") != "ok"
    ]
    if failed:
        found.say("disk", where, which=", ".join(failed))
    if vitals.number("aof_enabled"):
        if settings.get("appendfsync") in ("no", "everysec"):
            found.say(f"appendfsync-{settings['appendfsync']}", where)
    elif settings.get("save"):
        found.say("snapshots-only", where, save=settings["save"])
    elif "save" in settings or vitals.number("rdb_saves") == 0:
        # Without a look at the settings: no log, and no snapshot since the start.
        found.say("no-persistence", where)


def _replication(vitals: Vitals, found: Findings) -> None:
    if vitals.info.get("role") == "slave":
        found.say("replica", vitals.where)
    elif vitals.number("connected_slaves") and vitals.settings.get("min-replicas-to-write") == "0":
        found.say("failover", vitals.where)


def _version(vitals: Vitals, found: Findings) -> None:
    valkey = vitals.info.get("valkey_version")
    version = valkey or vitals.info.get("redis_version", "")
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    if numbers and numbers < (_OLDEST_VALKEY if valkey else _OLDEST):
        found.say("old-server", vitals.where, version=version)


def _connections(vitals: Vitals, found: Findings) -> None:
    timeout = vitals.settings.get("timeout", "0")
    if timeout.isdigit() and 0 < int(timeout) < _SHORT_S:
        found.say("timeout", vitals.where, timeout=timeout)
    most = vitals.number("maxclients") or int(vitals.settings.get("maxclients", "0") or 0)
    clients = vitals.number("connected_clients")
    if most and clients >= 0.9 * most:
        found.say("connections", vitals.where, clients=clients, most=most)
