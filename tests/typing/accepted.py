"""What type checkers must accept, and the types that they must see. Run by test_typing.py."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

from pydantic import BaseModel
from typing_extensions import TypedDict

from asyncq.client import Client
from asyncq.config import GroupConfig, ServerConfig
from asyncq.context import TaskContext, current
from asyncq.info import TaskInfo
from asyncq.mux import Handler, ServeMux, TaskFunction, as_handler
from asyncq.server import Server
from asyncq.sync import SyncClient
from asyncq.task import Task
from asyncq.task_type import TaskType


class Email(BaseModel):
    user_id: int
    template_id: str = "plain"


class UrgentEmail(Email):
    siren: bool = True


class Receipt(BaseModel):
    sent: bool


@dataclass
class Resize:
    width: int
    height: int = 10


class Settings(TypedDict):
    depth: int


mux = ServeMux()

# A task type keeps the types of payload and result, and is called as its payload is made.

email = TaskType("email:deliver", Email, max_retry=5, timeout=timedelta(minutes=1))
receipted = TaskType("email:receipted", Email, result=Receipt, queue="low")
cleanup = TaskType("cron:cleanup", retention=3600)
counted = TaskType("cron:count", result=int)

assert_type(email.payload_type, type[Email] | None)
assert_type(receipted.result_type, type[Receipt] | None)
assert_type(cleanup, TaskType[[], None, Any])
assert_type(counted, TaskType[[], None, int])
assert_type(email(user_id=42, template_id="welcome"), Task)
assert_type(email(user_id=42), Task)
assert_type(cleanup(), Task)
assert_type(TaskType("image:resize", Resize)(3, height=4), Task)
email.task(UrgentEmail(user_id=1), headers={"trace": "t"}, process_at=datetime.now(UTC))
cleanup.task(None, queue="low")

assert_type(TaskType("t", str), TaskType[[str], str, Any])
assert_type(TaskType("t", bytes, result=str), TaskType[[bytes], bytes, str])
assert_type(TaskType("t", list[int]), TaskType[[list[int]], list[int], Any])
assert_type(TaskType("t", dict[str, Any]), TaskType[[dict[str, Any]], dict[str, Any], Any])
assert_type(TaskType("t", datetime), TaskType[[datetime], datetime, Any])
TaskType("t", str)("text")
TaskType("t", float)(5)
TaskType("t", list[int])([1])
TaskType("t", Settings)({"depth": 3})

# Handlers of a task type: of the payload or of the raw task, async or plain, any result unless
# one was declared.


@mux.handle(email)
async def deliver(payload: Email) -> str:
    return payload.template_id


@mux.handle(receipted, invalid_payload="archive")
async def deliver_receipted(payload: Email) -> Receipt:
    return Receipt(sent=True)


@mux.handle(email)
def deliver_in_thread(payload: Email) -> None: ...
@mux.handle(receipted)
def deliver_in_thread_receipted(payload: BaseModel) -> Receipt:
    return Receipt(sent=True)


@mux.handle(receipted)
async def deliver_raw(task: Task) -> Receipt:
    return Receipt(sent=bool(task.payload))


@mux.handle(email)
def deliver_raw_in_thread(task: Task) -> None: ...
@mux.handle(cleanup)
async def clean(payload: None) -> None: ...
@mux.handle(counted)
async def count(task: Task) -> int:
    return 3


assert_type(deliver_receipted, Callable[[Email], Coroutine[Any, Any, Receipt]])
assert_type(mux.handle(receipted, deliver_raw), Callable[[Task], Coroutine[Any, Any, Receipt]])


async def handlers_can_still_be_called() -> None:
    assert_type(await deliver_receipted(Email(user_id=1)), Receipt)
    await asyncio.create_task(deliver(Email(user_id=1)))
    assert_type(deliver_in_thread_receipted(Email(user_id=1)), Receipt)


# Handlers of a pattern are returned exactly as they are.


@mux.handle("image:")
async def images(task: Task) -> bytes:
    return task.payload


@mux.handle("numbers", invalid_payload="archive")
def numbers(payload: list[int], *, times: int = 1) -> int:
    return sum(payload) * times


class Handling:
    async def __call__(self, task: Task) -> int:
        return 1


async def two(times: int, task: Task) -> None: ...


async def patterns_keep_the_function() -> None:
    assert_type(await images(task=Task("image:")), bytes)
    assert_type(numbers([1], times=2), int)
    assert_type(mux.handle("object", Handling()), Handling)
    assert_type(mux.handle("nested", ServeMux()), ServeMux)
    mux.handle("partial", functools.partial(two, 3))


# Middleware, and what a server takes.


@mux.middleware
async def timing(task: Task, call_next: Handler) -> object:
    return await call_next(task)


async def loose(task: Task, call_next: Callable[[Task], Awaitable[object]]) -> Any:
    return await call_next(task)


mux.use(timing, loose)
assert_type(as_handler(mux), Handler)


def handled_in_a_thread(task: Task) -> None: ...
async def handled(task: Task) -> bytes:
    return task.payload


assert_type(Server("redis://localhost", handled_in_a_thread), Server)
assert_type(Server("redis://localhost", handled), Server)
assert_type(Server("redis://localhost", mux).handler, ServeMux | TaskFunction)

# Payloads and results are read as what was asked for; what is no class is not known to checkers.


async def reading(task: Task, info: TaskInfo, client: Client, sync: SyncClient) -> int | None:
    assert_type(task.parse(Email), Email)
    assert_type(task.parse(list[int]), list[int])
    assert_type(info.parse_result(Receipt), Receipt)
    assert_type(await client.result(info, Receipt), Receipt)
    assert_type(sync.result(info, Receipt), Receipt)
    maybe: int | None = task.parse(int | None)
    maybe = info.parse_result(int | None)
    maybe = await client.result(info, int | None, timeout=3)
    return maybe or sync.result(info, int | None)


# Context and configuration.


async def inside() -> None:
    context = current()
    assert_type(context, TaskContext)
    assert_type(context.deadline, datetime | None)
    await context.write_result({"done": 0.5})


@asynccontextmanager
async def lifespan(server: object) -> AsyncGenerator[str]:
    yield "state"


async def aggregate(group: str, tasks: list[Task]) -> Task:
    return Task(group, [len(tasks)])


def retry_delay(retried: int, error: BaseException, task: Task) -> timedelta:
    return timedelta(seconds=retried)


async def report(task: Task, error: BaseException) -> None: ...
def health(error: BaseException | None) -> None: ...


config = ServerConfig(
    concurrency=50,
    queues={"critical": 6, "default": 3},
    shutdown_timeout=timedelta(seconds=8),
    retry_delay=retry_delay,
    is_failure=lambda error: not isinstance(error, TimeoutError),
    error_handler=report,
    health_check=health,
    lifespan=lifespan,
    group=GroupConfig(aggregate, grace_period=120, max_delay=600, max_size=20),
    log_level="debug",
)
assert_type(config.shutdown_timeout, float)
assert_type(replace(config, concurrency=4), ServerConfig)
