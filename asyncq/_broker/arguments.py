"""Arguments and answers that several scripts share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from .._clock import Clock
from ..errors import RedisError, RedisReplyError, RedisUnavailableError
from . import keys
from .codec import encode_task
from .connection import Reply
from .message import TaskMessage

Arg = str | bytes | int | float


class NewTask(NamedTuple):
    """A task to enqueue. Its message's `unique_key` names the lock, `group_key` the group."""

    message: TaskMessage
    own_id: bool
    """Whether asyncq made the id: then whatever stands under it is this very task."""
    unique_s: int = 0
    process_at_ms: int | None = None
    process_in_ms: int | None = None


def is_plain(new: NewTask) -> bool:
    """Whether the task is pending at once and there is nothing to check but our own id."""
    message = new.message
    return (
        new.own_id
        and new.process_at_ms is None
        and not new.process_in_ms
        and not message.unique_key
        and not message.group_key
    )


@lru_cache(maxsize=1024)
def new_task_keys(queue: str) -> tuple[str, ...]:
    """The keys of enqueue.lua."""
    return (keys.pending(queue), keys.scheduled(queue), keys.groups(queue), keys.due(queue))


@lru_cache(maxsize=1024)
def new_task_prefixes(queue: str) -> tuple[str, str, str]:
    """The first arguments of enqueue.lua."""
    return (keys.task_prefix(queue), keys.group_prefix(queue), keys.due_channel(queue))


def new_task_args(new: NewTask, call_token: str) -> tuple[Arg, ...]:
    """One task, as include/enqueue_task.lua takes it."""
    wait = ""
    if new.process_at_ms is not None:
        wait = f"@{new.process_at_ms}"
    elif new.process_in_ms:
        wait = f"+{new.process_in_ms}"
    message = new.message
    return (
        message.id,
        encode_task(message),
        "" if new.own_id else call_token,
        wait,
        message.group_key,
        message.unique_key,
        new.unique_s,
    )


def finish_keys(queue: str, clock: Clock) -> tuple[str, ...]:
    """The keys of include/finish.lua."""
    day = datetime.fromtimestamp(clock.now(), UTC).strftime("%Y-%m-%d")
    return (
        keys.active(queue),
        keys.lease(queue),
        keys.pending(queue),
        keys.retry(queue),
        keys.archived(queue),
        keys.completed(queue),
        keys.due(queue),
        keys.processed_on(queue, day),
        keys.failed_on(queue, day),
        keys.processed(queue),
        keys.failed(queue),
    )


def answers_of(reply: Reply, count: int) -> Sequence[Reply]:
    """A script's list of answers; if the call failed as a whole, its error for each."""
    return [copy_of(reply) for _ in range(count)] if isinstance(reply, RedisError) else reply


def copy_of(error: Reply) -> Reply:
    """An error for one more caller: raised twice, one error would have the traces of both."""
    if isinstance(error, RedisReplyError):
        return RedisReplyError(error.text)
    return RedisUnavailableError(error.where, error.reason, sent=error.sent)


def reply_error(text: bytes) -> RedisReplyError:
    """An error that a script caught. Before Redis 7 it names the script and line first."""
    return RedisReplyError(
        re.sub(r"^(@?user_script: ?\d+: )?-?", "", text.decode("utf-8", "replace"))
    )


def passing(error: RedisError) -> bool:
    """Whether the same call may succeed a moment later."""
    if isinstance(error, RedisReplyError):
        return error.passing
    return isinstance(error, RedisUnavailableError)
