"""What a doctor finds wrong with tasks and keys, and what it makes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from placed import NOW_S, put
from redis.asyncio import Redis
from redis_servers import RedisServer
from serving import working
from stored import a_message, snapshot
from waiting import until

from asyncq import Client, Inspector, Task, TaskState
from asyncq._broker import keys
from asyncq._broker.codec import encode_task
from asyncq.doctor import Diagnosis, Doctor, Finding, Severity

Q = "q"
QUIET = {"no-persistence", "rights", "nobody", "parked", "aside"}
"""Of the server of these tests, which keeps nothing, and of what was set aside."""


@pytest.fixture
def server(start_redis: Callable[..., RedisServer]) -> RedisServer:
    """A server of one's own: a doctor looks at all keys."""
    return start_redis()


@pytest.fixture
async def redis(server: RedisServer) -> AsyncIterator[Redis]:
    async with server.client() as client:
        yield client


@pytest.fixture
async def doctor(server: RedisServer) -> AsyncIterator[Doctor]:
    async with Doctor(server.url) as doctor:
        yield doctor


def found(diagnosis: Diagnosis) -> dict[str, Finding]:
    return {f.kind: f for f in diagnosis.findings if f.kind not in QUIET}


async def _state(redis: Redis, task_id: str = "a") -> str:
    state: Any = await redis.hget(keys.task(Q, task_id), "state")
    return (state or b"").decode()


async def _places(redis: Redis, task_id: str = "a") -> list[str]:
    """Where a task stands, a place as often as it stands there."""
    places = []
    for place in ("pending", "active"):
        ids: list[Any] = await redis.lrange(keys.queue_prefix(Q) + place, 0, -1)
        places += [place] * ids.count(task_id.encode())
    for place in ("lease", "scheduled", "retry", "archived", "completed", "g:g", "g:other"):
        if await redis.zscore(keys.queue_prefix(Q) + place, task_id) is not None:
            places.append(place)
    return places


async def _hash(redis: Redis, state: str, task_id: str = "a", **fields: Any) -> None:
    await redis.sadd(keys.QUEUES, Q)
    message = encode_task(a_message(Q, task_id))
    mapping: dict[Any, Any] = {"msg": message, "state": state, **fields}
    await redis.hset(keys.task(Q, task_id), mapping=mapping)


async def test_queue_at_work_is_healthy(server: RedisServer, redis: Redis, doctor: Doctor) -> None:
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def handler(task: Task) -> None:
        entered.set()
        await go_on.wait()
        if task.type == "fails":
            raise ValueError

    async with working(redis, server.url, Q, handler, concurrency=2) as work:
        await work.enqueue("t", unique=60, retention=60)
        await work.enqueue("fails", max_retry=3)
        await work.enqueue("t", process_in=600)
        await work.enqueue("t", group="g:with:colons")
        for _ in range(30):
            await work.enqueue("t", retention=60)
        await entered.wait()
        assert found(await doctor.examine()) == {}
        go_on.set()
        await until(lambda: redis.zcard(keys.retry(Q)))
        assert found(await doctor.examine(fix=True)) == {}


@pytest.mark.parametrize("state", [s for s in TaskState if s is not TaskState.ACTIVE])
async def test_task_in_its_place_is_left_alone(
    state: TaskState, redis: Redis, doctor: Doctor
) -> None:
    ids = {"a": NOW_S + 600.0, "b": NOW_S + 700.0}
    await put(redis, Q, state, ids, group="g" if state is TaskState.AGGREGATING else "")
    before = await snapshot(redis, Q)
    assert found(await doctor.examine(fix=True)) == {}
    assert await snapshot(redis, Q) == before


@pytest.mark.parametrize(
    ("state", "comes_to"),
    [
        ("pending", "pending"),
        ("active", "pending"),
        ("retry", "pending"),
        ("scheduled", "archived"),
        ("archived", "archived"),
        ("completed", "completed"),
        ("nonsense", "archived"),
        ("aggregating", "pending"),
    ],
)
async def test_task_that_stands_nowhere_comes_back(
    state: str, comes_to: str, redis: Redis, doctor: Doctor
) -> None:
    await _hash(redis, state, asyncq_claim="gone")
    lost = found(await doctor.examine())["lost"]
    assert (lost.count, lost.fixed, lost.severity) == (1, 0, Severity.DANGER)
    assert await _places(redis) == []

    assert found(await doctor.examine(fix=True))["lost"].fixed == 1
    assert (await _places(redis), await _state(redis)) == ([comes_to], comes_to)
    assert not await redis.hexists(keys.task(Q, "a"), "asyncq_claim")
    assert found(await doctor.examine()) == {}


