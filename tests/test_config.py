"""`ServerConfig` and `GroupConfig`: defaults, units, and errors that teach."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from asyncq.config import GroupConfig, ServerConfig
from asyncq.retry import default_retry_delay
from asyncq.task import Task


def aggregate(group: str, tasks: list[Task]) -> Task:
    return tasks[0]


def test_the_defaults_are_asynqs_but_for_concurrency() -> None:
    config = ServerConfig(is_failure=bool)
    assert {field.name: getattr(config, field.name) for field in dataclasses.fields(config)} == {
        "concurrency": 32,
        "sync_concurrency": 32,
        "queues": {"default": 1},
        "strict_priority": False,
        "task_check_interval": 1.0,
        "retry_delay": default_retry_delay,
        "is_failure": bool,
        "error_handler": None,
        "lifespan": None,
        "shutdown_timeout": 8.0,
        "health_check": None,
        "health_check_interval": 15.0,
        "delayed_task_check_interval": 5.0,
        "janitor_interval": 8.0,
        "janitor_batch_size": 100,
        "archive_max_size": 100_000,
        "archive_max_age": 90 * 86400.0,
        "group": None,
        "log_level": None,
        "statistics": None,
    }
    assert ServerConfig().is_failure(ValueError()) is True


def test_the_defaults_of_a_group() -> None:
    group = GroupConfig(aggregate)
    assert (group.aggregator, group.grace_period, group.max_delay, group.max_size) == (
        aggregate,
        60.0,
        None,
        None,
    )
    assert ServerConfig(group=group).group is group


@pytest.mark.parametrize(("concurrency", "threads"), [(1, 1), (8, 8), (500, 32)])
def test_threads_follow_concurrency_up_to_32(concurrency: int, threads: int) -> None:
    assert ServerConfig(concurrency=concurrency).sync_concurrency == threads


def test_threads_may_be_chosen() -> None:
    assert ServerConfig(concurrency=2, sync_concurrency=9).sync_concurrency == 9


DURATIONS = [
    "task_check_interval",
    "shutdown_timeout",
    "health_check_interval",
    "delayed_task_check_interval",
    "janitor_interval",
    "archive_max_age",
]


@pytest.mark.parametrize("name", DURATIONS)
def test_a_duration_is_kept_as_seconds(name: str) -> None:
    for given in (timedelta(minutes=1.5), 90, 90.0):
        kept = getattr(make(**{name: given}), name)
        assert kept == 90.0
        assert type(kept) is float


def test_durations_of_a_group_are_kept_as_seconds() -> None:
    group = GroupConfig(aggregate, grace_period=timedelta(minutes=2), max_delay=timedelta(hours=1))
    assert (group.grace_period, group.max_delay) == (120.0, 3600.0)


def make(**settings: Any) -> ServerConfig:
    return ServerConfig(**settings)


def make_group(**settings: Any) -> GroupConfig:
    known: dict[str, Any] = {"aggregator": aggregate}
    return GroupConfig(**(known | settings))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"concurrency": 0}, "concurrency= must be at least 1, got 0"),
        ({"sync_concurrency": 0}, "sync_concurrency= must be at least 1, got 0"),
        ({"janitor_batch_size": 0}, "janitor_batch_size= must be at least 1"),
        ({"archive_max_size": 0}, "archive_max_size= must be at least 1"),
        ({"queues": {}}, 'queues= must name at least one queue, such as {"default": 1}'),
        ({"queues": {" ": 1}}, "queue name in queues= must not be blank"),
        ({"queues": {"low": 0}}, "weight of 'low' in queues= must be at least 1, got 0"),
        ({"shutdown_timeout": -1}, "shutdown_timeout= must be 0 or more, got -1"),
        ({"janitor_interval": 0}, "janitor_interval= must be more than 0, got 0"),
        ({"archive_max_age": float("nan")}, "archive_max_age= takes a finite duration"),
        ({"log_level": "warn"}, "log_level= takes one of debug, info, warning, error, critical"),
    ],
)
def test_an_impossible_setting_is_a_value_error(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared below
        make(**settings)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"concurency": 3},
            "unknown setting of ServerConfig 'concurency'; did you mean 'concurrency'",
        ),
        ({"concurrency": "3"}, "concurrency= takes an int, got '3'"),
        ({"concurrency": True}, "concurrency= takes an int, got True"),
        ({"strict_priority": 1}, "strict_priority= takes True or False, got 1"),
        ({"queues": ["low"]}, "queues= takes a mapping of names to weights"),
        ({"queues": {1: 1}}, "queue name in queues= takes a str, got 1"),
        ({"queues": {"low": 1.5}}, "weight of 'low' in queues= takes an int, got 1.5"),
        ({"shutdown_timeout": "8s"}, "shutdown_timeout= takes a timedelta or a number of seconds"),
        ({"retry_delay": 5}, "retry_delay= takes a function retry_delay(retried, error, task)"),
        ({"error_handler": 5}, "error_handler= takes a function error_handler(task, error)"),
        ({"health_check": 5}, "health_check= takes a function health_check(error)"),
        ({"lifespan": 5}, "lifespan= takes a function lifespan(server)"),
        ({"group": aggregate}, "write group=GroupConfig(aggregator)"),
        ({"log_level": 10}, "log_level= takes one of debug"),
    ],
)
def test_a_setting_of_the_wrong_type_is_a_type_error(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(TypeError) as caught:
        make(**settings)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"grace": 3}, TypeError, "unknown setting of GroupConfig 'grace'"),
        ({"grace_period": 0.5}, ValueError, "grace_period= must be at least 1 second(s), got 0.5"),
        ({"max_delay": 0}, ValueError, "max_delay= must be at least 1 second(s), got 0"),
        ({"max_delay": 1.5}, ValueError, "max_delay= counts in whole seconds, got 1.5"),
        ({"max_size": 0}, ValueError, "max_size= must be at least 1, got 0"),
        ({"aggregator": None}, TypeError, "aggregator= takes a function aggregator(group, tasks)"),
        (
            {"aggregator": len},
            TypeError,
            "is called as aggregator(group, tasks)",
        ),
    ],
)
def test_an_impossible_group_is_an_error(
    settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        make_group(**settings)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["retry_delay", "is_failure"])
def test_an_async_function_is_refused_where_a_plain_one_is_called(name: str) -> None:
    async def function(*arguments: object) -> float:
        return 1.0

    class Callable:
        async def __call__(self, *arguments: object) -> float:
            return 1.0

    for given in (function, partial(function), Callable()):
        with pytest.raises(TypeError, match=f"{name}= takes a plain function, got the async"):
            make(**{name: given})


@pytest.mark.parametrize("name", ["retry_delay", "is_failure", "error_handler", "health_check"])
def test_a_function_that_cannot_be_called_so_is_refused_with_the_right_form(name: str) -> None:
    with pytest.raises(TypeError, match=rf"write def {name}\("):
        make(**{name: lambda: None})


def test_error_handler_health_check_and_aggregator_may_be_async() -> None:
    async def error_handler(task: Task, error: BaseException) -> None: ...
    async def health_check(error: BaseException | None) -> None: ...
    async def aggregator(group: str, tasks: list[Task]) -> Task:
        return tasks[0]

    config = ServerConfig(
        error_handler=error_handler, health_check=health_check, group=GroupConfig(aggregator)
    )
    assert config.error_handler is error_handler
    assert config.health_check is health_check


def test_a_lifespan_is_an_async_context_manager_of_the_server() -> None:
    @asynccontextmanager
    async def lifespan(server: object) -> AsyncGenerator[str]:
        yield "state"

    assert ServerConfig(lifespan=lifespan).lifespan is lifespan


def test_a_lifespan_without_its_decorator_is_refused_with_the_remedy() -> None:
    async def lifespan(server: object) -> AsyncGenerator[str]:
        yield "state"

    with pytest.raises(TypeError, match=r"put @contextlib\.asynccontextmanager above it"):
        make(lifespan=lifespan)


def test_settings_are_keywords_frozen_and_replaced_in_a_copy() -> None:
    positional: Any = ServerConfig
    with pytest.raises(TypeError):
        positional(3)
    config = ServerConfig(queues={"a": 2}, concurrency=3)
    frozen: Any = config
    with pytest.raises(dataclasses.FrozenInstanceError):
        frozen.concurrency = 4
    with pytest.raises(TypeError):
        frozen.queues["b"] = 1
    changed = dataclasses.replace(config, concurrency=4)
    assert (config.concurrency, changed.concurrency, changed.queues) == (3, 4, {"a": 2})
    assert copy.copy(config) == config


def test_queues_are_a_copy() -> None:
    queues = {"a": 1}
    config = ServerConfig(queues=queues)
    queues["b"] = 1
    assert config.queues == {"a": 1}
