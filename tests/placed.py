"""Tasks as they stand in Redis in each state, written key by key as Go writes them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from redis.asyncio import Redis
from stored import a_message

from asyncq import TaskState
from asyncq._broker import keys
from asyncq._broker.codec import encode_task

NOW_S = int(time.time())


async def put(
    redis: Redis,
    queue: str,
    state: TaskState | str,
    ids: Sequence[str] | Mapping[str, float],
    *,
    group: str = "",
    fields: Mapping[str, Any] | None = None,
    **message: Any,
) -> None:
    """Tasks in a state: of a list the next to run (or the oldest) first; of a zset with scores."""
    pipe: Any = redis.pipeline(transaction=False)
    pipe.sadd(keys.QUEUES, queue)
    state = TaskState(state)
    for n, task_id in enumerate(ids):
        hash_fields: dict[str, Any] = {
            "msg": encode_task(a_message(queue, task_id, group_key=group, **message)),
            "state": state.value,
            **(fields or {}),
        }
        if state is TaskState.PENDING:
            hash_fields["pending_since"] = time.time_ns() - 10**9 + n
            pipe.lpush(keys.pending(queue), task_id)
        elif state is TaskState.ACTIVE:
            pipe.lpush(keys.active(queue), task_id)
            pipe.zadd(keys.lease(queue), {task_id: NOW_S + 3000})
        elif state is TaskState.AGGREGATING:
            hash_fields["group"] = group
            pipe.zadd(keys.group(queue, group), {task_id: _score(ids, task_id)})
            pipe.sadd(keys.groups(queue), group)
        else:
            pipe.zadd(keys.queue_prefix(queue) + state.value, {task_id: _score(ids, task_id)})
        pipe.hset(keys.task(queue, task_id), mapping=hash_fields)
    await pipe.execute()


def _score(ids: Sequence[str] | Mapping[str, float], task_id: str) -> float:
    return ids[task_id] if isinstance(ids, Mapping) else NOW_S + list(ids).index(task_id)
