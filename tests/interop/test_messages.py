"""What both sides write into Redis is the same, byte for byte."""

from __future__ import annotations

import time
from typing import Any

import pytest
from redis.asyncio import Redis
from stored import snapshot
from waiting import until

from asyncq._broker import keys, wire
from asyncq._broker.codec import decode_task, encode_task

from .conftest import StartPeer
from .peers import Peer

SOON = int(time.time()) + 3600
TASKS: dict[str, dict[str, Any]] = {
    "plain": {},
    "no payload": {"payload": None},
    "options": {"max_retry": 0, "timeout": 90, "deadline": SOON, "retention": 86400},
    "deadline": {"deadline": SOON},
    "header": {"headers": {"ключ": "значение"}},
    "unique": {"unique": 60},
    "unique without payload": {"unique": 60, "payload": None},
    "unique with empty payload": {"unique": 60, "payload": b""},
    "scheduled": {"process_at": SOON},
    "scheduled unique": {"process_at": SOON, "unique": 60},
    "group": {"group": "user:1"},
    "group unique": {"group": "user:1", "unique": 60},
}


@pytest.mark.parametrize("name", TASKS)
async def test_a_task_stands_in_redis_as_go_writes_it(
    name: str, go: Peer, python: Peer, queue: str, redis: Redis
) -> None:
    written: list[Any] = []
    for peer in (go, python):
        task: dict[str, Any] = {"type": "имя:t", "payload": b'{"a":1}'} | TASKS[name]
        await peer.enqueue(**task, queue=queue, task_id="id")
        message = await fields(redis, keys.task(queue, "id"), "msg")
        written.append((*message, without_times(await snapshot(redis, queue))))
        await forget(redis, queue)
    (bytes_of_go, by_go), (bytes_of_python, by_python) = written
    assert bytes_of_python == bytes_of_go
    assert encode_task(decode_task(bytes_of_go)) == bytes_of_go
    if name == "group unique":  # where asynq does not note the lock, so that it outlives the task
        assert by_python["t:id"].pop("unique_key") == decode_task(bytes_of_go).unique_key
    assert by_python["t:id"].pop("asyncq_call")
    assert by_python == by_go


async def test_messages_of_go_are_wholly_understood(
    start_peer: StartPeer, queue: str, redis: Redis
) -> None:
    """All five kinds: what is written of what was read is the same again."""
    go = start_peer("go")
    await go.start_worker(queues={queue: 3}, retry_delay=3600)
    tasks = [
        await go.enqueue("fail", b"p", {"k": "v"}, queue=queue, unique=60),
        await go.enqueue("echo", b"p", queue=queue, retention=3600),
        await go.enqueue("hang", b"p", queue=queue, deadline=SOON),
    ]
    entry = {"spec": "@every 1s", "task": {"type": "t", "options": {"queue": queue}}}
    never = {"spec": "0 0 30 2 *", "task": {"type": "t", "options": {"queue": queue}}}
    entry_ids = await go.call("start_scheduler", name="s", location="UTC", entries=[entry, never])

    async def written() -> dict[str, list[bytes]]:
        of_server = f"*:{go.pid}:*"
        return {
            "TaskMessage": [
                data
                for task in tasks
                for data in await fields(redis, keys.task(queue, task["id"]), "msg")
            ],
            "ServerInfo": await values(redis, f"asynq:servers:{of_server}"),
            "WorkerInfo": await values(redis, f"asynq:workers:{of_server}"),
            "SchedulerEntry": await values(redis, f"asynq:schedulers:{of_server}"),
            "SchedulerEnqueueEvent": await values(redis, f"asynq:scheduler_history:{entry_ids[0]}"),
        }

    async def all_written() -> dict[str, list[bytes]] | None:
        found = await written()
        return found if all(found.values()) else None

    for kind, messages in (await until(all_written, "messages of all kinds")).items():
        message_class = getattr(wire, f"{kind}Pb")
        for data in messages:
            message = message_class.FromString(data)
            message.DiscardUnknownFields()
            assert message.SerializeToString() == data


def without_times(standing: dict[str, Any]) -> dict[str, Any]:
    """A snapshot without the moments at which something was enqueued, which differ."""
    standing["t:id"].pop("msg")
    standing["t:id"].pop("pending_since", None)
    if "g:user:1" in standing:
        standing["g:user:1"] = list(standing["g:user:1"])
    return standing


async def forget(redis: Redis, queue: str) -> None:
    found = [key async for key in redis.scan_iter(f"asyn*{{{queue}}}:*", count=1000)]
    await redis.delete(*found)


async def fields(redis: Any, key: str, *names: str) -> list[Any]:
    return [value for value in await redis.hmget(key, *names) if value is not None]


async def values(redis: Any, pattern: str) -> list[Any]:
    """All that stands under the keys that match."""
    found: list[Any] = []
    async for key in redis.scan_iter(pattern, count=1000):
        match await redis.type(key):
            case b"string":
                found.append(await redis.get(key))
            case b"hash":
                found += await redis.hvals(key)
            case b"list":
                found += await redis.lrange(key, 0, -1)
            case _:
                found += await redis.zrange(key, 0, -1)
    return [value for value in found if value is not None]
