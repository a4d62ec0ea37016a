"""Waiting for the end of tasks."""

from __future__ import annotations

import asyncio
import logging

from ..errors import RedisError, RedisReplyError, RedisUnavailableError
from ..info import TaskInfo
from ..task import TaskState
from . import keys, scripts
from .connection import Call, Connection
from .pool import POOL_SIZE
from .task_lists import TaskLists

_log = logging.getLogger("asyncq")

# A task that a Go worker finishes is not announced: it is looked for, ever more rarely.
_FIRST_LOOK_S, _LONGEST_LOOK_S = 0.1, 1.0
_RECONNECT_S = 1.0
# How long Redis may be away before those who wait are told. Picked by feel: a failover passes.
_PATIENCE_S = 10.0
# However many wait, they leave connections to other calls.
_LOOKS_AT_ONCE = POOL_SIZE // 2
_FINAL = (TaskState.COMPLETED, TaskState.ARCHIVED)


class Completions:
    """Waits for any number of tasks with one subscription, made when it is first needed."""

    def __init__(self, connection: Connection, task_lists: TaskLists) -> None:
        self._connection = connection
        self._task_lists = task_lists
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._looks = asyncio.Semaphore(_LOOKS_AT_ONCE)
        self._listening: asyncio.Task[None] | None = None
        self._closed = False

    async def wait(self, queue: str, task_id: str, timeout: float | None) -> TaskInfo:
        """The task as it ended: completed or archived. Looks at least once.

        Raises `TaskNotFoundError`, `TimeoutError`, `RedisError`.
        """
        self._forget_other_loop()
        if not self._closed and (self._listening is None or self._listening.done()):
            self._listening = asyncio.create_task(self._listen(), name="asyncq-completions")
        waiting = self._waiting
        key = keys.task(queue, task_id)
        told = asyncio.Event()
        waiting.setdefault(key, set()).add(told)
        try:
            return await self._until_final(queue, task_id, told, timeout)
        finally:
            waiting[key].discard(told)
            if not waiting[key]:
                del waiting[key]

    def _forget_other_loop(self) -> None:
        """What was made in another event loop (a second `asyncio.run`) can only be used there."""
        listening = self._listening
        if listening is not None and listening.get_loop() is not asyncio.get_running_loop():
            self._listening = None
            self._looks = asyncio.Semaphore(_LOOKS_AT_ONCE)
            self._waiting = {}

    async def aclose(self) -> None:
        """End the subscription. Those who still wait find the connection closed."""
        self._closed = True
        self._forget_other_loop()
        for told in (event for events in self._waiting.values() for event in events):
            told.set()
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def _until_final(
        self, queue: str, task_id: str, told: asyncio.Event, timeout: float | None
    ) -> TaskInfo:
        loop = asyncio.get_running_loop()
        give_up = None if timeout is None else loop.time() + timeout
        pause, answered, state = _FIRST_LOOK_S, loop.time(), "not seen yet"
        while True:
            told.clear()
            try:
                ended = await self._look(queue, task_id)
                if isinstance(ended, TaskInfo):
                    return ended
                state, answered = ended, loop.time()
            except RedisError as error:
                if self._closed or not _passes(error) or loop.time() - answered > _PATIENCE_S:
                    raise
            if give_up is not None and loop.time() >= give_up:
                raise TimeoutError(
                    f"task {task_id!r} of queue {queue!r} has not ended within {timeout:g} s;"
                    f" its state is {state}"
                )
            until = loop.time() + pause
            try:
                async with asyncio.timeout_at(until if give_up is None else min(until, give_up)):
                    await told.wait()
            except TimeoutError:
                pause = min(pause * 2, _LONGEST_LOOK_S)

    async def _look(self, queue: str, task_id: str) -> TaskInfo | str:
        """The task at its end, else its state. Raises `TaskNotFoundError`."""
        call = Call.of(scripts.AWAIT_TASK, (keys.task(queue, task_id),))
        async with self._looks:
            state = await self._connection.run_one(call)
            if state is None or state.decode() in _FINAL:
                return await self._task_lists.task_info(queue, task_id)
        name: str = state.decode()
        return name

    async def _listen(self) -> None:
        listener = self._connection.listener()
        quiet = False
        try:
            while True:
                try:
                    await listener.subscribe(keys.DONE_CHANNEL)
                    quiet = False
                    while True:
                        _, key = await listener.next()
                        for told in self._waiting.get(key.decode("utf-8", "replace"), ()):
                            told.set()
                except RedisError as error:
                    # Those who wait look for themselves meanwhile.
                    if not quiet:
                        _log.warning(
                            "not told of ends of tasks (%s): looking once a second until we are",
                            error,
                        )
                        quiet = True
                    await asyncio.sleep(_RECONNECT_S)
        finally:
            await listener.aclose()


def _passes(error: RedisError) -> bool:
    """Whether another look may succeed: looking changes nothing, so it may be sent again."""
    return isinstance(error, RedisUnavailableError) or (
        isinstance(error, RedisReplyError) and error.passing
    )
