"""What the processes of a fleet run: targets of the command line, and a producer.

What they are told stands in the variable CHAOS. Handlers note what they do under the token of
their task, which is its payload.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from load import tasks_in_doubt

from asyncq import (
    Client,
    DuplicateTaskError,
    EnqueueManyError,
    GroupConfig,
    NotReplicatedError,
    OutcomeUnknownError,
    RedisError,
    RedisReplyError,
    Scheduler,
    ServeMux,
    Server,
    ServerConfig,
    SkipRetry,
    Task,
    TaskIdConflictError,
    TaskInfo,
    current,
)
from asyncq._broker.conversation import Call
from asyncq._worker.timing import Timing

from .journal import Journal

GROUPS = 3
TICK_S = 1

mux = ServeMux()


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a process is told."""

    directory: str
    name: str
    queues: Sequence[str]
    """The first is shared with Go workers, if there are any; the last is not."""
    seed: int
    timing: dict[str, float] = field(default_factory=dict[str, float])
    concurrency: int = 20
    aggregates: bool = False
    clock_steps_s: float = 0
    """By how much SIGUSR2 moves the clock of the process."""
    replicas: int = 0
    """How many have to have a task before its enqueue counts as acknowledged."""
    tasks: int = 0
    """How many a producer enqueues; 0 for as many as it can until it is told to end."""
    pause_s: float = 0.01

    def to_environment(self) -> dict[str, str]:
        return {"CHAOS": json.dumps(vars(self))}


@cache
def told() -> Told:
    return Told(**json.loads(os.environ["CHAOS"]))


@cache
def journal() -> Journal:
    return Journal(Path(told().directory), told().name)


def worker() -> Server:
    """A target of `asyncq worker`."""
    _let_clock_step()
    group = GroupConfig(aggregate, grace_period=1, max_delay=2, max_size=10)
    config = ServerConfig(
        concurrency=told().concurrency,
        queues=dict.fromkeys(told().queues, 1),
        retry_delay=lambda *_: random.uniform(0.1, 0.5),
        delayed_task_check_interval=0.5,
        task_check_interval=0.2,
        janitor_interval=1,
        shutdown_timeout=5,
        lifespan=tell_of_start,
        group=group if told().aggregates else None,
    )
    timing: dict[str, Any] = told().timing
    return Server(None, mux, config, _timing=Timing(**timing))


@asynccontextmanager
async def tell_of_start(server: Server) -> AsyncGenerator[None]:
    """A lifespan."""
    journal().note("up", "-")
    yield


def scheduler() -> Scheduler:
    """A target of `asyncq scheduler`."""
    _let_clock_step()
    made = Scheduler(heartbeat_interval=1)
    journal().note("up", "-")
    tick = Task("tick", b"tick", queue=told().queues[-1])
    made.register(f"@every {TICK_S}s", tick, name="tick")
    return made


def _let_clock_step() -> None:
    """As an administrator would: on SIGUSR2 the time of this process jumps there, or back."""
    right, off_s = time.time, 0.0

    def step(*_: object) -> None:
        nonlocal off_s
        off_s = 0.0 if off_s else told().clock_steps_s

    signal.signal(signal.SIGUSR2, step)
    time.time = lambda: right() + off_s


# Handlers


def _start(task: Task) -> str:
    tokens = task.payload.decode()
    _note("start", tokens)
    return tokens


def _done(tokens: str) -> None:
    _note("done", tokens)


def _note(event: str, tokens: str) -> None:
    """Of a task, or of all that were aggregated into it."""
    journal().note(event, *tokens.split(","), number=current().retry_count)


@mux.handle("echo")
async def echo(task: Task) -> None:
    token = _start(task)
    await asyncio.sleep(random.uniform(0, 0.02))
    _done(token)


@mux.handle("noop")
async def noop(task: Task) -> None:
    _done(_start(task))


@mux.handle("tick")
async def tick(task: Task) -> None:
    journal().note("tick", current().task_id, number=current().retry_count)


@mux.handle("slow")
async def slow(task: Task) -> None:
    """Longer than a lease that nobody renews."""
    token = _start(task)
    await asyncio.sleep(random.uniform(0.5, 3))
    _done(token)


@mux.handle("blocks")
async def blocks(task: Task) -> None:
    token = _start(task)
    time.sleep(random.uniform(0.2, 1.5))  # noqa: ASYNC251 - the point of it
    _done(token)


