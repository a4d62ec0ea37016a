"""Producers and workers under way, and an account of every task, for tests that disturb Redis.

async with Load(url, queue) as load:
    await load.goes_on()
    ...                                     # the disturbance
    await load.goes_on()
account = await load.account(redis)
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Self

from redis.asyncio import Redis
from standing import Standing, at_rest, until

from asyncq import (
    Client,
    EnqueueManyError,
    OutcomeUnknownError,
    RedisError,
    Server,
    ServerConfig,
    Task,
    TaskInfo,
    current,
)
from asyncq._broker import scripts
from asyncq._broker.codec import decode_task
from asyncq._broker.conversation import Call
from asyncq._broker.message import TaskMessage

_PRODUCERS, _WORKERS, _BATCH = 4, 2, 20


@dataclass(frozen=True, slots=True)
class Account:
    """What became of all tasks that were enqueued, or tried to be."""

    acknowledged: int
    unknown: int
    """The connection was lost, and nobody could say whether they were stored."""
    refused: int
    """Said not to be stored."""
    sent_again: int
    """Of the acknowledged: those that were enqueued by more than one sending."""
    lost: int
    """Acknowledged, and never handled."""
    handled_though_refused: int
    attempts: int
    twice: int
    """Handled more than once."""
    twice_sent_again: int
    """Of these: done before a lost enqueue was sent again, which stored it anew."""
    twice_recovered: int
    """Of these: recovered, or their outcome came too late."""
    standing: Standing

    def __str__(self) -> str:
        return (
            f"{self.acknowledged} acknowledged ({self.sent_again} after sending again),"
            f" {self.refused} refused, {self.unknown} unknown; {self.lost} lost;"
            f" {self.attempts} attempts, {self.standing.processed} acknowledged,"
            f" {self.standing.failed} recovered; {self.twice} ran twice"
            f" ({self.twice_sent_again} done before their enqueue was sent again,"
            f" {self.twice_recovered} recovered)"
        )


class Load:
    """Producers enqueue, singly and in batches, until the load ends; workers go on."""

    def __init__(self, url: str, queue: str) -> None:
        self._url, self._queue = url, queue
        self._numbers = itertools.count()
        self._acknowledged: set[bytes] = set()
        self._unknown: set[bytes] = set()
        self._refused: set[bytes] = set()
        self._in_doubt: set[bytes] = set()
        self._attempts: Counter[bytes] = Counter()
        self._recovered: set[bytes] = set()
        self._stop = asyncio.Event()
        self._stack = AsyncExitStack()
        self._producers: list[asyncio.Task[None]] = []

    @property
    def refused(self) -> int:
        """How many tasks Redis would not take."""
        return len(self._refused)

    @property
    def handled(self) -> int:
        """How many attempts there were."""
        return self._attempts.total()

    async def goes_on(self, tasks: int = 1000) -> None:
        """Return when so many more tasks were enqueued, and as many handled."""
        enqueued, handled = len(self._acknowledged), self.handled
        await until(lambda: len(self._acknowledged) > enqueued + tasks, self._progress)
        await until(lambda: self.handled > handled + tasks, self._progress)

    def _progress(self) -> str:
        return f"{len(self._acknowledged)} enqueued, {self.refused} refused, {self.handled} handled"

    async def __aenter__(self) -> Self:
        config = ServerConfig(queues={self._queue: 1}, concurrency=30)
        for _ in range(_WORKERS):
            await self._stack.enter_async_context(Server(self._url, self._handle, config))
        client = await self._stack.enter_async_context(Client(self._url))
        client._connection.on_call = self._note_call
        self._producers = [asyncio.create_task(self._produce(client)) for _ in range(_PRODUCERS)]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._stop.set()
        for producer in self._producers:
            if exc_info[0] is not None:
                producer.cancel()
        await asyncio.gather(*self._producers, return_exceptions=exc_info[0] is not None)
        if exc_info[0] is not None:
            await self._stack.aclose()

    async def account(self, redis: Redis) -> Account:
        """Let the workers finish, and count."""
        async with self._stack:
            rest = await at_rest(redis, self._queue)
        twice = {number for number, times in self._attempts.items() if times > 1}
        return Account(
            acknowledged=len(self._acknowledged),
            unknown=len(self._unknown),
            refused=len(self._refused),
            sent_again=len(self._in_doubt & self._acknowledged),
            lost=len(self._acknowledged - self._attempts.keys()),
            handled_though_refused=len(self._refused & self._attempts.keys()),
            attempts=self._attempts.total(),
            twice=len(twice),
            twice_sent_again=len(twice & self._in_doubt - self._recovered),
            twice_recovered=len(twice & self._recovered),
            standing=rest,
        )

    async def _handle(self, task: Task) -> None:
        self._attempts[task.payload] += 1
        if current().retry_count:
            self._recovered.add(task.payload)
        await asyncio.sleep(random.uniform(0, 0.01))

    async def _produce(self, client: Client) -> None:
        while not self._stop.is_set():
            for count in (1, 1, 1, _BATCH):
                tasks = [self._new_task() for _ in range(count)]
                for task, result in zip(tasks, await self._enqueue(client, tasks), strict=True):
                    self._note(task.payload, result)
            await self._not_too_far_ahead()

    async def _not_too_far_ahead(self) -> None:
        """Let the workers catch up, but never stop: Redis may be refusing them too, and a test wait
        for what it says to a producer."""
        slower = asyncio.get_running_loop().time() + 0.2
        while len(self._acknowledged) > len(self._attempts) + 500 and not self._stop.is_set():
            if asyncio.get_running_loop().time() > slower:
                return
            await asyncio.sleep(0.01)

    def _new_task(self) -> Task:
        return Task("t", b"%d" % next(self._numbers), queue=self._queue)

    async def _enqueue(self, client: Client, tasks: list[Task]) -> Sequence[object]:
        try:
            if len(tasks) == 1:
                return [await client.enqueue(tasks[0])]
            return await client.enqueue_many(tasks)
        except EnqueueManyError as error:
            return error.results
        except (OutcomeUnknownError, RedisError) as error:
            return [error]

    def _note(self, number: bytes, result: object) -> None:
        match result:
            case TaskInfo():
                self._acknowledged.add(number)
            case OutcomeUnknownError():
                self._unknown.add(number)
            case RedisError():
                self._refused.add(number)
            case _:
                raise AssertionError(f"enqueue should not say {result!r}")

    def _note_call(
        self, calls: Sequence[Call], seconds: float, error: BaseException | None
    ) -> None:
        """The tasks of a sending whose reply was lost."""
        if error is not None:
            self._in_doubt |= {task.payload for task in tasks_in_doubt(calls)}


def tasks_in_doubt(calls: Sequence[Call]) -> Iterator[TaskMessage]:
    """The tasks that these calls enqueue."""
    for call in calls:
        if call.script is scripts.ENQUEUE:
            width = call.args[4]  # how many arguments each task has, its message the second
            assert isinstance(width, int)
            for message in call.args[6::width]:
                assert isinstance(message, bytes)
                yield decode_task(message)
