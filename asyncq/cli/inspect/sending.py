"""`asyncq task enqueue` at work."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

from asyncq.errors import RedisReplyError
from asyncq.options import EnqueueOptions
from asyncq.task import Task, TaskState

from ..failure import CommandError
from ..reach import refusal
from .records import plain
from .session import FORBIDDEN, Desk
from .text import due


async def enqueue_task(
    desk: Desk,
    type: str,
    payload: bytes | None,
    headers: Mapping[str, str],
    options: Mapping[str, Any],
) -> None:
    """Enqueues it and tells its id."""
    try:
        task = Task(type, payload, headers=headers, **cast(EnqueueOptions, dict(options)))
    except (TypeError, ValueError) as error:
        raise CommandError(str(error)) from None
    known = await _known_queues(desk)
    try:
        info = await desk.client.enqueue(task)
    except RedisReplyError as error:
        raise refusal(desk.client.where, error, "producer") from None
    if desk.out.json:
        desk.out.record(plain(info))
        return
    state = info.state.value
    if info.state is TaskState.SCHEDULED:
        state += f", due {due(info.next_process_at, datetime.now(UTC))}"
    new = "" if known is None or info.queue in known else " (a new queue)"
    desk.out.prose(f"task {info.id} is in queue {info.queue!r}{new}: {state}")


async def _known_queues(desk: Desk) -> list[str] | None:
    """None: who may enqueue need not be allowed to see what queues there are."""
    try:
        return await desk.inspector.queues()
    except RedisReplyError as error:
        if error.code != FORBIDDEN:
            raise
        return None
