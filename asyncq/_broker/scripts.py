"""The Lua scripts of `lua/`, each with a contract in its header, as typed constants."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files

_INCLUDE = re.compile(r"^--@include (\w+)$", re.MULTILINE)
_LUA = files("asyncq._broker") / "lua"


@dataclass(frozen=True, slots=True)
class Script:
    """A script's name, its whole source, and the SHA-1 by which Redis knows it.

    Named by content, so that two versions of asyncq can share one Redis.
    """

    name: str
    source: str
    sha: str


def _load(name: str) -> Script:
    """The script `lua/<name>.lua`, with the parts that it shares with others put in."""

    def part(match: re.Match[str]) -> str:
        return (_LUA / "include" / f"{match[1]}.lua").read_text(encoding="utf-8")

    source = _INCLUDE.sub(part, (_LUA / f"{name}.lua").read_text(encoding="utf-8"))
    return Script(name, source, sha1(source.encode(), usedforsecurity=False).hexdigest())


ENQUEUE = _load("enqueue")
DEQUEUE = _load("dequeue")
SETTLE = _load("settle")
EXTEND_LEASES = _load("extend_leases")
WRITE_RESULT = _load("write_result")
FORWARD = _load("forward")
LIST_EXPIRED = _load("list_expired")
LIST_ORPHANS = _load("list_orphans")
RECOVER = _load("recover")
DELETE_EXPIRED = _load("delete_expired")
TRIM_ARCHIVE = _load("trim_archive")
CHECK_GROUP = _load("check_group")
READ_SET = _load("read_set")
FINISH_SET = _load("finish_set")
DROP_SET = _load("drop_set")
RECLAIM_SETS = _load("reclaim_sets")
QUEUE_INFO = _load("queue_info")
MEMORY_USAGE = _load("memory_usage")
ACQUIRE_TOKEN = _load("acquire_token")
AWAIT_TASK = _load("await_task")
TASK_INFO = _load("task_info")
SCAN_TASKS = _load("scan_tasks")
FIND_IN_LIST = _load("find_in_list")
RUN_TASKS = _load("run_tasks")
ARCHIVE_TASKS = _load("archive_tasks")
DELETE_TASKS = _load("delete_tasks")
REPLACE_MESSAGE = _load("replace_message")
DROP_QUEUE = _load("drop_queue")
SWEEP_QUEUE = _load("sweep_queue")
LIST_PRESENCE = _load("list_presence")
WRITE_SERVER_STATE = _load("write_server_state")
MARK_ENTRY = _load("mark_entry")
ENQUEUE_DUE = _load("enqueue_due")
WRITE_SCHEDULER_ENTRIES = _load("write_scheduler_entries")
RECORD_ENQUEUE_EVENT = _load("record_enqueue_event")
CHECK_TASKS = _load("check_tasks")
REPAIR_TASKS = _load("repair_tasks")
CHECK_ENTRIES = _load("check_entries")
INSPECT_GROUP = _load("inspect_group")
CHECK_LOCKS = _load("check_locks")
FORGET_EMPTY = _load("forget_empty")
SET_ASIDE = _load("set_aside")
