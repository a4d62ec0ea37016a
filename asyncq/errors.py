"""Every exception of asyncq, in one tree.

    AsyncqError
    ├── EnqueueError                a task was not enqueued as was asked for
    │   ├── DuplicateTaskError      another task holds the uniqueness lock
    │   ├── TaskIdConflictError     a task with this id exists
    │   ├── PayloadTooLargeError    the payload has more bytes than the client takes
    │   ├── OutcomeUnknownError     the connection was lost after the task was sent
    │   ├── NotReplicatedError      it is enqueued, but too few replicas said that they have it
    │   └── EnqueueManyError        some items of `enqueue_many` failed
    ├── TaskFailedError             a task that was waited for failed for good
    ├── SemaphoreFullError          no token of a distributed semaphore is left
    ├── HandlerError
    │   ├── HandlerNotFoundError    no pattern of the mux matches the task's type
    │   ├── InvalidPayloadError     a payload does not parse as what was asked for
    │   ├── InvalidResultError      a handler returned something that cannot be stored
    │   ├── TaskTimeoutError        the time-out or deadline of the task passed
    │   ├── TaskCancelledError      somebody cancelled the running task
    │   └── LeaseExpiredError       the worker could not keep its lease on the task
    ├── InspectError                something that was to be looked at or changed is not so
    │   ├── QueueNotFoundError      no such queue is known
    │   ├── QueueNotEmptyError      a queue with tasks is not deleted unless forced
    │   ├── TaskNotFoundError       no such task
    │   └── TaskStateError          the task is in a state that does not allow it
    ├── ServerStateError            start, stop or wait in a state that does not allow it
    └── RedisError
        ├── RedisNotConfiguredError nobody said where Redis is
        ├── RedisUnavailableError   Redis could not be reached, or the connection was lost
        └── RedisReplyError         Redis answered with an error

`SkipRetry` and `RevokeTask` stand outside the tree: they are signals that a handler
raises to choose the end of its attempt, not errors of asyncq.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = [
    "AsyncqError",
    "DuplicateTaskError",
    "EnqueueError",
    "EnqueueManyError",
    "HandlerError",
    "HandlerNotFoundError",
    "InspectError",
    "InvalidPayloadError",
    "InvalidResultError",
    "LeaseExpiredError",
    "NotReplicatedError",
    "OutcomeUnknownError",
    "PayloadTooLargeError",
    "QueueNotEmptyError",
    "QueueNotFoundError",
    "RedisError",
    "RedisNotConfiguredError",
    "RedisReplyError",
    "RedisUnavailableError",
    "RevokeTask",
    "SemaphoreFullError",
    "ServerStateError",
    "SkipRetry",
    "TaskCancelledError",
    "TaskFailedError",
    "TaskIdConflictError",
    "TaskNotFoundError",
    "TaskStateError",
    "TaskTimeoutError",
]


class SkipRetry(Exception):  # noqa: N818 - a signal, not an error; the name is asynq's
    """Raised by a handler: archive the task now, do not retry it."""


class RevokeTask(Exception):  # noqa: N818 - a signal, not an error; the name is asynq's
    """Raised by a handler: drop the task, neither retry nor archive it."""


class AsyncqError(Exception):
    """The root of asyncq's own errors."""


class EnqueueError(AsyncqError):
    """A task was not enqueued as was asked for. Most of its kinds mean that it was not enqueued;
    `OutcomeUnknownError` that it may be, `NotReplicatedError` that it is."""


class DuplicateTaskError(EnqueueError):
    """Another task holds the uniqueness lock that this one asked for.

    Attributes: `task_type`, `queue`.
    """

    def __init__(self, task_type: str, queue: str) -> None:
        self.task_type = task_type
        self.queue = queue
        super().__init__(
            f"a unique task {task_type!r} is already waiting or running in queue {queue!r}"
        )


class TaskIdConflictError(EnqueueError):
    """A task with this id exists in the queue, in whatever state.

    Attributes: `task_id`, `queue`.
    """

    def __init__(self, task_id: str, queue: str) -> None:
        self.task_id = task_id
        self.queue = queue
        super().__init__(f"a task with id {task_id!r} already exists in queue {queue!r}")


