"""`Client`: enqueues tasks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Literal, TypeVar, overload

from typing_extensions import Unpack

from ._broker import keys
from ._broker.address import RedisSource as ForeignSource
from ._broker.arguments import NewTask
from ._broker.codec import moment, new_task_info
from ._broker.completion import Completions
from ._broker.connection import Connection
from ._broker.message import TaskMessage
from ._broker.producer import Answer, Enqueued, Producer
from ._broker.replicas import ReplicaWait, Shortfall
from ._broker.task_lists import TaskLists
from ._clock import Clock
from ._closing import Closing
from ._task_ids import new_task_id
from .errors import (
    EnqueueManyError,
    InvalidResultError,
    NotReplicatedError,
    PayloadTooLargeError,
    TaskFailedError,
)
from .info import TaskInfo
from .options import Duration, EnqueueOptions, Options, Replicas, compose, replicas, seconds
from .task import Task, TaskState

T = TypeVar("T")

MAX_PAYLOAD_SIZE = 64 << 20
_REDIS_TAKES = (512 << 20) - (64 << 10)
"""Of Redis's limit for a value, proto-max-bulk-len; some is for what is not the payload."""


class Client(Closing):
    """Enqueues tasks. Safe for any number of coroutines of one event loop at a time.

    `redis` is a URL, a `redis.asyncio` client (read for its address, left alone), or another
    `Client` (its connections are shared and stay its own). Without it `ASYNCQ_REDIS_URL`, then
    `REDIS_URL` is used. Nothing is said to Redis before the first call.

    `wait_replicas` is that of every `enqueue` and `enqueue_many` that says nothing else.
    `max_payload_size` is in bytes, 64 MiB if not given; a task with more is refused with
    `PayloadTooLargeError`.

    Use it as `async with Client(url) as client:`, or call `aclose` when done.

    Raises `RedisNotConfiguredError` if nobody says where Redis is, `ValueError` for a URL that
    cannot be read or a value out of range, `TypeError` for anything else, such as a synchronous
    client.
    """

    def __init__(
        self,
        redis: RedisSource | None = None,
        *,
        wait_replicas: int | Replicas | None = None,
        max_payload_size: int = MAX_PAYLOAD_SIZE,
        _clock: Clock | None = None,
    ) -> None:
        self._replica_wait = _replica_wait(wait_replicas)
        self._max_payload_size = _checked_size(max_payload_size)
        self._connection = Connection.open(connection_source(redis))
        self._clock = _clock or Clock()
        self._producer = Producer(self._connection, self._clock)
        task_lists = TaskLists(self._connection, self._clock)
        self._completions = Completions(self._connection, task_lists)

    @property
    def where(self) -> str:
        """The address of Redis, without secrets."""
        return self._connection.where

    async def enqueue(
        self,
        task: Task,
        *,
        wait_replicas: int | Replicas | None = None,
        **options: Unpack[EnqueueOptions],
    ) -> TaskInfo:
        """Enqueue one task; `options` override those of the task.

        When it returns, Redis has the task. After a lost connection it is sent again for about
        two seconds, and recognises itself.

        With `wait_replicas` it returns when so many replicas have the task, too: it is then not
        lost when one of them becomes the master. If they do not say so within a second (`Replicas`
        says how long, and whether on disk) it raises `NotReplicatedError`, which has the
        `TaskInfo`: the task is enqueued.

        Raises `DuplicateTaskError` (uniqueness), `TaskIdConflictError` (`task_id=`),
        `RedisUnavailableError` (not enqueued), `OutcomeUnknownError` (perhaps enqueued),
        `NotReplicatedError` (enqueued), `RedisReplyError` (refused by Redis),
        `PayloadTooLargeError`, `TypeError` and `ValueError` (wrong options).
        """
        new = self._new_task(task, options)
        wait = self._replica_wait if wait_replicas is None else _replica_wait(wait_replicas)
        answer = await self._producer.enqueue_one(new, wait)
        if isinstance(answer, Exception):
            raise answer
        info = _info(new, answer, self._now())
        if answer.shortfall is not None:
            raise _not_replicated(info, answer.shortfall)
        return info

    @overload
    async def enqueue_many(
        self,
        tasks: Iterable[Task],
        *,
        return_exceptions: Literal[False] = False,
        wait_replicas: int | Replicas | None = None,
        **options: Unpack[EnqueueOptions],
    ) -> list[TaskInfo]: ...
    @overload
    async def enqueue_many(
        self,
        tasks: Iterable[Task],
        *,
        return_exceptions: bool,
        wait_replicas: int | Replicas | None = None,
        **options: Unpack[EnqueueOptions],
    ) -> list[TaskInfo | Exception]: ...
    async def enqueue_many(
        self,
        tasks: Iterable[Task],
        *,
        return_exceptions: bool = False,
        wait_replicas: int | Replicas | None = None,
        **options: Unpack[EnqueueOptions],
    ) -> Sequence[TaskInfo | Exception]:
        """Enqueue many tasks, a few hundred in a round trip; the result lines up with `tasks`.

        Every task is tried, whatever becomes of the others. If any failed, `EnqueueManyError`
        is raised, whose `.results` has the `TaskInfo` or the error of each; with
        `return_exceptions` that list is returned instead. Errors are those of `enqueue`.

        Replicas (`wait_replicas`) are waited for in every round trip. Those of a single master
        are hardly waited for any more once that was in vain.
        """
        wait = self._replica_wait if wait_replicas is None else _replica_wait(wait_replicas)
        tasks = list(tasks)  # all of them, before the first one is on its way
        composed: list[NewTask | Exception] = []
        fit = self._compose(tasks, options, composed)
        answers = iter(await self._producer.enqueue(fit, wait))
        now = self._now()
        results = [
            _info_or_error(new, next(answers), now) if isinstance(new, NewTask) else new
            for new in composed
        ]
        if not return_exceptions and any(isinstance(result, Exception) for result in results):
            raise EnqueueManyError(results)
        return results

    async def wait(self, info: TaskInfo, *, timeout: Duration | None = None) -> TaskInfo:
        """Return the task as it ended: completed, or archived after its last failure.

        A task is kept after its success only with `retention=`; without it there is nothing to
        wait for. Told at once where an asyncq worker finishes the task, found within a second
        where another does. Lost connections are made again for about ten seconds.

        Raises `TimeoutError` after `timeout` seconds, `ValueError` for a task without retention,
        `TaskNotFoundError` when the task is gone (its retention ran out, or somebody deleted it),
        and `RedisError`.
        """
        if not info.retention:
            raise ValueError(
                f"task {info.id!r} cannot be waited for: it is deleted when it succeeds;"
                " enqueue it with retention="
            )
        limit = None if timeout is None else seconds("timeout", timeout)
        return await self._completions.wait(info.queue, info.id, limit)

    @overload
    async def result(
        self, info: TaskInfo, model: type[T], *, timeout: Duration | None = None
    ) -> T: ...
    @overload
    async def result(
        self, info: TaskInfo, model: Any, *, timeout: Duration | None = None
    ) -> Any: ...
    async def result(self, info: TaskInfo, model: Any, *, timeout: Duration | None = None) -> Any:
        """Wait for the task and return its result as a value of type `model`: a class, or any
        annotation pydantic knows, such as `int | None`.

        Raises what `wait` raises, `TaskFailedError` if the task was archived, and
        `InvalidPayloadError` if the result does not parse.
        """
        ended = await self.wait(info, timeout=timeout)
        if ended.state is TaskState.ARCHIVED:
            raise TaskFailedError(ended.queue, ended.id, ended.last_error)
        return ended.parse_result(model)

    async def ping(self) -> None:
        """Return if Redis answers. Raises `RedisUnavailableError` or `RedisReplyError`."""
        await self._connection.ping()

    async def aclose(self) -> None:
        """Close the connections. Safe to call again; connections that are shared stay open."""
        await self._completions.aclose()
        await self._connection.aclose()

    def __repr__(self) -> str:
        return f"<Client of {self.where}>"

    def _compose(
        self, tasks: Iterable[Task], options: EnqueueOptions, composed: list[NewTask | Exception]
    ) -> Iterator[NewTask]:
        """The tasks that can be enqueued; they and the errors of the others join `composed`."""
        for task in tasks:
            try:
                new = self._new_task(task, options)
            except (TypeError, ValueError, InvalidResultError, PayloadTooLargeError) as error:
                composed.append(error)
            else:
                composed.append(new)
                yield new

    def _new_task(self, task: Task, options: EnqueueOptions) -> NewTask:
        if not isinstance(task, Task):
            raise TypeError(
                f"enqueue takes a Task, got {task!r}; write Task('some:type', payload),"
                " or call your TaskType with its payload"
            )
        new = new_task(task, compose(task.options, options))
        size = len(new.message.payload)
        if size > self._max_payload_size:
            raise PayloadTooLargeError(task.type, size, self._max_payload_size)
        return new

    def _now(self) -> datetime | None:
        return moment(self._clock.now())


