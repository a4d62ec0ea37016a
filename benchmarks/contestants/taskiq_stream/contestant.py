"""taskiq on a stream: a worker reads as a member of a consumer group, and acknowledges."""

from __future__ import annotations

from taskiq import AsyncBroker
from taskiq_redis import RedisStreamBroker

from benchmarks.contestants._cli import main
from benchmarks.contestants._taskiq import Taskiq


class TaskiqStream(Taskiq):
    configuration = (
        "RedisStreamBroker reading 100 at a time from the start of the stream (its entries stay: "
        "a limit could drop tasks that wait), no result backend, acknowledged when done, "
        "max_async_tasks = concurrency, no parsing of parameters by annotation; "
        "the first worker also runs the scheduler, which delayed tasks need, once a second"
    )

    def broker(self, url: str, connections: int) -> AsyncBroker:
        return RedisStreamBroker(
            url,
            queue_name="bench",
            consumer_id="0",
            max_connection_pool_size=max(50, connections + 2),
        )


if __name__ == "__main__":
    main(TaskiqStream())