class PayloadTooLargeError(EnqueueError):
    """The payload has more bytes than the client takes; nothing was sent.

    Attributes: `task_type`, `size` and `limit`, both in bytes.
    """

    def __init__(self, task_type: str, size: int, limit: int) -> None:
        self.task_type = task_type
        self.size = size
        self.limit = limit
        super().__init__(
            f"the payload of task {task_type!r} has {size} bytes, and this client takes {limit}:"
            " keep large data elsewhere (a file, an object store) and put its name into the"
            " payload, or raise max_payload_size= of the Client"
        )


class OutcomeUnknownError(EnqueueError):
    """The connection was lost after the task was sent: it may be enqueued or not.

    Enqueue it again with `task_id=error.task_id`: if the first attempt arrived and the task
    still exists, that raises `TaskIdConflictError` and nothing runs twice.

    Attributes: `task_id`, `queue`.
    """

    def __init__(self, task_id: str, queue: str) -> None:
        self.task_id = task_id
        self.queue = queue
        super().__init__(
            f"the connection to Redis was lost while task {task_id!r} was enqueued to"
            f" queue {queue!r}; it is not known whether it arrived"
        )


class NotReplicatedError(EnqueueError):
    """The task is enqueued, but fewer replicas than wanted said in time that they have it.

    It will run; only if its master is lost before a replica has it, it is lost, too. Enqueued
    again it would run twice.

    Attributes: `info` (the `TaskInfo` of the task), `wanted`, `replicas` (how many said that they
    have it; 0 where Redis did not tell) and `reason`.
    """

    def __init__(self, info: Any, wanted: int, replicas: int, reason: str) -> None:
        self.info = info
        self.wanted = wanted
        self.replicas = replicas
        self.reason = reason
        super().__init__(
            f"task {info.id!r} is enqueued to queue {info.queue!r}, but {reason}: it is lost if its"
            " master is before they have it. Do not enqueue it again, it would run twice; find out"
            " why the replicas are away or behind (INFO replication)"
        )


class EnqueueManyError(EnqueueError):
    """Some items of `enqueue_many` failed; all were tried.

    Attributes: `results`, one entry for every input in its order: a `TaskInfo`, or the error.
    """

    def __init__(self, results: Sequence[object]) -> None:
        self.results = list(results)
        failed = [(n, r) for n, r in enumerate(self.results) if isinstance(r, BaseException)]
        unsafe = sum(isinstance(error, NotReplicatedError) for _, error in failed)
        counts = [f"{len(failed) - unsafe} of {len(self.results)} tasks were not enqueued"]
        if unsafe:
            counts.append(f"{unsafe} are enqueued, but not on as many replicas as wanted")
        shown = "; ".join(f"item {n}: {r}" for n, r in failed[:3])
        more = f"; and {len(failed) - 3} more" if len(failed) > 3 else ""
        super().__init__(
            f"{', '.join(counts)} ({shown}{more}); .results has the outcome of every item"
        )


class TaskFailedError(AsyncqError):
    """A task that was waited for was archived. Attributes: `queue`, `task_id`, `last_error`."""

    def __init__(self, queue: str, task_id: str, last_error: str) -> None:
        self.queue = queue
        self.task_id = task_id
        self.last_error = last_error
        super().__init__(f"task {task_id!r} of queue {queue!r} failed for good: {last_error}")


class SemaphoreFullError(AsyncqError):
    """No token of a distributed semaphore is left. Attributes: `scope`, `tokens`."""

    def __init__(self, scope: str, tokens: int) -> None:
        self.scope = scope
        self.tokens = tokens
        super().__init__(f"all {tokens} tokens of semaphore {scope!r} are taken")


class HandlerError(AsyncqError):
    """Why an attempt at a task failed, where the handler did not say so itself."""


class HandlerNotFoundError(HandlerError):
    """No pattern of the mux matches the task's type. Attributes: `task_type`."""

    def __init__(self, task_type: str) -> None:
        self.task_type = task_type
        # The text is asynq's, so that both sides show the same (wire format, section 11).
        super().__init__(f'handler not found for task "{task_type}"')


class InvalidPayloadError(HandlerError):
    """A payload or result does not parse as what was asked for.

    Attributes: `wanted` (the type, printed) and `reason`.
    """

    def __init__(self, wanted: str, reason: str) -> None:
        self.wanted = wanted
        self.reason = reason
        super().__init__(f"cannot be read as {wanted}: {reason}")