RedisSource = ForeignSource | Client
"""What says where Redis is: a URL, a `redis.asyncio` client, or a `Client` to share."""


async def announce(client: Client, queues: Iterable[str]) -> None:
    """Put queues on the list of queues, even if the client did so a moment ago."""
    await client._producer.announce(queues)


def connection_source(source: RedisSource | None) -> ForeignSource | Connection | None:
    """What `Connection.open` takes: the connection of a `Client`, else the source itself."""
    return source._connection if isinstance(source, Client) else source


def _replica_wait(wanted: int | Replicas | None) -> ReplicaWait | None:
    if wanted is None:
        return None
    checked = replicas(wanted)
    timeout_ms = max(1, round(checked.timeout_s * 1000))
    return ReplicaWait(checked.count, timeout_ms, checked.on_disk)


def _checked_size(size: object) -> int:
    if not isinstance(size, int) or isinstance(size, bool):
        raise TypeError(f"max_payload_size= takes a number of bytes, got {size!r}")
    if not 1 <= size <= _REDIS_TAKES:
        raise ValueError(
            f"max_payload_size= takes 1 to {_REDIS_TAKES} bytes, which is what Redis takes in one"
            f" value, got {size}"
        )
    return size


def _not_replicated(info: TaskInfo, owed: Shortfall) -> NotReplicatedError:
    return NotReplicatedError(info, owed.wanted, owed.replicas, owed.reason)


