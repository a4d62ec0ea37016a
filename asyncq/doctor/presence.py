"""Who is there: servers, workers and schedulers, and who only seems to be."""

from __future__ import annotations

from .._broker import keys
from .._broker.codec import UndecodableError, decode_server
from .._broker.examination import OVERDUE_S, Examination
from ..errors import RedisReplyError
from .finding import Findings
from .tasks import shown


async def queues_worked_on(examination: Examination, found: Findings, now: float) -> set[str]:
    """The queues of all servers that are alive; records that cannot be read are said."""
    queues: set[str] = set()
    try:
        names = await examination.command("ZRANGEBYSCORE", keys.SERVERS, int(now), "+inf")
    except RedisReplyError as error:
        if "WRONGTYPE" not in error.text:
            raise
        return queues  # said where the types of keys are looked at
    for name in names:
        try:
            data = await examination.command("GET", name)
            if data:
                queues |= decode_server(data).queues.keys()
        except (UndecodableError, RedisReplyError) as error:
            example = f"{shown(name)}: {error}"
            found.add("presence-unreadable", "servers", [example])
    return queues


async def look_at_stale(
    examination: Examination, found: Findings, now: float, *, fix: bool
) -> None:
    """Members of the lists of those that are there whose time is over by far: asynq only clears
    them when somebody lists them."""
    until = int(now) - OVERDUE_S
    for key in (keys.SERVERS, keys.WORKERS, keys.SCHEDULERS):
        try:
            gone = await examination.command("ZRANGEBYSCORE", key, "-inf", until, "LIMIT", 0, 1000)
            if gone and fix:
                await examination.command("ZREMRANGEBYSCORE", key, "-inf", until)
        except RedisReplyError as error:
            if "WRONGTYPE" not in error.text:
                raise
            continue
        if gone:
            fixed = len(gone) if fix else 0
            found.add("presence", key, [shown(name) for name in gone], fixed=fixed)
