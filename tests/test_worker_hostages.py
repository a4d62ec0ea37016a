"""What goes wrong with one queue, call or outcome costs the others nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any

import pytest
from redis.asyncio import Redis
from serving import Sleeper, fast
from stored import a_message, new, take
from waiting import soon, until

from asyncq import Client, Server, ServerConfig, Task
from asyncq._broker import keys
from asyncq._broker.broker import Broker
from asyncq._broker.connection import Connection
from asyncq._broker.message import Leased
from asyncq._broker.outcome import Completed, Done
from asyncq._broker.slices import BYTES
from asyncq._broker.waiting import Waiter
from asyncq._clock import Clock
from asyncq.errors import RedisError, RedisUnavailableError


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Client]:
    async with Client(redis_url) as client:
        yield client


async def test_a_queue_whose_fetch_is_lost_holds_up_no_other(
    client: Client, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a cluster where the node of one queue does not answer for a while."""
    lost, sound = f"{queue}-lost", f"{queue}-sound"
    back = asyncio.Event()
    dequeue = Broker.dequeue

    async def half_lost(
        self: Broker, asks: Sequence[tuple[str, int]], claim: str, **how: Any
    ) -> Any:
        answers = await dequeue(self, asks, claim, **how)
        return [
            RedisUnavailableError("its node", "no answer", sent=True)
            if asked == lost and not back.is_set()
            else answer
            for (asked, _), answer in zip(asks, answers, strict=True)
        ]

    monkeypatch.setattr(Broker, "dequeue", half_lost)
    handled: list[str] = []

    async def handler(task: Task) -> None:
        handled.append(task.type)

    await client.enqueue(Task("lost"), queue=lost)
    config = ServerConfig(queues={lost: 1, sound: 1}, concurrency=2)
    async with Server(client, handler, config, _timing=fast()):
        for n in range(10):
            await client.enqueue(Task(f"sound {n}"), queue=sound)
            await until(partial(handled.__contains__, f"sound {n}"), f"sound {n}")
        assert "lost" not in handled
        back.set()
        await until(lambda: "lost" in handled, "what the lost calls took runs")
    assert len(handled) == len(set(handled)) == 11


async def test_a_queue_with_broken_leases_costs_no_other_its_own(
    client: Client, redis: Redis, queue: str
) -> None:
    broken, sound = f"{queue}-broken", f"{queue}-sound"
    config = ServerConfig(queues={broken: 1, sound: 1}, shutdown_timeout=0)
    sleeper = Sleeper()
    async with Server(client, sleeper, config, _timing=fast(lease=2)) as server:
        await client.enqueue(Task("t"), queue=broken)
        kept = await client.enqueue(Task("t"), queue=sound)
        assert server._parts is not None
        inflight = server._parts.heartbeat._inflight
        await until(lambda: len(inflight) == 2, "both run")
        await redis.set(keys.lease(broken), "no zset")
        (running,) = inflight.with_id(kept.id)
        first = running.lease_until
        await until(lambda: running.lease_until > first + 2, "the other lease is renewed for long")
        assert running.ending is None
        await redis.delete(keys.lease(broken))


async def test_a_watch_that_fails_starts_again(
    client: Client, queue: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wait, failed = Waiter.wait, asyncio.Event()

    async def fails_once(self: Waiter, key: str, block_s: float) -> bool:
        if not failed.is_set():
            failed.set()
            raise ValueError("a fault of ours")
        return await wait(self, key, block_s)

    monkeypatch.setattr(Waiter, "wait", fails_once)
    done = asyncio.Event()

    async def handler(task: Task) -> None:
        done.set()

    async with Server(client, handler, ServerConfig(queues={queue: 1}), _timing=fast()):
        await soon(failed.wait())
        await client.enqueue(Task("t"), queue=queue)
        await soon(done.wait())
    assert "a fault of ours" in caplog.text


@pytest.mark.every_redis
async def test_large_messages_are_fetched_a_few_at_a_time(redis_url: str, queue: str) -> None:
    connection = Connection.open(redis_url)
    broker = Broker(connection, Clock())
    big = [a_message(queue, str(n), payload=bytes(900_000)) for n in range(5)]
    await broker.enqueue([new(message) for message in big])
    taken: list[str] = []
    sizes: list[int] = []
    for claim in "abc":
        (fetched,) = await broker.dequeue([(queue, 100)], claim)
        assert not isinstance(fetched, RedisError)
        ids = [task.message.id for task in fetched.tasks if isinstance(task, Leased)]
        # Sent again it brings the same, and not ever more.
        (again,) = await broker.dequeue([(queue, 100)], claim, again=1)
        assert not isinstance(again, RedisError)
        assert [t.message.id for t in again.tasks if isinstance(t, Leased)] == ids
        taken += ids
        sizes.append(len(ids))
    await connection.aclose()
    assert taken == [str(n) for n in range(5)]
    assert sizes == [2, 2, 1]


async def test_large_results_are_written_a_few_at_a_time(
    redis: Redis, redis_url: str, queue: str
) -> None:
    connection = Connection.open(redis_url)
    sizes: list[int] = []
    connection.on_call = lambda calls, *_: sizes.extend(
        sum(len(arg) for arg in call.args if isinstance(arg, bytes)) for call in calls
    )
    broker = Broker(connection, Clock())
    held = await take(broker, *(a_message(queue, str(n), retention=60) for n in range(8)))
    sizes.clear()
    result = bytes(BYTES // 2)
    written = await broker.settle([Completed.at(leased, result, 1.0) for leased in held])
    await connection.aclose()
    assert written == [True] * 8
    assert max(sizes) < 2 * BYTES
    assert await redis.hget(keys.task(queue, "7"), "result") == result


async def test_outcomes_of_a_round_that_was_written_are_known_when_the_next_is_lost(
    redis_url: str, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = Connection.open(redis_url)
    broker = Broker(connection, Clock())
    held = await take(broker, *(a_message(queue, str(n)) for n in range(600)))
    run, rounds = connection.run, []

    async def second_is_lost(calls: Any) -> Any:
        rounds.append(calls)
        if len(rounds) == 2:
            raise RedisUnavailableError("here", "cut", sent=True)
        return await run(calls)

    monkeypatch.setattr(connection, "run", second_is_lost)
    answers = await broker.settle([Done(leased) for leased in held])
    await connection.aclose()
    assert len(rounds) == 2
    assert answers[:500] == [True] * 500
    for answer in answers[500:]:
        assert isinstance(answer, RedisUnavailableError)
        assert answer.sent


@pytest.mark.every_redis
async def test_leases_are_renewed_on_a_full_redis(
    start_redis: Callable[..., Any], queue: str
) -> None:
    server = start_redis()
    connection = Connection.open(server.url)
    broker = Broker(connection, Clock())
    (leased,) = await take(broker, a_message(queue))
    async with server.client() as redis:
        await redis.zadd(keys.lease(queue), {leased.message.id: 1})
        await redis.config_set("maxmemory", 1)
        renewed = await broker.extend_leases(queue, [(leased.message.id, leased.claim)])
        assert renewed == [True]
        assert await redis.zscore(keys.lease(queue), leased.message.id) > 1
    await connection.aclose()
