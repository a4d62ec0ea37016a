"""The block that a worker prints when it starts."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from asyncq import Server, __version__

from .logs import is_json

_log = logging.getLogger("asyncq")

_MOST_PATTERNS = 6


def announce(server: Server, target: str, processes: int) -> None:
    """What runs, on what, and how to stop it: for people a block on stderr, else a log line."""
    if is_json():
        _log.info("worker starting", extra=_facts(server, target, processes))
    else:
        print(_block(server, target, processes), file=sys.stderr, flush=True)


def _facts(server: Server, target: str, processes: int) -> dict[str, object]:
    config = server.config
    return {
        "version": __version__,
        "target": target,
        "patterns": list(server.patterns),
        "queues": dict(config.queues),
        "strict_priority": config.strict_priority,
        "concurrency": config.concurrency,
        "processes": processes,
        "redis": server.where,
        "shutdown_timeout": config.shutdown_timeout,
    }


def _block(server: Server, target: str, processes: int) -> str:
    config = server.config
    rows = {
        "target": target,
        "handles": _patterns(server.patterns),
        "queues": _queues(server),
        "concurrency": f"{config.concurrency} tasks at a time"
        + (f" in each of {processes} processes" if processes > 1 else ""),
        "redis": server.where,
        "to stop": "Ctrl-C lets running tasks finish, for up to"
        f" {config.shutdown_timeout:g} s; once more puts them back at once",
    }
    lines = [f"  {name:11}  {text}" for name, text in rows.items()]
    return "\n".join(["", f"  asyncq {__version__}", "", *lines, ""])


def _patterns(patterns: Sequence[str]) -> str:
    if not patterns:
        return "every type of task"
    more = len(patterns) - _MOST_PATTERNS
    shown = ", ".join(patterns[:_MOST_PATTERNS])
    return shown + (f" and {more} more" if more > 0 else "")


def _queues(server: Server) -> str:
    queues = server.config.queues
    if len(queues) == 1:
        return next(iter(queues))
    weighted = sorted(queues.items(), key=lambda item: -item[1])
    shown = ", ".join(f"{name} {weight}" for name, weight in weighted)
    return shown + (" (strict priority)" if server.config.strict_priority else " (weights)")
