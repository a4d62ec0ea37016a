"""`Client.enqueue` called many times at once: calls travel together, and fail apart."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import Any

import pytest
from proxy import CutReply, HoldReply, Proxy, runs
from redis.asyncio import Redis
from redis_servers import RedisServer
from standing import pending_ids

from asyncq import (
    Client,
    DuplicateTaskError,
    RedisReplyError,
    RedisUnavailableError,
    Task,
    TaskIdConflictError,
    TaskInfo,
)
from asyncq._broker import keys, scripts
from asyncq._broker.connection import Call


@pytest.fixture
async def client(redis_url: str) -> AsyncGenerator[Client]:
    async with Client(redis_url) as client:
        yield client


@pytest.fixture
async def proxy(redis_server: RedisServer) -> AsyncIterator[Proxy]:
    async with Proxy(redis_server.socket) as proxy:
        yield proxy


def count_trips(client: Client) -> Counter[str]:
    trips: Counter[str] = Counter()

    def count(calls: Sequence[Call], took: float, error: BaseException | None) -> None:
        trips["trips"] += 1

    client._connection.on_call = count
    return trips


async def test_calls_made_at_once_are_few_round_trips_and_keep_their_answers(
    client: Client, redis: Redis, queue: str
) -> None:
    trips = count_trips(client)
    infos = await asyncio.gather(
        *(client.enqueue(Task(f"t{n}", str(n), queue=queue)) for n in range(500))
    )
    assert [(info.type, info.payload) for info in infos] == [
        (f"t{n}", str(n).encode()) for n in range(500)
    ]
    assert sorted(await pending_ids(redis, queue)) == sorted(info.id for info in infos)
    assert trips["trips"] <= 20


async def test_call_after_call_keeps_its_order_among_others(
    client: Client, redis: Redis, queue: str
) -> None:
    async def one_after_another() -> list[str]:
        return [(await client.enqueue(Task("t", queue=queue))).id for _ in range(20)]

    mine = await asyncio.gather(*(one_after_another() for _ in range(30)))
    stored = {task_id: place for place, task_id in enumerate(await pending_ids(redis, queue))}
    assert len(stored) == 600
    for ids in mine:
        places = [stored[task_id] for task_id in ids]
        assert places == sorted(places)


async def test_a_lone_call_is_one_round_trip_of_its_own(client: Client, queue: str) -> None:
    trips = count_trips(client)
    for n in range(10):
        await client.enqueue(Task("t", queue=queue))
        assert trips["trips"] == n + 1


async def test_every_caller_has_an_error_of_its_own(
    client: Client, redis: Redis, queue: str
) -> None:
    poisoned = f"{queue}-poisoned"
    await redis.set(keys.pending(poisoned), "no list")
    await client.enqueue(Task("t", queue=queue, task_id="taken"))
    results: list[Any] = await asyncio.gather(
        *(client.enqueue(Task("good", queue=queue)) for _ in range(20)),
        client.enqueue(Task("t", queue=queue, task_id="taken")),
        client.enqueue(Task("t", queue=queue, task_id="same")),
        client.enqueue(Task("t", queue=queue, task_id="same")),
        client.enqueue(Task("u", queue=queue, unique=60)),
        client.enqueue(Task("u", queue=queue, unique=60)),
        *(client.enqueue(Task("t", queue=poisoned)) for _ in range(2)),
        return_exceptions=True,
    )
    kinds = Counter(type(result) for result in results)
    assert kinds == {
        TaskInfo: 22,
        TaskIdConflictError: 2,
        DuplicateTaskError: 1,
        RedisReplyError: 2,
    }
    assert [type(result) for result in results[:20]] == [TaskInfo] * 20
    assert isinstance(results[20], TaskIdConflictError)
    assert results[-1] is not results[-2]


async def test_cancelled_callers_take_nobody_with_them(
    proxy: Proxy, redis: Redis, queue: str
) -> None:
    async with Client(proxy.url) as client:
        await client.enqueue(Task("first", queue=queue))
        held = proxy.plan(HoldReply(runs(scripts.ENQUEUE)))
        calls = [
            asyncio.create_task(client.enqueue(Task("t", str(n), queue=queue))) for n in range(60)
        ]
        await held.happened.wait()
        cancelled = calls[::3]  # among them the one that left alone
        for call in cancelled:
            call.cancel()
        held.release.set()
        results = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results[::3])
    acknowledged = {result.id for result in results if isinstance(result, TaskInfo)}
    assert len(acknowledged) == 40
    assert acknowledged <= set(await pending_ids(redis, queue))


async def test_calls_whose_common_reply_is_cut_are_stored_once(
    proxy: Proxy, redis: Redis, queue: str
) -> None:
    rounds, at_once = 20, 30
    ids: list[str] = []
    async with Client(proxy.url) as client:
        for n in range(rounds):
            cut = proxy.plan(CutReply(runs(scripts.ENQUEUE), n / rounds))
            infos = await asyncio.gather(
                *(client.enqueue(Task("t", queue=queue)) for _ in range(at_once)),
                client.enqueue(Task("t", queue=queue, task_id=f"own-{n}")),
            )
            assert cut.happened.is_set()
            ids += [info.id for info in infos]
    assert sorted(await pending_ids(redis, queue)) == sorted(ids)
    assert len(set(ids)) == rounds * (at_once + 1)


async def test_without_redis_everybody_is_told_at_about_the_same_time(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncq._broker.producer._ENQUEUE_PAUSES_S", (0.0,))
    async with Client(f"unix://{tmp_path}/none.sock") as client:
        results = await asyncio.gather(
            *(client.enqueue(Task("t")) for _ in range(50)), return_exceptions=True
        )
    assert [type(result) for result in results] == [RedisUnavailableError] * 50
    assert len({id(result) for result in results}) == 50


async def test_a_call_that_hangs_does_not_hold_up_the_others(
    start_redis: Callable[..., RedisServer], queue: str
) -> None:
    server = start_redis()
    async with Proxy(server.socket) as proxy, Client(proxy.url) as client:
        await client.enqueue(Task("first", queue=queue))
        held = [proxy.plan(HoldReply(runs(scripts.ENQUEUE))) for _ in range(2)]
        stuck = [asyncio.create_task(client.enqueue(Task("t", queue=queue)))]
        await held[0].happened.wait()
        stuck.append(asyncio.create_task(client.enqueue(Task("t", queue=queue))))
        await held[1].happened.wait()
        await client.enqueue(Task("passes", queue=queue))
        assert not any(call.done() for call in stuck)
        for hold in held:
            hold.release.set()
        await asyncio.gather(*stuck)
