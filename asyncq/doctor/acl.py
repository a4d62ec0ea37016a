"""The rights that each part needs: what its scripts call, and what it says itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from enum import StrEnum

from .._broker import keys, scripts
from .._broker.scripts import Script


class Role(StrEnum):
    """What a user of Redis is for."""

    PRODUCER = "producer"
    """Enqueues, and waits for results."""
    WORKER = "worker"
    """Runs tasks; its handlers may enqueue."""
    SCHEDULER = "scheduler"
    """Enqueues periodic tasks."""
    INSPECTOR = "inspector"
    """Looks at queues and moves tasks: command line, dashboard, exporter."""
    DOCTOR = "doctor"
    """Checks, and repairs with `fix`."""


_ALWAYS = ("ping", "evalsha", "eval", "select", "cluster|slots")

_PRODUCER_SCRIPTS = (scripts.ENQUEUE, scripts.AWAIT_TASK, scripts.TASK_INFO)
_SCRIPTS: dict[Role, Sequence[Script]] = {
    Role.PRODUCER: _PRODUCER_SCRIPTS,
    Role.WORKER: (
        *_PRODUCER_SCRIPTS,
        scripts.DEQUEUE,
        scripts.SETTLE,
        scripts.EXTEND_LEASES,
        scripts.WRITE_RESULT,
        scripts.FORWARD,
        scripts.LIST_EXPIRED,
        scripts.LIST_ORPHANS,
        scripts.RECOVER,
        scripts.DELETE_EXPIRED,
        scripts.TRIM_ARCHIVE,
        scripts.CHECK_GROUP,
        scripts.READ_SET,
        scripts.FINISH_SET,
        scripts.DROP_SET,
        scripts.RECLAIM_SETS,
        scripts.WRITE_SERVER_STATE,
        scripts.ACQUIRE_TOKEN,
    ),
    Role.SCHEDULER: (
        scripts.ENQUEUE_DUE,
        scripts.MARK_ENTRY,
        scripts.WRITE_SCHEDULER_ENTRIES,
        scripts.RECORD_ENQUEUE_EVENT,
    ),
    Role.INSPECTOR: (
        scripts.QUEUE_INFO,
        scripts.MEMORY_USAGE,
        scripts.TASK_INFO,
        scripts.SCAN_TASKS,
        scripts.FIND_IN_LIST,
        scripts.RUN_TASKS,
        scripts.ARCHIVE_TASKS,
        scripts.DELETE_TASKS,
        scripts.REPLACE_MESSAGE,
        scripts.DROP_QUEUE,
        scripts.SWEEP_QUEUE,
        scripts.LIST_PRESENCE,
    ),
    Role.DOCTOR: (
        scripts.CHECK_TASKS,
        scripts.REPAIR_TASKS,
        scripts.CHECK_ENTRIES,
        scripts.INSPECT_GROUP,
        scripts.CHECK_LOCKS,
        scripts.FORGET_EMPTY,
        scripts.SET_ASIDE,
    ),
}
_COMMANDS: dict[Role, str] = {
    # Not waitaof, which Redis before 7.2 does not know: it would not take the rule.
    Role.PRODUCER: "sadd subscribe wait info",
    Role.WORKER: "sadd zadd zrem del zcount smembers blmove subscribe wait info",
    Role.SCHEDULER: "sadd zadd zrem del",
    Role.INSPECTOR: "smembers sismember sadd srem mget sscan zcard llen setnx del publish get hvals"
    " hget lrange zrevrange scan exists cluster|keyslot info",
    Role.DOCTOR: "info config|get acl|whoami acl|dryrun scan type time sadd sscan llen"
    " lrange zrange zrangebyscore zcount zremrangebyscore exists get hkeys",
}
_CHANNELS: dict[Role, Sequence[str]] = {
    Role.PRODUCER: (keys.DONE_CHANNEL, "due"),
    Role.WORKER: (keys.DONE_CHANNEL, "due", keys.CANCEL_CHANNEL),
    Role.SCHEDULER: ("due",),
    Role.INSPECTOR: (keys.DONE_CHANNEL, keys.CANCEL_CHANNEL),
    Role.DOCTOR: (),
}
_GLOBAL_KEYS: dict[Role, Sequence[str]] = {
    Role.PRODUCER: (keys.QUEUES,),
    Role.WORKER: (
        keys.QUEUES,
        f"{keys.SERVERS}*",
        f"{keys.WORKERS}*",
        "asynq:sema:*",
    ),
    Role.SCHEDULER: (keys.QUEUES, f"{keys.SCHEDULERS}*", "asynq:scheduler_history:*"),
    Role.INSPECTOR: (
        keys.QUEUES,
        f"{keys.SERVERS}*",
        f"{keys.WORKERS}*",
        f"{keys.SCHEDULERS}*",
        "asynq:scheduler_history:*",
    ),
    Role.DOCTOR: ("asynq:*", "asyncq:*"),
}


def commands(role: Role) -> list[str]:
    """The commands that a role needs, those of its scripts included, as an ACL names them."""
    called = {name for script in _SCRIPTS[role] for name in called_by(script)}
    return sorted(called.union(_ALWAYS, _COMMANDS[role].split()))


def rule(role: Role, queues: Sequence[str] = (), user: str = "") -> list[str]:
    """The arguments of ACL SETUSER for a user who can do what the role does, and nothing else:
    on all queues, or on some. The password is left to be put in."""
    return [
        user or f"asyncq-{role.value}",
        "reset",
        "resetchannels",
        "on",
        ">PASSWORD",
        *(f"~{pattern}" for pattern in _patterns(role, queues)),
        *(f"&{pattern}" for pattern in _channel_patterns(role, queues)),
        "-@all",
        *(f"+{name}" for name in commands(role)),
    ]


def called_by(script: Script) -> set[str]:
    """The commands that a script calls: their right to it is asked, too."""
    found: set[str] = set()
    for first, second in re.findall(
        r"(?:redis\.p?call|try|count)\(([^,)]+)(?:,\s*('\w+')?)?", script.source
    ):
        for name in re.findall(r"'([A-Z]+)'", first):
            subcommand = second.strip("'").lower() if name == "MEMORY" else ""
            found.add(name.lower() + (f"|{subcommand}" if subcommand else ""))
    return found


def _patterns(role: Role, queues: Sequence[str]) -> Iterable[str]:
    if not queues:
        return ("asynq:*", "asyncq:*")
    ours = [f"{prefix}*" for q in queues for prefix in _prefixes(q)]
    return (*ours, *_GLOBAL_KEYS[role])


def _channel_patterns(role: Role, queues: Sequence[str]) -> Iterable[str]:
    for channel in _CHANNELS[role]:
        if channel != "due":
            yield channel
        elif queues:
            yield from (f"{_prefixes(q)[1]}due" for q in queues)
        else:
            yield "asyncq:{*}:due"


def _prefixes(queue: str) -> tuple[str, str]:
    """Of its keys, asynq's and ours, as patterns."""
    escaped = re.sub(r"([*?\[\]\\])", r"\\\1", queue)
    return f"asynq:{{{escaped}}}:", f"asyncq:{{{escaped}}}:"


