"""What type checkers must refuse. Run by test_typing.py, never imported.

Every mistake carries the error that mypy and pyright must report. One that is not reported is an
error itself: both are told to find comments that ignore nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass

from pydantic import BaseModel
from typing_extensions import TypedDict

from asyncq.config import GroupConfig, ServerConfig
from asyncq.context import TaskContext
from asyncq.mux import Handler, ServeMux
from asyncq.server import Server
from asyncq.task import Task
from asyncq.task_type import TaskType


class Email(BaseModel):
    user_id: int
    template_id: str = "plain"


class Receipt(BaseModel):
    sent: bool


@dataclass
class Resize:
    width: int


class Settings(TypedDict):
    depth: int


mux = ServeMux()
email = TaskType("email:deliver", Email)
receipted = TaskType("email:receipted", Email, result=Receipt)
cleanup = TaskType("cron:cleanup")

# The producer's end.

email(user_id=42, template="welcome")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
email(user_id="42")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
email()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
email.task(Resize(3))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
email.task(Email(user_id=1), que="low")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
email.task(Email(user_id=1), timeout="5s")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
cleanup("unexpected")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
TaskType("image:resize", Resize)(height=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
TaskType("t", str)(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
TaskType("t", list[int])(["a"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
TaskType("t", Settings)({"dept": 3})  # type: ignore[typeddict-item]  # pyright: ignore[reportArgumentType]
TaskType("t", Email, max_retires=3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
TaskType("t", Email, max_retry="3")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
TaskType("t", 5)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
Task("t", max_retires=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Task("t", headers={"a": 1})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]

# The handler's end.


@mux.handle(email)  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType, reportUntypedFunctionDecorator]
async def another_payload(payload: Resize) -> None: ...
@mux.handle(email)  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType, reportUntypedFunctionDecorator]
async def two_arguments(payload: Email, more: int) -> None: ...
@mux.handle(receipted)  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType, reportUntypedFunctionDecorator]
async def another_result(payload: Email) -> int:
    return 3


@mux.handle(receipted)  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType, reportUntypedFunctionDecorator]
async def no_result(payload: Email) -> None: ...
@mux.handle(receipted)  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType, reportUntypedFunctionDecorator]
def another_result_in_thread(payload: Email) -> int:
    return 3


@mux.handle(cleanup)  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType, reportUntypedFunctionDecorator]
async def payload_of_nothing(payload: Email) -> None: ...


async def raw_of_int(task: Task) -> int:
    return 3


mux.handle(receipted, raw_of_int)  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType]
mux.handle("t", invalid_payload="drop")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
mux.handle("t", 5)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]


@mux.handle("t")  # type: ignore[type-var]  # pyright: ignore[reportArgumentType, reportUntypedFunctionDecorator]
async def nothing_taken() -> None: ...


# Middleware and configuration.


@mux.middleware  # type: ignore[type-var]  # pyright: ignore[reportArgumentType, reportUntypedFunctionDecorator]
async def no_next(task: Task) -> object: ...


def plain(task: Task, call_next: Handler) -> object: ...
async def aggregate(tasks: list[Task]) -> Task:
    return tasks[0]


async def slow_delay(retried: int, error: BaseException, task: Task) -> float:
    return 1.0


mux.use(plain)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
ServerConfig(concurency=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
ServerConfig(concurrency="3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
ServerConfig(3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
ServerConfig(retry_delay=slow_delay)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
ServerConfig(log_level="warn")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
ServerConfig().concurrency = 3  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
GroupConfig(aggregate)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def freeze(context: TaskContext) -> Awaitable[None]:
    context.queue = "other"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    return context.write_result(3)


# A server calls its handler with a task.

Server("redis://localhost", plain)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