async def test_lost_task_of_a_group_comes_back_to_it(redis: Redis, doctor: Doctor) -> None:
    await _hash(redis, "aggregating", group="g")
    await doctor.examine(fix=True)
    assert await _places(redis) == ["g:g"]
    assert await redis.smembers(keys.groups(Q)) == {b"g"}
    assert found(await doctor.examine()) == {}


@pytest.mark.parametrize("state", ["pending", "active", "completed", ""])
async def test_place_decides_where_state_and_place_differ(
    state: str, redis: Redis, doctor: Doctor
) -> None:
    await _hash(redis, state)
    await redis.zadd(keys.scheduled(Q), {"a": NOW_S + 600})
    astray = found(await doctor.examine())["astray"]
    assert astray.examples == (f"a (it says {state or 'nothing'}, it is in scheduled)",)
    await doctor.examine(fix=True)
    assert (await _places(redis), await _state(redis)) == (["scheduled"], "scheduled")
    assert await redis.zscore(keys.scheduled(Q), "a") == NOW_S + 600
    assert found(await doctor.examine()) == {}


@pytest.mark.parametrize("second", ["pending", "archived", "active", "g:other"])
async def test_task_in_two_places_stays_where_its_state_says(
    second: str, redis: Redis, doctor: Doctor
) -> None:
    await put(redis, Q, "scheduled", {"a": NOW_S + 600})
    if second in ("pending", "active"):
        await redis.lpush(keys.queue_prefix(Q) + second, "a")
    else:
        await redis.zadd(keys.queue_prefix(Q) + second, {"a": NOW_S})
        await redis.sadd(keys.groups(Q), *(["other"] if second == "g:other" else ["_"]))
    assert found(await doctor.examine())["doubled"].count == 1
    assert found(await doctor.examine(fix=True))["doubled"].fixed == 1
    assert await _places(redis) == ["scheduled"]
    await doctor.examine(fix=True)
    assert found(await doctor.examine()) == {}


async def test_second_entry_in_pending_is_removed_and_the_older_stays(
    redis: Redis, doctor: Doctor
) -> None:
    await put(redis, Q, "pending", ["a", "b"])
    await redis.lpush(keys.pending(Q), "a")
    assert found(await doctor.examine(fix=True))["doubled"].fixed == 1
    assert await redis.lrange(keys.pending(Q), 0, -1) == [b"b", b"a"]


