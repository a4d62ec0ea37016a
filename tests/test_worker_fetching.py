"""Which tasks are taken, in which order, and what cannot be taken."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, cast

import pytest
from redis.asyncio import Redis
from serving import Working
from waiting import soon, until

from asyncq import Client, Task, current
from asyncq._broker import keys, scripts
from asyncq._broker.broker import Fetched
from asyncq._broker.codec import encode_task
from asyncq._broker.connection import Call
from asyncq._broker.message import TaskMessage


class Log:
    """A handler that notes the queue of every task, once it is let go."""

    def __init__(self) -> None:
        self.queues: list[str] = []
        self.go = asyncio.Event()

    async def __call__(self, task: Task) -> None:
        await self.go.wait()
        self.queues.append(current().queue)


async def passing(task: Task) -> None:
    """Succeeds, every time."""


async def fill(url: str, queues: Sequence[str], count: int) -> None:
    async with Client(url) as client:
        for queue in queues:
            await client.enqueue_many([Task("t")] * count, queue=queue)


@pytest.mark.parametrize("concurrency", [1, 10, 64])
async def test_shares_follow_the_weights_while_all_queues_have_tasks(
    working: Working, redis_url: str, queue: str, concurrency: int
) -> None:
    weights = {f"{queue}-critical": 6, f"{queue}-default": 3, f"{queue}-low": 1}
    await fill(redis_url, list(weights), 700)
    log = Log()
    log.go.set()
    async with working(log, queues=weights, concurrency=concurrency):
        await until(lambda: len(log.queues) >= 1000)
    taken = Counter(log.queues[:1000])  # no queue was empty yet
    for name, weight in weights.items():
        assert abs(taken[name] / 10 - weight * 10) < 2, taken


async def test_an_empty_queue_leaves_its_share_to_the_others(
    working: Working, redis_url: str, queue: str
) -> None:
    weights = {f"{queue}-big": 9, f"{queue}-small": 1}
    await fill(redis_url, [f"{queue}-small"], 50)
    log = Log()
    log.go.set()
    async with working(log, queues=weights, concurrency=2):
        await until(lambda: len(log.queues) == 50)


async def test_strict_priority_serves_lower_queues_only_when_higher_are_empty(
    working: Working, redis_url: str, queue: str
) -> None:
    weights = {f"{queue}-low": 1, f"{queue}-high": 3, f"{queue}-mid": 2}
    await fill(redis_url, list(weights), 30)
    log = Log()
    log.go.set()
    async with working(log, queues=weights, concurrency=4, strict_priority=True) as work:
        await until(lambda: len(log.queues) == 90)
        high, mid, low = (f"{queue}-{name}" for name in ("high", "mid", "low"))
        assert [name for place, name in enumerate(log.queues) if place % 30 == 0] == [
            high,
            mid,
            low,
        ]
        assert log.queues[:30] == [high] * 30
        # What comes later to a higher queue still goes first.
        log.go.clear()
        for name in [low] * 8 + [high]:
            await work.enqueue(queue=name)
        log.go.set()
        await until(lambda: len(log.queues) == 99)


async def test_tasks_of_a_queue_are_begun_in_their_order(
    working: Working, redis_url: str, queue: str
) -> None:
    begun: list[str] = []

    async def handler(task: Task) -> None:
        begun.append(task.type)

    async with Client(redis_url) as client:
        await client.enqueue_many([Task(str(n)) for n in range(100)], queue=queue)
    async with working(handler, concurrency=7):
        await until(lambda: len(begun) == 100)
    assert begun == [str(n) for n in range(100)]


async def test_concurrency_is_used_and_never_exceeded(working: Working) -> None:
    running, most = 0, 0
    full = asyncio.Event()

    async def handler(task: Task) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 5:
            full.set()
        await full.wait()
        await asyncio.sleep(0)
        running -= 1

    async with working(handler, concurrency=5) as work:
        await work.client.enqueue_many([Task("t")] * 200, queue=work.queue)
        await work.counted(200, 0)
    assert most == 5


async def test_outcomes_that_are_not_written_hold_back_the_next_fetch(
    working: Working, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with working(passing, concurrency=4) as work:
        parts = work.server._parts
        assert parts is not None
        write, release = parts.settler._write, asyncio.Event()

        async def held_back(batch: Any) -> Any:
            await release.wait()
            return await write(batch)

        monkeypatch.setattr(parts.settler, "_write", held_back)
        await work.client.enqueue_many([Task("t")] * 100, queue=work.queue)
        await until(lambda: parts.settler.unwritten > 4)
        await until(lambda: parts.processor.busy == 0)
        assert parts.settler.unwritten <= 8
        assert len((await work.snapshot())["pending"]) >= 92
        release.set()
        await work.counted(100, 0)


async def test_a_paused_queue_is_left_alone_and_not_asked_in_a_hot_loop(
    working: Working, redis: Redis, queue: str
) -> None:
    interval = 0.04
    await redis.set(keys.paused(queue), 1)
    async with working(passing, task_check_interval=interval) as work:
        asked: list[float] = []

        def note(calls: Sequence[Call], took: float, error: BaseException | None) -> None:
            asked.extend(time.monotonic() for call in calls if call.script is scripts.DEQUEUE)

        info = await work.enqueue()
        work.server._connection.on_call = note
        await until(lambda: len(asked) >= 8)
        assert asked[7] - asked[0] > 7 * interval * 0.4
        assert await work.state(info) == "pending"
        await redis.delete(keys.paused(queue))
        await work.gone(info)


async def test_a_paused_queue_does_not_hold_back_others(
    working: Working, redis: Redis, queue: str
) -> None:
    other = f"{queue}-other"
    await redis.set(keys.paused(queue), 1)
    settings: dict[str, Any] = {"queues": {queue: 9, other: 1}, "strict_priority": True}
    async with working(passing, concurrency=2, **settings) as work:
        for _ in range(5):
            await work.enqueue()
        for info in [await work.enqueue(queue=other) for _ in range(5)]:
            await work.gone(info)


async def push_raw(redis: Redis, message: TaskMessage) -> None:
    """As a producer that knows nothing of asyncq."""
    key = keys.task(message.queue, message.id)
    await redis.hset(key, mapping={"msg": encode_task(message), "state": "pending"})
    await redis.lpush(keys.pending(message.queue), message.id)


async def test_a_message_that_cannot_be_read_is_set_aside_and_others_run(
    working: Working, redis: Redis, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    await redis.hset(keys.task(queue, "bad"), mapping={"msg": b"\xff\xff", "state": "pending"})
    await redis.lpush(keys.pending(queue), "bad")
    async with working(passing, concurrency=1) as work:
        await work.gone(await work.enqueue())
        await work.nothing_held()
        there = await work.snapshot()
        assert set(there["archived"]) == {"bad"}
        assert there["t:bad"]["msg"] == b"\xff\xff"
        assert "not a TaskMessage" in there["t:bad"]["asyncq_parked"]
    assert "task bad of queue" in caplog.text
    assert "set aside" in caplog.text


async def test_a_message_that_says_it_is_another_task_is_set_aside(
    working: Working, redis: Redis, queue: str
) -> None:
    message = encode_task(TaskMessage("t", "other", queue))
    await redis.hset(keys.task(queue, "bad"), mapping={"msg": message, "state": "pending"})
    await redis.lpush(keys.pending(queue), "bad")
    async with working(passing) as work:
        await until(lambda: redis.zcard(keys.archived(queue)))
        there = await work.snapshot()
        assert "the message says it is task 'other'" in there["t:bad"]["asyncq_parked"]


async def test_ids_that_cannot_be_run_are_dropped_with_a_warning(
    working: Working, redis: Redis, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    await redis.set(keys.task(queue, "string"), "no hash")
    await redis.lpush(keys.pending(queue), "ghost", "string")
    async with working(passing) as work:
        await work.gone(await work.enqueue())
        await work.nothing_held()
    assert f"dropped ghost from queue '{queue}': it has no message" in caplog.text
    assert f"dropped string from queue '{queue}': WRONGTYPE" in caplog.text


async def test_an_id_that_stands_twice_in_pending_runs_once(
    working: Working, redis: Redis, queue: str
) -> None:
    begun: list[str] = []
    release = asyncio.Event()

    async def handler(task: Task) -> None:
        begun.append(task.type)
        await release.wait()

    await push_raw(redis, TaskMessage("t", "twice", queue))
    await redis.lpush(keys.pending(queue), "twice")
    async with working(handler) as work:
        await until(lambda: begun)
        await redis.lpush(keys.pending(queue), "twice")
        await until(lambda: _length(redis, queue, 0))
        release.set()
        await work.nothing_held()
        assert begun == ["t"]


async def _length(redis: Redis, queue: str, length: int) -> bool:
    return await redis.llen(keys.pending(queue)) == length


async def test_a_stop_during_a_fetch_gives_back_what_it_took(
    working: Working, redis: Redis, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []

    async def handler(task: Task) -> None:
        begun.append(task.type)

    await redis.set(keys.paused(queue), 1)
    async with working(handler, task_check_interval=0.01) as work:
        parts = work.server._parts
        assert parts is not None
        broker = parts.processor._fetcher._broker
        dequeue, fetched, go = broker.dequeue, asyncio.Event(), asyncio.Event()

        async def slow(*args: Any, **options: Any) -> Any:
            answers = await dequeue(*args, **options)
            if any(isinstance(answer, Fetched) and answer.tasks for answer in answers):
                fetched.set()
                await go.wait()
            return answers

        monkeypatch.setattr(broker, "dequeue", slow)
        infos = [await work.enqueue() for _ in range(3)]
        await redis.delete(keys.paused(queue))
        await soon(fetched.wait())
        leaving = asyncio.create_task(work.server.shutdown())
        await until(lambda: work.server.state == "stopped")
        go.set()
        await soon(leaving)
        there = await work.snapshot()
        assert there["pending"] == [info.id for info in reversed(infos)]
        assert "active" not in there
        assert "lease" not in there
        assert begun == []


async def test_an_id_that_is_no_text_does_not_stay_active(
    working: Working, redis: Redis, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    odd = b"\xff\xfe"
    key: Any = keys.task_prefix(queue).encode() + odd
    await redis.hset(key, mapping={"msg": b"\xff", "state": "pending"})
    await redis.lpush(keys.pending(queue), odd)
    async with working(passing) as work:
        await until(lambda: _archived(redis, queue, odd))
        await work.nothing_held()
    assert "cannot be read" in caplog.text.encode().decode()  # a log file holds it


async def _archived(redis: Redis, queue: str, task_id: bytes) -> bool:
    return await redis.zscore(keys.archived(queue), cast(Any, task_id)) is not None
