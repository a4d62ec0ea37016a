"""asyncq: an asyncio-native distributed task queue on Redis, wire compatible with Go's asynq.

What a name needs is imported when it is first asked for: a producer takes no worker with it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .client import Client
    from .config import GroupConfig, ServerConfig
    from .context import TaskContext, current
    from .errors import (
        AsyncqError,
        DuplicateTaskError,
        EnqueueError,
        EnqueueManyError,
        HandlerError,
        HandlerNotFoundError,
        InspectError,
        InvalidPayloadError,
        InvalidResultError,
        LeaseExpiredError,
        NotReplicatedError,
        OutcomeUnknownError,
        PayloadTooLargeError,
        QueueNotEmptyError,
        QueueNotFoundError,
        RedisError,
        RedisNotConfiguredError,
        RedisReplyError,
        RedisUnavailableError,
        RevokeTask,
        SemaphoreFullError,
        ServerStateError,
        SkipRetry,
        TaskCancelledError,
        TaskFailedError,
        TaskIdConflictError,
        TaskNotFoundError,
        TaskStateError,
        TaskTimeoutError,
    )
    from .info import (
        ClusterNode,
        DailyStats,
        EnqueueEvent,
        GroupInfo,
        QueueInfo,
        RedisInfo,
        SchedulerEntry,
        ServerInfo,
        TaskInfo,
        WorkerInfo,
    )
    from .inspector import Cursor, Inspector, ScanPage
    from .mux import Handler, Middleware, ServeMux, TaskFunction
    from .options import Duration, EnqueueOptions, Replicas
    from .periodic import PeriodicTask, PeriodicTaskManager
    from .periodic_file import PeriodicTaskFile
    from .rate import Semaphore
    from .retry import RetryDelay, default_retry_delay
    from .scheduler import Scheduler
    from .server import Server
    from .statistics import Statistics
    from .sync import SyncClient
    from .task import Task, TaskState
    from .task_filter import TaskFilter
    from .task_type import TaskType

__version__ = "0.1.0"

_HOMES = {
    "client": "Client",
    "config": "GroupConfig ServerConfig",
    "context": "TaskContext current",
    "errors": (
        "AsyncqError DuplicateTaskError EnqueueError EnqueueManyError HandlerError"
        " HandlerNotFoundError InspectError InvalidPayloadError InvalidResultError"
        " LeaseExpiredError NotReplicatedError OutcomeUnknownError PayloadTooLargeError"
        " QueueNotEmptyError QueueNotFoundError RedisError RedisNotConfiguredError"
        " RedisReplyError RedisUnavailableError RevokeTask SemaphoreFullError"
        " ServerStateError SkipRetry TaskCancelledError TaskFailedError TaskIdConflictError"
        " TaskNotFoundError TaskStateError TaskTimeoutError"
    ),
    "info": (
        "ClusterNode DailyStats EnqueueEvent GroupInfo QueueInfo RedisInfo SchedulerEntry"
        " ServerInfo TaskInfo WorkerInfo"
    ),
    "inspector": "Cursor Inspector ScanPage",
    "mux": "Handler Middleware ServeMux TaskFunction",
    "options": "Duration EnqueueOptions Replicas",
    "periodic": "PeriodicTask PeriodicTaskManager",
    "periodic_file": "PeriodicTaskFile",
    "rate": "Semaphore",
    "retry": "RetryDelay default_retry_delay",
    "scheduler": "Scheduler",
    "server": "Server",
    "statistics": "Statistics",
    "sync": "SyncClient",
    "task": "Task TaskState",
    "task_filter": "TaskFilter",
    "task_type": "TaskType",
}
"""The modules, and the names that they have for users."""

__all__ = [
    "AsyncqError",
    "Client",
    "ClusterNode",
    "Cursor",
    "DailyStats",
    "DuplicateTaskError",
    "Duration",
    "EnqueueError",
    "EnqueueEvent",
    "EnqueueManyError",
    "EnqueueOptions",
    "GroupConfig",
    "GroupInfo",
    "Handler",
    "HandlerError",
    "HandlerNotFoundError",
    "InspectError",
    "Inspector",
    "InvalidPayloadError",
    "InvalidResultError",
    "LeaseExpiredError",
    "Middleware",
    "NotReplicatedError",
    "OutcomeUnknownError",
    "PayloadTooLargeError",
    "PeriodicTask",
    "PeriodicTaskFile",
    "PeriodicTaskManager",
    "QueueInfo",
    "QueueNotEmptyError",
    "QueueNotFoundError",
    "RedisError",
    "RedisInfo",
    "RedisNotConfiguredError",
    "RedisReplyError",
    "RedisUnavailableError",
    "Replicas",
    "RetryDelay",
    "RevokeTask",
    "ScanPage",
    "Scheduler",
    "SchedulerEntry",
    "Semaphore",
    "SemaphoreFullError",
    "ServeMux",
    "Server",
    "ServerConfig",
    "ServerInfo",
    "ServerStateError",
    "SkipRetry",
    "Statistics",
    "SyncClient",
    "Task",
    "TaskCancelledError",
    "TaskContext",
    "TaskFailedError",
    "TaskFilter",
    "TaskFunction",
    "TaskIdConflictError",
    "TaskInfo",
    "TaskNotFoundError",
    "TaskState",
    "TaskStateError",
    "TaskTimeoutError",
    "TaskType",
    "WorkerInfo",
    "current",
    "default_retry_delay",
]


if not TYPE_CHECKING:  # which would take any name for one of ours

    def __getattr__(name: str) -> object:
        for module, names in _HOMES.items():
            if name in names.split():
                value = getattr(import_module(f"{__name__}.{module}"), name)
                globals()[name] = value  # so that this is asked but once
                return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