@mux.handle("thread")
def in_a_thread(task: Task) -> None:
    token = _start(task)
    _note("thread", token)
    time.sleep(0.01)
    _done(token)


@mux.handle("fail-first")
async def fails_first(task: Task) -> None:
    token = _start(task)
    if current().retry_count == 0:
        _note("failed", token)
        raise RuntimeError("the first attempt fails")
    _done(token)


@mux.handle("skip")
async def skips(task: Task) -> None:
    _note("skipped", _start(task))
    raise SkipRetry("no use")


@mux.handle("aggregated")
async def aggregated(task: Task) -> None:
    tokens = _start(task)
    await asyncio.sleep(0.01)
    _done(tokens)


async def aggregate(group: str, tasks: list[Task]) -> Task:
    journal().note("aggregating", group)
    await asyncio.sleep(0.3)
    return Task("aggregated", b",".join(task.payload for task in tasks))


# Producer


def produce() -> None:
    """Enqueue tasks of all kinds until a SIGTERM, and note what became of each enqueue."""
    asyncio.run(_Producer().run())


class _Producer:
    def __init__(self) -> None:
        self._random = random.Random(f"{told().seed} {told().name}")
        self._journal = journal()
        self._next = 0
        self._stop = asyncio.Event()

    async def run(self) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._stop.set)
        _let_clock_step()
        async with Client() as client:
            client._connection.on_call = self._note_call
            self._journal.note("up", "-")
            while not self._stop.is_set() and (not told().tasks or self._next < told().tasks):
                count = self._random.choice([1, 1, 1, 20])
                tasks = [self._task() for _ in range(count)]
                self._journal.note("sent", *(task.payload.decode() for task in tasks))
                results = await self._enqueue(client, tasks)
                for task, result in zip(tasks, results, strict=True):
                    self._journal.note(word(result), task.payload.decode())
                await asyncio.sleep(self._random.uniform(0, 2 * told().pause_s))

    def _task(self) -> Task:
        self._next += 1
        token = f"{told().name}-{self._next}"
        shared, own = told().queues[0], told().queues[-1]
        wait_s = self._random.uniform(0, 2)
        part = {"queue": own, "group": f"g{self._next % GROUPS}"}
        kinds: list[tuple[float, str, dict[str, Any]]] = [
            (20, "echo", {"queue": shared}),
            (3, "echo", {"queue": shared, "process_in": wait_s}),
            (1, "echo", {"queue": shared, "retention": 3}),
            (1, "echo", {"queue": shared, "unique": 30}),
            (1, "echo", {"queue": shared, "task_id": token}),
            (1, "fail-first", {"queue": shared}),
            (0.3, "skip", {"queue": shared}),
            (0.3, "slow", {"queue": own}),
            (0.05, "blocks", {"queue": own}),
            (1, "thread", {"queue": own}),
            (3, "part", part),
        ]
        ((_, kind, options),) = self._random.choices(kinds, [weight for weight, *_ in kinds])
        return Task(kind, token, **options)

    async def _enqueue(self, client: Client, tasks: list[Task]) -> Sequence[object]:
        options: dict[str, Any] = {"wait_replicas": told().replicas} if told().replicas else {}
        try:
            if len(tasks) == 1:
                return [await client.enqueue(tasks[0], **options)]
            infos: Sequence[object] = await client.enqueue_many(tasks, **options)
        except EnqueueManyError as error:
            return error.results
        except Exception as error:  # noqa: BLE001 - what it is is noted, and judged at the end
            return [error] * len(tasks)
        return infos

    def _note_call(
        self, calls: Sequence[Call], seconds: float, error: BaseException | None
    ) -> None:
        if error is not None and not isinstance(error, RedisReplyError):
            self._journal.note("doubt", *(task.payload.decode() for task in tasks_in_doubt(calls)))


def word(result: object) -> str:
    """What an enqueue said, in a word."""
    match result:
        case TaskInfo():
            return "acked"
        case OutcomeUnknownError():
            return "unknown"
        case DuplicateTaskError() | TaskIdConflictError():
            return "conflict"
        case NotReplicatedError():
            return "unreplicated"
        case RedisError():
            return "refused"
        case _:
            return type(result).__name__