def tried(role: Role) -> dict[str, tuple[str, ...]]:
    """For ACL DRYRUN: of each command that works on keys a harmless one of the role's."""
    key = "asynq:{asyncq-doctor}:tried"
    return {
        name: (name, *_TRIED[name].format(key=key).split())
        for name in commands(role)
        if name in _TRIED
    }


# Dry runs check the number of arguments.
_TRIED = {
    "blmove": "{key} {key} right right 1",
    "del": "{key}",
    "evalsha": "0 1 {key}",
    "exists": "{key}",
    "get": "{key}",
    "hdel": "{key} f",
    "hget": "{key} f",
    "hincrby": "{key} f 1",
    "hmget": "{key} f",
    "hset": "{key} f v",
    "incrby": "{key} 1",
    "llen": "{key}",
    "lpush": "{key} v",
    "lrange": "{key} 0 1",
    "lrem": "{key} 0 v",
    "ltrim": "{key} 0 1",
    "pexpire": "{key} 1",
    "publish": "asynq:cancel v",
    "rename": "{key} {key}",
    "rpush": "{key} v",
    "sadd": "{key} v",
    "set": "{key} v",
    "setex": "{key} 1 v",
    "smembers": "{key}",
    "srem": "{key} v",
    "subscribe": "asynq:cancel",
    "time": "",
    "zadd": "{key} 1 v",
    "zcard": "{key}",
    "zpopmin": "{key}",
    "zrange": "{key} 0 1",
    "zrangebyscore": "{key} 0 1",
    "zrem": "{key} v",
    "zremrangebyrank": "{key} 0 1",
    "zremrangebyscore": "{key} 0 1",
    "zscore": "{key} v",
}
