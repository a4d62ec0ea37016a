"""Queues, groups, statistics, servers: what the inspector says of them, and deleting a queue."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from placed import NOW_S, put
from redis.asyncio import Redis
from redis_servers import RedisServer
from redis_topologies import redis_cluster
from serving import Sleeper, Working
from stored import a_lock, snapshot
from waiting import until

from asyncq import (
    Client,
    Inspector,
    QueueNotEmptyError,
    QueueNotFoundError,
    RedisReplyError,
    Task,
)
from asyncq._broker import keys
from asyncq._broker.broker import Broker
from asyncq._clock import Clock

pytestmark = pytest.mark.every_redis


async def test_queues_are_listed_by_name(inspector: Inspector, client: Client, queue: str) -> None:
    names = [queue + suffix for suffix in ("b", "a", " Mixed Case ", "ü")]
    for name in names:
        await client.enqueue(Task("t"), queue=name)
    assert [n for n in await inspector.queues() if n.startswith(queue)] == sorted(names)


async def test_a_queue_with_tasks_in_every_state(
    inspector: Inspector, redis: Any, queue: str
) -> None:
    await put(redis, queue, "pending", ["p1", "p2", "p3"])
    await put(redis, queue, "active", ["a1", "a2"])
    await put(redis, queue, "scheduled", ["s1"])
    await put(redis, queue, "retry", ["r1", "r2"])
    await put(redis, queue, "archived", ["x1"])
    await put(redis, queue, "completed", ["c1", "c2"])
    await put(redis, queue, "aggregating", ["g1", "g2"], group="g")
    await put(redis, queue, "aggregating", ["h1"], group="h")
    await redis.hset(keys.task(queue, "p1"), "pending_since", time.time_ns() - 5 * 10**9)
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    await redis.mset(
        {
            keys.processed(queue): 17,
            keys.failed(queue): 5,
            keys.processed_on(queue, day): 7,
            keys.failed_on(queue, day): 2,
        }
    )
    info = await inspector.queue_info(queue)
    assert (info.queue, info.size, info.groups, info.paused) == (queue, 14, 2, False)
    assert (info.pending, info.active, info.scheduled, info.retry) == (3, 2, 1, 2)
    assert (info.archived, info.completed, info.aggregating) == (1, 2, 3)
    assert (info.processed, info.failed) == (7, 2)
    assert (info.processed_total, info.failed_total) == (17, 5)
    assert timedelta(seconds=5) <= info.latency < timedelta(minutes=1)
    assert info.memory_usage > 14 * 50
    assert abs(info.timestamp - datetime.now(UTC)) < timedelta(minutes=1)


async def test_an_empty_queue_that_is_known_is_all_zeros(
    inspector: Inspector, redis: Any, queue: str
) -> None:
    await redis.sadd(keys.QUEUES, queue)
    info = await inspector.queue_info(queue)
    assert (info.size, info.groups, info.memory_usage) == (0, 0, 0)
    assert info.latency == timedelta(0)


@pytest.mark.parametrize("since", [None, "0"])
async def test_latency_is_zero_where_go_did_not_write_since_when_a_task_is_pending(
    inspector: Inspector, redis: Any, queue: str, since: str | None
) -> None:
    await put(redis, queue, "pending", ["a"])
    await redis.hdel(keys.task(queue, "a"), "pending_since")
    if since:
        await redis.hset(keys.task(queue, "a"), "pending_since", since)
    assert (await inspector.queue_info(queue)).latency == timedelta(0)


async def test_a_queue_of_very_many_groups_is_counted_and_listed(
    inspector: Inspector, redis: Any, queue: str
) -> None:
    pipe = redis.pipeline(transaction=False)
    pipe.sadd(keys.QUEUES, queue)
    for n in range(1500):
        pipe.sadd(keys.groups(queue), f"g{n:04}")
        pipe.zadd(keys.group(queue, f"g{n:04}"), {f"{n}": 1, f"{n}b": 2})
        pipe.hset(keys.task(queue, f"{n}"), "msg", "m" * 100)
    await pipe.execute()
    info = await inspector.queue_info(queue)
    assert (info.groups, info.aggregating, info.size) == (1500, 3000, 3000)
    assert info.memory_usage > 0
    groups = await inspector.groups(queue)
    assert [group.group for group in groups] == [f"g{n:04}" for n in range(1500)]
    assert {group.size for group in groups} == {2}


async def test_groups_of_an_unknown_queue_are_none(inspector: Inspector, queue: str) -> None:
    assert await inspector.groups(queue) == []


async def test_history_counts_days_back_from_today(
    inspector: Inspector, redis: Any, queue: str
) -> None:
    await redis.sadd(keys.QUEUES, queue)
    today = datetime.now(UTC).date()
    for ago, (processed, failed) in {0: (5, 1), 3: (9, 0), 89: (4, 4)}.items():
        day = (today - timedelta(days=ago)).isoformat()
        await redis.set(keys.processed_on(queue, day), processed)
        await redis.set(keys.failed_on(queue, day), failed)
    history = await inspector.history(queue, 1000)
    assert [stats.date for stats in history] == [today - timedelta(days=n) for n in range(1000)]
    counted = {n: (s.processed, s.failed) for n, s in enumerate(history) if s.processed}
    assert counted == {0: (5, 1), 3: (9, 0), 89: (4, 4)}
    assert await inspector.history(queue, 1) == history[:1]


@pytest.mark.parametrize("days", [0, -1, 36_501])
async def test_days_out_of_range_are_refused(inspector: Inspector, days: int) -> None:
    with pytest.raises(ValueError, match="days= takes 1 to 36500"):
        await inspector.history("q", days)


async def test_pausing_says_whether_it_changed_anything(
    inspector: Inspector, client: Client, redis: Any, queue: str
) -> None:
    await client.enqueue(Task("t"), queue=queue)
    assert await inspector.pause_queue(queue) is True
    assert await inspector.pause_queue(queue) is False
    assert (await inspector.queue_info(queue)).paused
    assert abs(int(await redis.get(keys.paused(queue))) - time.time()) < 60
    assert await inspector.unpause_queue(queue) is True
    assert await inspector.unpause_queue(queue) is False


@pytest.mark.parametrize("method", ["queue_info", "history", "delete_queue"])
async def test_an_unknown_queue_is_named(inspector: Inspector, queue: str, method: str) -> None:
    with pytest.raises(QueueNotFoundError, match=f"queue '{queue}' does not exist"):
        await getattr(inspector, method)(queue)
    with pytest.raises(ValueError, match="queue= must not be blank"):
        await getattr(inspector, method)("")


async def test_redis_says_what_it_is(inspector: Inspector) -> None:
    (info,) = await inspector.redis_info()
    assert info.where == inspector.where
    assert int(info.values["used_memory"]) > 0
    assert info.values["redis_version"][0].isdigit()


async def test_each_master_of_a_cluster_says_what_it_is(redis_variant: str) -> None:
    with redis_cluster(redis_variant) as cluster:
        async with Inspector(cluster.url) as inspector:
            infos = await inspector.redis_info()
        assert len(infos) == len({info.values["run_id"] for info in infos}) == 3


# Deleting a queue


async def fill(redis: Any, queue: str, *, active: bool = False) -> None:
    """Tasks in every state, and all that asynq and we write beside them."""
    for state in ("pending", "scheduled", "retry", "archived", "completed"):
        await put(redis, queue, state, [f"{state}{n}" for n in range(3)])
    await put(redis, queue, "aggregating", ["g1"], group="g")
    await put(redis, queue, "aggregating", ["g2"], group="in a set")
    in_set = keys.aggregation_set(queue, "in a set", "5ca1ab1e")
    await redis.rename(keys.group(queue, "in a set"), in_set)
    await redis.srem(keys.groups(queue), "in a set")
    await redis.zadd(keys.aggregation_sets(queue), {in_set: NOW_S})
    await put(redis, queue, "aggregating", ["g3"], group="unlisted")
    await redis.srem(keys.groups(queue), "unlisted")
    if active:
        await put(redis, queue, "active", ["a1"])
    await redis.set(a_lock(queue), "who knows")
    await redis.hset(keys.task(queue, "leaked by a trimmed archive"), "msg", "m")
    await redis.zadd(keys.lease(queue), {"left over": 1})
    await redis.zadd(keys.due(queue), {"left over": 1})
    await redis.hset(keys.parked(queue), "odd", "why")
    await redis.set(f"asyncq:{{{queue}}}:cron:e", "1")
    for name in ("paused", "processed", "failed", "processed:2026-01-01", "failed:1999-12-31"):
        await redis.set(keys.queue_prefix(queue) + name, "1")


@pytest.mark.parametrize("name", ["q", "a*b?[c]\\d^-", "spa ce", "ü", "x}:t:y", "{", "}"])
async def test_a_deleted_queue_leaves_no_key_behind(
    start_redis: Callable[[], RedisServer], name: str
) -> None:
    server = start_redis()
    async with server.client() as redis, Inspector(server.url) as inspector:
        await fill(redis, name)
        told: list[int] = []
        await inspector.delete_queue(name, force=True, on_progress=told.append)
        assert await redis.keys("*") == []
        assert told[-1] > 20


async def test_other_queues_keep_everything(start_redis: Callable[[], RedisServer]) -> None:
    server = start_redis()
    async with server.client() as raw, Inspector(server.url) as inspector:
        redis: Any = raw
        for name in ("q2", "2q", "q*", "q}:x", "q}:t:x", "*", "Q"):
            await fill(redis, name)
        before = {key: await redis.dump(key) for key in await redis.keys("*")}
        before[b"asynq:queues"] = b""  # encoded otherwise once it was larger
        await fill(redis, "q")
        await inspector.delete_queue("q", force=True)
        after = {key: await redis.dump(key) for key in await redis.keys("*")}
        after[b"asynq:queues"] = b""
        assert after == before
        assert await inspector.queues() == sorted(["q2", "2q", "q*", "q}:x", "q}:t:x", "*", "Q"])


async def test_a_queue_that_runs_tasks_is_not_deleted_even_by_force(
    inspector: Inspector, redis: Any, queue: str
) -> None:
    await fill(redis, queue, active=True)
    before = await snapshot(redis, queue)
    for force in (False, True):
        with pytest.raises(QueueNotEmptyError, match="1 tasks of it are running; wait") as caught:
            await inspector.delete_queue(queue, force)
        assert caught.value.active == 1
    assert await snapshot(redis, queue) == before
    assert queue in await inspector.queues()


@pytest.mark.parametrize(
    "state", ["pending", "scheduled", "retry", "archived", "aggregating", "set", "unlisted"]
)
async def test_a_queue_with_tasks_is_only_deleted_by_force(
    inspector: Inspector, redis: Any, queue: str, state: str
) -> None:
    in_group = state in ("set", "unlisted")
    await put(
        redis, queue, "aggregating" if in_group else state, ["a"], group="g" if in_group else "h"
    )
    if state == "set":
        await redis.rename(keys.group(queue, "g"), keys.aggregation_set(queue, "g", "id"))
        await redis.zadd(
            keys.aggregation_sets(queue), {keys.aggregation_set(queue, "g", "id"): NOW_S}
        )
    if in_group:
        await redis.delete(keys.groups(queue))
    await put(redis, queue, "completed", ["c"])
    before = await snapshot(redis, queue)
    with pytest.raises(QueueNotEmptyError, match="it has 1 tasks; force=True deletes them"):
        await inspector.delete_queue(queue)
    assert await snapshot(redis, queue) == before
    await inspector.delete_queue(queue, force=True)
    assert await snapshot(redis, queue) == {}
    assert queue not in await inspector.queues()


async def test_completed_tasks_do_not_keep_a_queue(
    inspector: Inspector, redis: Any, queue: str
) -> None:
    await put(redis, queue, "completed", ["a", "b"])
    await inspector.delete_queue(queue)
    assert await snapshot(redis, queue) == {}


async def test_what_is_enqueued_while_a_queue_is_deleted_is_not_lost(
    inspector: Inspector,
    client: Client,
    redis: Any,
    queue: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await put(redis, queue, "completed", [f"{n}" for n in range(3000)])
    run = inspector._connection.run
    calls = 0

    async def and_enqueue(said: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 8:
            await client.enqueue(Task("t"), queue=queue, task_id="new")
        return await run(said)

    monkeypatch.setattr(inspector._connection, "run", and_enqueue)  # between two calls
    with pytest.raises(QueueNotEmptyError, match="it has 1 tasks"):
        await inspector.delete_queue(queue)
    assert (await inspector.task_info(queue, "new")).state == "pending"
    assert queue in await inspector.queues()
    await inspector.delete_queue(queue, force=True)
    assert await snapshot(redis, queue) == {}


async def test_a_deletion_that_was_cut_short_can_be_finished(
    inspector: Inspector, redis: Any, queue: str
) -> None:
    await fill(redis, queue)

    def stop(count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await inspector.delete_queue(queue, force=True, on_progress=stop)
    await inspector.delete_queue(queue, force=True)
    assert await snapshot(redis, queue) == {}
    assert queue not in await inspector.queues()


# Servers, cancellation, clusters


async def test_servers_are_shown_with_what_they_run(
    inspector: Inspector, working: Working, queue: str
) -> None:
    sleeper = Sleeper()
    async with working(sleeper, concurrency=7, queues={queue: 3}) as work:
        info = await work.enqueue("t", "payload")

        async def shown() -> Any:
            servers = await inspector.servers()
            # A server and its workers are two keys, which a heartbeat may change in between.
            return [
                s
                for s in servers
                if queue in s.queues and s.active_workers and s.active_worker_count
            ]

        (server,) = await until(shown, "the server is shown with its worker")
        assert (server.concurrency, server.status, dict(server.queues)) == (7, "active", {queue: 3})
        (worker,) = server.active_workers
        assert (worker.task_id, worker.task_type) == (info.id, "t")
        assert (worker.task_payload, worker.queue) == (b"payload", queue)
        assert server.active_worker_count == 1
        await inspector.cancel(info.id)
        await until(sleeper.cancelled.is_set, "cancelled")


async def test_servers_that_vanished_and_records_that_cannot_be_read_are_left_out(
    start_redis: Callable[[], RedisServer],
) -> None:
    server = start_redis()
    async with server.client() as raw, Inspector(server.url) as inspector:
        redis: Any = raw
        # NOW_S is when the tests began, which may be minutes ago.
        await redis.zadd("asynq:servers", {"asynq:servers:{gone}": NOW_S - 100})
        await redis.zadd(
            "asynq:servers", {"x": NOW_S + 5000, "asynq:servers:{missing}": NOW_S + 9000}
        )
        await redis.set("x", b"\xff\xff")
        await redis.zadd("asynq:workers", {"y": NOW_S + 9000})
        await redis.hset("y", "a", b"\xff\xff")
        assert await inspector.servers() == []
        assert await redis.zrange("asynq:servers", 0, -1) == [b"x", b"asynq:servers:{missing}"]


async def test_slot_and_nodes_of_a_queue_in_a_cluster(redis_variant: str) -> None:
    with redis_cluster(redis_variant) as cluster:
        async with Client(cluster.url) as client, Inspector(client) as inspector:
            for name in ("one", "two", "three"):
                await client.enqueue_many([Task("t") for _ in range(300)], queue=name)
                owner = cluster.owner(keys.pending(name))
                (node,) = await inspector.cluster_nodes(name)
                assert node.address == f"127.0.0.1:{owner.port}"
                assert node.id == cluster.id_of(owner)
                assert 0 <= await inspector.cluster_key_slot(name) < 16384
                assert await inspector.archive_all(name, "pending") == 300
                assert len(await inspector.list_tasks(name, "archived", page_size=300)) == 300
                assert await inspector.run_all(name, "archived") == 300
                await inspector.delete_queue(name, force=True)
            assert await inspector.queues() == []


async def test_without_a_cluster_there_are_no_slots(inspector: Inspector, queue: str) -> None:
    with pytest.raises(RedisReplyError, match="only a Redis Cluster has slots, this is unix:"):
        await inspector.cluster_key_slot(queue)
    with pytest.raises(RedisReplyError, match="cluster support disabled"):
        await inspector.cluster_nodes(queue)


async def test_an_inspector_of_a_client_leaves_its_connections_open(
    client: Client, queue: str
) -> None:
    async with Inspector(client) as inspector:
        assert repr(inspector) == f"<Inspector of {client.where}>"
        await inspector.queues()
    await client.ping()


async def test_queue_info_of_a_running_queue_agrees_with_what_was_done(
    inspector: Inspector, client: Client, redis: Redis, queue: str
) -> None:
    broker = Broker(client._connection, Clock())
    await client.enqueue_many([Task("t") for _ in range(5)], queue=queue)
    await broker.dequeue([(queue, 2)], "claim")
    info = await inspector.queue_info(queue)
    assert (info.pending, info.active, info.size) == (3, 2, 5)


async def test_redis_that_takes_no_writes_can_still_be_looked_at(
    start_redis: Callable[..., RedisServer], queue: str
) -> None:
    server = start_redis()
    async with Client(server.url) as client, Inspector(client) as inspector:
        info = await client.enqueue(Task("t"), queue=queue)
        async with server.client() as redis:
            await redis.config_set("min-replicas-to-write", 1)
        with pytest.raises(RedisReplyError, match="NOREPLICAS"):
            await inspector.pause_queue(queue)
        assert (await inspector.queue_info(queue)).pending == 1
        assert (await inspector.task_info(queue, info.id)).id == info.id
        assert [task.id for task in await inspector.list_tasks(queue, "pending")] == [info.id]
        assert await inspector.servers() == []
        assert await inspector.scheduler_entries() == []
