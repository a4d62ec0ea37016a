"""`ServerConfig` and `GroupConfig`: how a server works, checked when the object is made."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, Self, get_args

from .options import Duration, check_names, seconds, text
from .retry import RetryDelay, default_retry_delay
from .statistics import Statistics
from .task import Task

IsFailure = Callable[[BaseException], bool]
"""`is_failure(error)`: whether an error counts as a failure and as a retry. A plain function."""

ErrorHandler = Callable[[Task, BaseException], Awaitable[object] | object]
"""`error_handler(task, error)`: told of every failed attempt; plain or async."""

HealthCheck = Callable[[BaseException | None], Awaitable[object] | object]
"""`health_check(error)`: told at intervals what Redis answered, None if all is well; plain or
async."""

Aggregator = Callable[[str, list[Task]], Awaitable[Task] | Task]
"""`aggregator(group, tasks)`: the one task that stands for all of `tasks`; plain or async."""

Lifespan = Callable[[Any], AbstractAsyncContextManager[object]]
"""`lifespan(server)`: entered before the first task, left after the last one; its value is
`asyncq.current().state`. Made by `contextlib.asynccontextmanager`."""

LogLevel = Literal["debug", "info", "warning", "error", "critical"]

_MOST_THREADS_BY_DEFAULT = 32


class _ChecksNames:
    """Gives a misspelt setting its nearest name, at run time; type checkers read `__init__`."""

    __slots__ = ()

    def __new__(cls, *_: Any, **settings: Any) -> Self:
        check_names(settings, cls.__annotations__, f"setting of {cls.__name__}")
        return super().__new__(cls)


@dataclass(frozen=True, slots=True, init=False)
class GroupConfig(_ChecksNames):
    """How tasks of a group are aggregated into one. Durations are stored as seconds.

    A group is handed to `aggregator(group, tasks)` when no task has joined it for `grace_period`,
    when its oldest task has waited for `max_delay`, or when it has `max_size` tasks, whichever
    comes first. The task that the aggregator returns is enqueued to the same queue.

    Raises `TypeError` for an unknown setting or a value of the wrong type, `ValueError` for a
    value out of range.
    """

    aggregator: Aggregator
    """`(group, tasks) -> Task`, plain or async."""
    grace_period: float
    """At least 1 second; 60 if not given."""
    max_delay: float | None
    """Whole seconds, at least 1; None for no limit."""
    max_size: int | None
    """At least 1; None for as many as there are, up to 10 000: more become several tasks. All that
    become one are deleted in one step, for which Redis does nothing else: a tenth of a second for
    some ten thousands."""

    def __init__(
        self,
        aggregator: Aggregator,
        *,
        grace_period: Duration = 60,
        max_delay: Duration | None = None,
        max_size: int | None = None,
    ) -> None:
        _store(
            self,
            aggregator=_function("aggregator", aggregator, "(group, tasks)", 2),
            grace_period=_period("grace_period", grace_period, least=1),
            max_delay=_optional_whole_seconds("max_delay", max_delay),
            max_size=None if max_size is None else _count("max_size", max_size),
        )


@dataclass(frozen=True, slots=True, init=False)
class ServerConfig(_ChecksNames):
    """How a server works. Frozen; durations are stored as seconds.

    Raises `TypeError` for an unknown setting (with the nearest name) or a value of the wrong
    type, `ValueError` for a value out of range. `dataclasses.replace` makes a changed copy.
    """

    concurrency: int
    """How many tasks run at a time; 32 if not given."""
    sync_concurrency: int
    """How many `def` handlers run at a time, each in a thread; `concurrency` but at most 32 if
    not given. A task that waits for a thread uses up its time-out."""
    queues: Mapping[str, int]
    """The queues to work on, each with its weight; {"default": 1} if not given. While all have
    tasks, each is served in proportion to its weight."""
    strict_priority: bool
    """Whether a queue is served only while all queues of a greater weight are empty."""
    task_check_interval: float
    """How often queues that cannot be waited on are looked at; 1 second if not given."""
    retry_delay: RetryDelay
    """`(retried, error, task)` -> `timedelta` or seconds to the next attempt; a plain function."""
    is_failure: IsFailure
    """`(error)` -> bool: False retries the task without counting a failure; a plain function."""
    error_handler: ErrorHandler | None
    """`(task, error)`, called after every failed attempt; plain or async."""
    lifespan: Lifespan | None
    """`(server)` -> async context manager around the work; its value is `current().state`."""
    shutdown_timeout: float
    """How long running tasks may go on after a shutdown began, before they are cancelled and put
    back in their queue; 8 seconds if not given, 0 for not at all."""
    health_check: HealthCheck | None
    """`(error or None)`, called every `health_check_interval`; plain or async."""
    health_check_interval: float
    """15 seconds if not given."""
    delayed_task_check_interval: float
    """How often a server looks for due tasks that nothing announced; 5 seconds if not given."""
    janitor_interval: float
    """How often completed tasks past their retention are deleted; 8 seconds if not given."""
    janitor_batch_size: int
    """How many of them one script call deletes; 100 if not given."""
    archive_max_size: int
    """How many archived tasks a queue keeps, the newest; 100 000 if not given."""
    archive_max_age: float
    """How long an archived task is kept; 90 days if not given."""
    group: GroupConfig | None
    """How groups are aggregated; None leaves them to other servers."""
    log_level: LogLevel | None
    """The level of the logger "asyncq"; None, if not given, leaves it as you configured it."""
    statistics: Statistics | None
    """Where to count what is done, such as an `asyncq.metrics.WorkerMetrics`; None counts nothing
    and costs nothing."""

    def __init__(
        self,
        *,
        concurrency: int = 32,
        sync_concurrency: int | None = None,
        queues: Mapping[str, int] | None = None,
        strict_priority: bool = False,
        task_check_interval: Duration = 1,
        retry_delay: RetryDelay = default_retry_delay,
        is_failure: IsFailure | None = None,
        error_handler: ErrorHandler | None = None,
        lifespan: Lifespan | None = None,
        shutdown_timeout: Duration = 8,
        health_check: HealthCheck | None = None,
        health_check_interval: Duration = 15,
        delayed_task_check_interval: Duration = 5,
        janitor_interval: Duration = 8,
        janitor_batch_size: int = 100,
        archive_max_size: int = 100_000,
        archive_max_age: Duration = 90 * 24 * 3600,
        group: GroupConfig | None = None,
        log_level: LogLevel | None = None,
        statistics: Statistics | None = None,
    ) -> None:
        concurrency = _count("concurrency", concurrency)
        if sync_concurrency is None:
            sync_concurrency = min(concurrency, _MOST_THREADS_BY_DEFAULT)
        _store(
            self,
            concurrency=concurrency,
            sync_concurrency=_count("sync_concurrency", sync_concurrency),
            queues=_queues({"default": 1} if queues is None else queues),
            strict_priority=_flag("strict_priority", strict_priority),
            task_check_interval=_period("task_check_interval", task_check_interval),
            retry_delay=_plain_function("retry_delay", retry_delay, "(retried, error, task)", 3),
            is_failure=_plain_function("is_failure", is_failure or _always, "(error)", 1),
            error_handler=_optional("error_handler", error_handler, "(task, error)", 2),
            lifespan=_lifespan(lifespan),
            shutdown_timeout=_period("shutdown_timeout", shutdown_timeout, zero=True),
            health_check=_optional("health_check", health_check, "(error)", 1),
            health_check_interval=_period("health_check_interval", health_check_interval),
            delayed_task_check_interval=_period(
                "delayed_task_check_interval", delayed_task_check_interval
            ),
            janitor_interval=_period("janitor_interval", janitor_interval),
            janitor_batch_size=_count("janitor_batch_size", janitor_batch_size),
            archive_max_size=_count("archive_max_size", archive_max_size),
            archive_max_age=_period("archive_max_age", archive_max_age),
            group=_group(group),
            log_level=_log_level(log_level),
            statistics=_statistics(statistics),
        )


def _store(config: object, **values: object) -> None:
    for name, value in values.items():
        object.__setattr__(config, name, value)  # the dataclass is frozen


def _always(error: BaseException) -> bool:
    return True


def _count(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name}= takes an int, got {value!r}")
    if value < 1:
        raise ValueError(f"{name}= must be at least 1, got {value}")
    return value


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name}= takes True or False, got {value!r}")
    return value


def _period(name: str, value: object, *, least: float = 0, zero: bool = False) -> float:
    length = seconds(name, value)
    if least and length < least:
        raise ValueError(f"{name}= must be at least {least} second(s), got {value!r}")
    if length < 0 or (length == 0 and not zero):
        raise ValueError(f"{name}= must be {'0 or more' if zero else 'more than 0'}, got {value!r}")
    return length


def _optional_whole_seconds(name: str, value: object) -> float | None:
    if value is None:
        return None
    length = _period(name, value, least=1)
    if not length.is_integer():
        raise ValueError(f"{name}= counts in whole seconds, got {value!r}")
    return length


def _queues(queues: object) -> Mapping[str, int]:
    if not isinstance(queues, Mapping):
        raise TypeError(
            "queues= takes a mapping of names to weights,"
            f' such as {{"critical": 6, "default": 3}}, got {queues!r}'
        )
    if not queues:
        raise ValueError('queues= must name at least one queue, such as {"default": 1}')
    checked: dict[str, int] = {}
    for name, weight in queues.items():
        checked[text("queue name in queues", name)] = _count(
            f"weight of {name!r} in queues", weight
        )
    return MappingProxyType(checked)


def _function(name: str, value: object, form: str, arguments: int) -> Any:
    """`value`, if it can be called with so many positional arguments."""
    if not callable(value):
        raise TypeError(f"{name}= takes a function {name}{form}, got {value!r}")
    try:
        signature = inspect.signature(value)
    except ValueError:
        return value  # built-in functions may have no signature to check
    try:
        signature.bind(*[None] * arguments)
    except TypeError as error:
        raise TypeError(
            f"{name}= is called as {name}{form}, which {value!r} cannot be: {error};"
            f" write def {name}{form}: ..."
        ) from None
    return value


def _plain_function(name: str, value: object, form: str, arguments: int) -> Any:
    function = _function(name, value, form, arguments)
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - the method is wanted, not a yes or no
    ):
        raise TypeError(
            f"{name}= takes a plain function, got the async {value!r}; write def {name}{form}: ..."
        )
    return function


def _optional(name: str, value: object, form: str, arguments: int) -> Any:
    return None if value is None else _function(name, value, form, arguments)


def _lifespan(value: object) -> Any:
    if value is None:
        return None
    function = _function("lifespan", value, "(server)", 1)
    if inspect.isasyncgenfunction(function) or inspect.iscoroutinefunction(function):
        raise TypeError(
            "lifespan= takes a function that returns an async context manager, got the bare"
            f" {function!r}; put @contextlib.asynccontextmanager above it and yield once"
        )
    return function


def _group(value: object) -> GroupConfig | None:
    if value is None or isinstance(value, GroupConfig):
        return value
    raise TypeError(
        f"group= takes a GroupConfig, got {value!r}; write group=GroupConfig(aggregator)"
    )


def _statistics(value: object) -> Statistics | None:
    if value is None or isinstance(value, Statistics):
        return value
    raise TypeError(f"statistics= takes a Statistics, got {value!r}")


def _log_level(value: object) -> Any:
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError(f"log_level= takes one of {', '.join(get_args(LogLevel))}, got {value!r}")
    if value not in get_args(LogLevel):
        raise ValueError(f"log_level= takes one of {', '.join(get_args(LogLevel))}, got {value!r}")
    return value
