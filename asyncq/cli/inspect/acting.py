"""`asyncq task run|archive|delete|cancel|edit`: what is done to single tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from asyncq.errors import TaskNotFoundError
from asyncq.info import TaskInfo
from asyncq.task import TaskState

from ..failure import Exit
from .confirming import confirm
from .editing import edited
from .finding import find_task
from .listing import running
from .session import Desk, RefusedError, unwrapped

_LOOK_EVERY_S = 0.2
_AGAIN_EVERY_S = 1.0
"""A request to cancel is heard only by those who listen at that moment, so it is repeated."""


async def run_tasks(desk: Desk, queue: str | None, ids: Sequence[str]) -> int:
    """Make them pending."""
    return await _act(desk, queue, ids, desk.inspector.run_task, "is pending")


async def archive_tasks(desk: Desk, queue: str | None, ids: Sequence[str]) -> int:
    """Archive them."""
    return await _act(desk, queue, ids, desk.inspector.archive_task, "is archived")


async def delete_tasks(desk: Desk, queue: str | None, ids: Sequence[str], *, yes: bool) -> int:
    """Delete them, after one question."""

    async def look(task_id: str) -> TaskInfo:
        return await find_task(desk, queue, task_id)

    found, failed = await desk.one_by_one(ids, look)
    if found:
        named = (f"{task.id} ({task.type}, {task.state.value})" for task in found.values())
        await confirm(f"delete task {', '.join(named)}", yes=yes)

    async def delete(task_id: str) -> dict[str, Any]:
        task = found[task_id]
        await desk.inspector.delete_task(task.queue, task_id)
        return _done(desk, task, "is deleted")

    done, refused = await desk.one_by_one(found, delete)
    return _report(desk, done, failed | refused)


async def edit_payload(desk: Desk, queue: str | None, task_id: str, payload: bytes | None) -> int:
    """Replace its payload; None: with what an editor makes of it."""

    async def replace(task_id: str) -> dict[str, Any]:
        task = await find_task(desk, queue, task_id)
        new = await edited(task) if payload is None else payload
        await desk.inspector.update_payload(task.queue, task_id, new)
        return _done(desk, task, f"has a new payload of {len(new)} bytes")

    return _report(desk, *await desk.one_by_one([task_id], replace))


async def _act(
    desk: Desk,
    queue: str | None,
    ids: Sequence[str],
    act: Callable[[str, str], Awaitable[None]],
    what: str,
) -> int:
    async def act_on(task_id: str) -> dict[str, Any]:
        task = await find_task(desk, queue, task_id)
        await act(task.queue, task_id)
        return _done(desk, task, what)

    return _report(desk, *await desk.one_by_one(ids, act_on))


def _done(desk: Desk, task: TaskInfo, what: str) -> dict[str, Any]:
    if not desk.out.json:
        desk.out.prose(f"task {task.id} of queue {task.queue!r} {what}")
    return {"queue": task.queue}


def _report(desk: Desk, done: dict[str, dict[str, Any]], failed: dict[str, str]) -> int:
    if desk.out.json:
        desk.out.record(unwrapped(done, failed, "id"))
    return Exit.FAILED if failed else Exit.OK


# Cancelling


async def cancel_tasks(desk: Desk, ids: Sequence[str], *, archive: bool, wait: float) -> int:
    """Ask for each to be cancelled; with `archive` see to it that it does not run again."""
    queues = {task_id: queue for queue, task_id in await running(desk)}

    async def cancel(task_id: str) -> dict[str, Any]:
        if archive:
            task = await find_task(desk, queues.get(task_id), task_id)
            how = await _stop_for_good(desk, task, wait)
            return _done(desk, task, how) | {"requested": True, "seen": task_id in queues}
        await desk.inspector.cancel(task_id)
        seen = task_id in queues
        if not desk.out.json:
            doubt = "" if seen else " (no live server says that it runs it)"
            desk.out.prose(f"asked whoever runs task {task_id} to cancel it{doubt}")
        return {"queue": queues.get(task_id), "requested": True, "seen": seen}

    return _report(desk, *await desk.one_by_one(ids, cancel))


async def _stop_for_good(desk: Desk, task: TaskInfo, wait: float) -> str:
    """What became of it. Raises `RefusedError` if it does not stop in time."""
    clock = asyncio.get_running_loop().time
    end, again = clock() + wait, 0.0
    while True:
        try:
            now = await desk.inspector.task_info(task.queue, task.id)
        except TaskNotFoundError:
            return "is gone: it has ended, and was not to be kept"
        if now.state is TaskState.ARCHIVED:
            return "is archived"
        if now.state is TaskState.COMPLETED:
            return "was not stopped in time: it is completed"
        if now.state is not TaskState.ACTIVE:
            await desk.inspector.archive_task(task.queue, task.id)
            return "is archived"
        if clock() >= end:
            raise RefusedError(f"task {task.id!r} still runs {wait:g} s after it was asked to stop")
        if clock() >= again:
            await desk.inspector.cancel(task.id)
            again = clock() + _AGAIN_EVERY_S
        await asyncio.sleep(_LOOK_EVERY_S)