async def test_second_entry_that_moves_up_to_ranks_put_right_is_found(
    redis: Redis, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncq._broker.examination._PAGE", 3)
    await put(redis, Q, "pending", ["a", "b"])
    # From the left, where the doctor begins; the entries without a task are removed on the way.
    await redis.lpush(keys.pending(Q), "a", "no task", "none either")
    assert found(await doctor.examine(fix=True))["doubled"].fixed == 1
    assert await redis.lrange(keys.pending(Q), 0, -1) == [b"b", b"a"]


async def test_running_task_without_lease_is_given_one(redis: Redis, doctor: Doctor) -> None:
    await put(redis, Q, "active", ["a"])
    await redis.delete(keys.lease(Q))
    assert found(await doctor.examine(fix=True))["unleased"].fixed == 1
    assert await _places(redis) == ["active", "lease"]
    assert found(await doctor.examine()) == {}


async def test_lease_of_a_task_that_waits_is_removed(redis: Redis, doctor: Doctor) -> None:
    await put(redis, Q, "pending", ["a"])
    await redis.zadd(keys.lease(Q), {"a": NOW_S + 300, "nobody": NOW_S + 300})
    kinds = found(await doctor.examine(fix=True))
    assert (kinds["leased"].fixed, kinds["ghost"].fixed) == (1, 1)
    assert await _places(redis) == ["pending"]
    assert not await redis.exists(keys.lease(Q))


async def test_entries_without_a_task_are_removed_from_every_place(
    redis: Redis, doctor: Doctor
) -> None:
    await redis.sadd(keys.QUEUES, Q)
    await redis.lpush(keys.pending(Q), "p", b"\xff\xfe")
    await redis.lpush(keys.active(Q), "x")
    for place in ("scheduled", "retry", "archived", "completed", "g:g"):
        await redis.zadd(keys.queue_prefix(Q) + place, {f"z-{place}": NOW_S + 600})
    await redis.sadd(keys.groups(Q), "g")
    await redis.hset(keys.task(Q, "x"), "state", "active")  # a stub, as asynq leaves it
    ghosts = found(await doctor.examine())["ghost"]
    assert (ghosts.count, len(ghosts.examples)) == (8, 3)
    assert found(await doctor.examine(fix=True))["ghost"].fixed == 8
    assert await snapshot(redis, Q) == {}


async def test_key_that_is_no_hash_is_set_aside_and_named(redis: Redis, doctor: Doctor) -> None:
    await put(redis, Q, "pending", ["good"])
    await redis.lpush(keys.pending(Q), "bad")
    await redis.set(keys.task(Q, "bad"), "what is this")
    assert found(await doctor.examine(fix=True))["nohash"].fixed == 1
    assert await redis.lrange(keys.pending(Q), 0, -1) == [b"good"]
    assert await redis.hkeys(keys.parked(Q)) == [b"bad"]
    again = {f.kind: f for f in (await doctor.examine()).findings}
    assert again["parked"].examples == ("bad",)
    assert "nohash" not in again


@pytest.mark.parametrize("state", ["pending", "scheduled", "retry", "completed", "archived"])
@pytest.mark.parametrize("data", [b"", b"\xff\x00 not protobuf", "another's"])
async def test_task_that_cannot_be_read_goes_to_the_archive_with_the_reason(
    state: str, data: bytes | str, redis: Redis, doctor: Doctor, server: RedisServer
) -> None:
    if isinstance(data, str):
        data = encode_task(a_message(Q, "other"))
    await put(redis, Q, state, {"a": NOW_S + 600}, fields={"msg": data})
    assert found(await doctor.examine())["unreadable"].count == 1
    assert found(await doctor.examine(fix=True))["unreadable"].fixed == 1
    assert (await _places(redis), await _state(redis)) == (["archived"], "archived")
    assert found(await doctor.examine()) == {}
    async with Inspector(server.url) as inspector:
        (shown,) = await inspector.list_tasks(Q, "archived")
        if data != encode_task(a_message(Q, "other")):
            assert "not a TaskMessage" in shown.last_error


async def test_running_task_that_cannot_be_read_is_left_to_its_worker(
    redis: Redis, doctor: Doctor
) -> None:
    await put(redis, Q, "active", ["a"], fields={"msg": b"\xff"})
    unreadable = found(await doctor.examine(fix=True))["unreadable"]
    assert (unreadable.count, unreadable.fixed, unreadable.is_open) == (1, 0, True)
    assert await _places(redis) == ["active", "lease"]


async def test_key_of_a_wrong_type_is_set_aside_and_tasks_come_back(
    redis: Redis, doctor: Doctor
) -> None:
    await put(redis, Q, "pending", ["a"])
    await redis.delete(keys.pending(Q))
    for key in (keys.pending(Q), keys.due(Q), keys.parked(Q), keys.groups(Q), keys.SERVERS):
        await redis.set(key, "foreign")
    types = [f for f in (await doctor.examine()).findings if f.kind == "type"]
    assert sum(f.count for f in types) == 5
    await doctor.examine(fix=True)
    assert await _places(redis) == ["pending"]
    assert await redis.get(f"asyncq:{{{Q}}}:aside:pending") == b"foreign"
    assert await redis.get(f"asyncq:{{{Q}}}:aside:asyncq:due") == b"foreign"
    assert await redis.get(f"asyncq:aside:{{{keys.SERVERS}}}") == b"foreign"
    last = await doctor.examine()
    assert found(last) == {}
    assert sum(f.count for f in last.findings if f.kind == "aside") == 5


async def test_lock_of_a_task_that_is_gone_is_given_up(
    redis: Redis, doctor: Doctor, server: RedisServer
) -> None:
    async with Client(server.url) as client:
        held = await client.enqueue(Task("t", b"held"), queue=Q, unique=60)
        gone = await client.enqueue(Task("t", b"gone"), queue=Q, unique=60)
    await redis.delete(keys.task(Q, gone.id))
    await redis.lrem(keys.pending(Q), 0, gone.id)
    stale = found(await doctor.examine())["stale-locks"]
    assert stale.count == 1
    assert gone.id in stale.examples[0]
    await doctor.examine(fix=True)
    assert await redis.get(keys.unique(Q, "t", b"held")) == held.id.encode()
    assert not await redis.exists(keys.unique(Q, "t", b"gone"))


async def test_hidden_group_is_listed_and_forgotten_set_is_reclaimed(
    redis: Redis, doctor: Doctor
) -> None:
    await put(redis, Q, "aggregating", ["a", "b"], group="g")
    await redis.srem(keys.groups(Q), "g")
    await put(redis, Q, "aggregating", ["c"], group="other")
    set_key = keys.aggregation_set(Q, "other", "0123")
    await redis.rename(keys.group(Q, "other"), set_key)
    kinds = found(await doctor.examine(fix=True))
    assert (kinds["hidden-groups"].count, kinds["forgotten-sets"].count) == (1, 1)
    assert await redis.smembers(keys.groups(Q)) == {b"g"}
    assert await redis.zrange(keys.aggregation_sets(Q), 0, -1) == [set_key.encode()]
    assert kinds.keys() == {"hidden-groups", "forgotten-sets", "empty-groups"}
    assert found(await doctor.examine()) == {}


async def test_queue_that_is_not_listed_is_put_on_the_list(redis: Redis, doctor: Doctor) -> None:
    await put(redis, Q, "pending", ["a"])
    await redis.delete(keys.QUEUES)
    assert "unlisted" in found(await doctor.examine())
    await doctor.examine(fix=True)
    assert await redis.smembers(keys.QUEUES) == {Q.encode()}


async def test_what_nobody_works_on_is_said(redis: Redis, doctor: Doctor) -> None:
    await put(redis, Q, "pending", ["a"])
    await put(redis, Q, "scheduled", {"s": NOW_S - 300})
    await put(redis, Q, "active", ["x"])
    await redis.zadd(keys.lease(Q), {"x": NOW_S - 300})
    kinds = {f.kind for f in (await doctor.examine(fix=True)).findings}
    assert {"nobody", "overdue", "unrecovered"} <= kinds
    await redis.set(keys.paused(Q), NOW_S)
    kinds = {f.kind for f in (await doctor.examine()).findings}
    assert "paused" in kinds
    assert "nobody" not in kinds


async def test_stale_presence_and_due_entries_are_cleared(redis: Redis, doctor: Doctor) -> None:
    for key in (keys.SERVERS, keys.WORKERS, keys.SCHEDULERS):
        await redis.zadd(key, {"asynq:servers:{gone}": NOW_S - 1000, "alive": NOW_S + 1000})
    await redis.zadd(keys.due(Q), {"a": (NOW_S - 1000) * 1000, "b": (NOW_S + 1000) * 1000})
    kinds = found(await doctor.examine(fix=True))
    assert (kinds["presence"].fixed, kinds["stale-due"].fixed) == (1, 1)
    assert await redis.zrange(keys.SERVERS, 0, -1) == [b"alive"]
    assert await redis.zrange(keys.due(Q), 0, -1) == [b"b"]


async def test_queue_with_an_odd_name_is_not_mixed_up_with_another(
    redis: Redis, doctor: Doctor
) -> None:
    for queue in ("a", "a}:x", "*[?", "ü {b"):
        await put(redis, queue, "pending", ["1", "2"])
    await redis.lpush(keys.pending("a}:x"), "ghost")
    await redis.set(b"asynq:{\xff}:pending", "no text")
    diagnosis = await doctor.examine()
    assert [f.where for f in diagnosis.findings if f.kind == "ghost"] == ["a}:x"]
    assert [f.count for f in diagnosis.findings if f.kind == "name"] == [1]


async def test_repair_beside_workers_loses_and_repeats_nothing(
    server: RedisServer, redis: Redis, doctor: Doctor
) -> None:
    count, done = 2000, list[str]()

    async def handler(task: Task) -> None:
        await asyncio.sleep(0)
        done.append(task.payload.decode())

    async with working(redis, server.url, Q, handler, concurrency=20) as work:
        enqueued = asyncio.create_task(
            work.client.enqueue_many([Task("t", str(n), queue=Q) for n in range(count)])
        )
        diagnoses = []
        while len(done) < count:
            diagnoses.append(await doctor.examine(fix=True))
        await enqueued
        assert sorted(done, key=int) == [str(n) for n in range(count)]
    assert [found(d) for d in diagnoses] == [{}] * len(diagnoses)


async def test_examination_alone_changes_nothing(redis: Redis, doctor: Doctor) -> None:
    await _hash(redis, "pending")
    await redis.lpush(keys.active(Q), "ghost")
    await redis.zadd(keys.SERVERS, {"gone": 1})
    await redis.zadd(keys.group(Q, "hidden"), {"ghost": 1})
    await redis.set(keys.unique(Q, "t", b""), "gone", ex=60)
    before = await snapshot(redis, Q), await redis.zrange(keys.SERVERS, 0, -1)
    await doctor.examine()
    assert (await snapshot(redis, Q), await redis.zrange(keys.SERVERS, 0, -1)) == before
