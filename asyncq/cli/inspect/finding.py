"""A task by its id, in a queue that may not have been said."""

from __future__ import annotations

from asyncq.errors import QueueNotFoundError, RedisReplyError, TaskNotFoundError
from asyncq.info import TaskInfo

from .session import FORBIDDEN, Desk, RefusedError


async def find_task(desk: Desk, queue: str | None, task_id: str) -> TaskInfo:
    """The task. Raises `RefusedError` if there is none, or if it is not clear which."""
    if queue is not None:
        return await _in_queue(desk, queue, task_id)
    found: list[TaskInfo] = []
    forbidden: list[str] = []
    queues = await desk.inspector.queues()
    for name in queues:
        try:
            found.append(await desk.inspector.task_info(name, task_id))
        except TaskNotFoundError:
            continue
        except RedisReplyError as error:
            if error.code != FORBIDDEN:
                raise
            forbidden.append(name)
    if not found:
        where = f"any of {len(queues)} queues"
        if forbidden:
            seen = len(queues) - len(forbidden)
            where = f"the {seen} of {len(queues)} queues that this user of Redis may look at"
        raise RefusedError(f"there is no task {task_id!r} in {where}")
    if len(found) > 1:
        names = ", ".join(repr(task.queue) for task in found)
        raise RefusedError(
            f"several queues have a task {task_id!r}: {names}; say which with --queue"
        )
    return found[0]


async def _in_queue(desk: Desk, queue: str, task_id: str) -> TaskInfo:
    try:
        return await desk.inspector.task_info(queue, task_id)
    except TaskNotFoundError:
        if queue not in await desk.inspector.queues():
            raise QueueNotFoundError(queue) from None
        raise