def _info_or_error(new: NewTask, answer: Answer, now: datetime | None) -> TaskInfo | Exception:
    if isinstance(answer, Exception):
        return answer
    info = _info(new, answer, now)
    return info if answer.shortfall is None else _not_replicated(info, answer.shortfall)


def _info(new: NewTask, answer: Enqueued, now: datetime | None) -> TaskInfo:
    due = now if answer.state is TaskState.PENDING else moment(answer.due_ms / 1000)
    return new_task_info(new.message, answer.state, due)


def new_task(task: Task, options: Options) -> NewTask:
    """The record and the conditions of a task to enqueue."""
    lock = ""
    if options.unique_s:
        payload = task.payload if task.has_payload else None
        what = payload if options.unique_key is None else options.unique_key
        lock = keys.unique(options.queue, task.type, what)
    # By position, in the order of their fields: twice as fast as by name.
    message = TaskMessage(
        task.type,
        options.task_id or new_task_id(),
        options.queue,
        task.payload,
        task.headers,
        options.max_retry,
        0,  # retried
        "",  # error_msg
        0,  # last_failed_at
        options.timeout_s,
        options.deadline_s,
        lock,
        options.group,
        options.retention_s,
    )
    own_id = options.task_id is None
    return NewTask(message, own_id, options.unique_s, options.process_at_ms, options.process_in_ms)
