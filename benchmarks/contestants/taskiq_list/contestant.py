"""taskiq on a list: a worker pops with BRPOP, and what it has popped is lost if it dies."""

from __future__ import annotations

from taskiq import AsyncBroker
from taskiq_redis import ListQueueBroker

from benchmarks.contestants._cli import main
from benchmarks.contestants._taskiq import Taskiq


class TaskiqList(Taskiq):
    configuration = (
        "ListQueueBroker (no acknowledgement: a dead worker loses its tasks), no result backend, "
        "max_async_tasks = concurrency, no parsing of parameters by annotation; "
        "the first worker also runs the scheduler, which delayed tasks need, once a second"
    )

    def broker(self, url: str, connections: int) -> AsyncBroker:
        return ListQueueBroker(
            url,
            queue_name="bench",
            max_connection_pool_size=max(50, connections + 2),
            socket_timeout=None,  # the default of redis-py 8 ends an idle BRPOP, and the worker
        )


if __name__ == "__main__":
    main(TaskiqList())