class InvalidResultError(HandlerError):
    """A value cannot be stored as a payload or result.

    Attributes: `value_type` (printed) and `reason`.
    """

    def __init__(self, value_type: str, reason: str) -> None:
        self.value_type = value_type
        self.reason = reason
        super().__init__(
            f"a value of type {value_type} cannot be stored: {reason}; "
            "use bytes, str, None, or anything pydantic can write as JSON"
        )


class TaskTimeoutError(HandlerError):
    """The task's time-out or deadline passed. The text is what Go stores in this case."""

    def __init__(self) -> None:
        super().__init__("context deadline exceeded")


class TaskCancelledError(HandlerError):
    """Somebody cancelled the running task. The text is what Go stores in this case."""

    def __init__(self) -> None:
        super().__init__("context canceled")


class LeaseExpiredError(HandlerError):
    """The lease on the task ran out before its worker could renew it. The text is Go's."""

    def __init__(self) -> None:
        super().__init__("asynq: task lease expired")


class InspectError(AsyncqError):
    """Something that was to be looked at or changed is not there, or not in the right state."""


class QueueNotFoundError(InspectError):
    """No such queue is known. Attributes: `queue`."""

    def __init__(self, queue: str) -> None:
        self.queue = queue
        super().__init__(f"queue {queue!r} does not exist: nothing was ever enqueued to it")


class QueueNotEmptyError(InspectError):
    """The queue has tasks. Attributes: `queue`, `size`, `active`."""

    def __init__(self, queue: str, size: int, active: int) -> None:
        self.queue = queue
        self.size = size
        self.active = active
        why = (
            f"{active} tasks of it are running; wait for them or cancel them"
            if active
            else f"it has {size} tasks; force=True deletes them with it"
        )
        super().__init__(f"queue {queue!r} is not deleted: {why}")


class TaskNotFoundError(InspectError):
    """No such task. Attributes: `queue`, `task_id`."""

    def __init__(self, queue: str, task_id: str) -> None:
        self.queue = queue
        self.task_id = task_id
        super().__init__(f"there is no task {task_id!r} in queue {queue!r}")


class TaskStateError(InspectError):
    """The task is in a state that does not allow it. Attributes: `queue`, `task_id`."""

    def __init__(self, queue: str, task_id: str, reason: str) -> None:
        self.queue = queue
        self.task_id = task_id
        super().__init__(f"task {task_id!r} of queue {queue!r}: {reason}")


class ServerStateError(AsyncqError):
    """A server (or scheduler) was asked for something its state does not allow.

    Attributes: `wanted`, `state`.
    """

    def __init__(self, wanted: str, state: str, hint: str = "", *, what: str = "server") -> None:
        self.wanted = wanted
        self.state = state
        super().__init__(f"cannot {wanted}: the {what} is {state}" + (f"; {hint}" if hint else ""))


class RedisError(AsyncqError):
    """Anything that went wrong between asyncq and Redis."""


class RedisNotConfiguredError(RedisError):
    """Neither an argument nor the environment says where Redis is."""

    def __init__(self) -> None:
        super().__init__(
            "no Redis was given: pass a URL such as redis://localhost:6379/0,"
            " or set ASYNCQ_REDIS_URL (or REDIS_URL),"
            ' or use embedded:// for a private development server (pip install "asyncq[embedded]")'
        )


class RedisUnavailableError(RedisError):
    """Redis could not be reached, or the connection was lost before the whole answer came.

    Attributes: `where` (the address, without secrets), `reason`, and `sent`: False when
    nothing can have been executed, True when it may have been.
    """

    def __init__(self, where: str, reason: str, *, sent: bool) -> None:
        self.where = where
        self.reason = reason
        self.sent = sent
        what = "lost the connection to Redis" if sent else "cannot reach Redis"
        super().__init__(f"{what} at {where}: {reason}")


# Replies that say "not now" or "not here": the same call may succeed a moment later.
_PASSING = frozenset(
    "LOADING READONLY UNBLOCKED OOM MASTERDOWN CLUSTERDOWN TRYAGAIN MOVED ASK BUSY NOREPLICAS"
    " MISCONF".split()
)


class RedisReplyError(RedisError):
    """Redis answered with an error.

    Attributes: `code` (its first word, such as `WRONGTYPE`), `text` (the whole of it) and
    `passing`: True for what may go away by itself (loading, out of memory, failing over).
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.code = text.split(" ", 1)[0]
        self.passing = self.code in _PASSING
        super().__init__(f"Redis answered: {text}")
