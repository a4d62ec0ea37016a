"""What is not promised, shown: where a task runs twice, is overtaken, or is lost with its Redis."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from proxy import CutReply, CutRequest, Fault, HoldReply, Proxy, runs
from redis.asyncio import Redis
from redis_servers import RedisServer, free_port
from redis_topologies import say, wait_until
from replicated import replicated, state_of
from serving import Working, fast
from standing import Handled, at_rest, nothing_left, pending_ids, standing
from waiting import soon, until
from worker_processes import Workers

from asyncq import (
    Client,
    OutcomeUnknownError,
    RedisReplyError,
    Server,
    ServerConfig,
    Task,
    TaskIdConflictError,
    TaskInfo,
    current,
)
from asyncq._broker import keys, scripts
from asyncq._clock import Clock
from asyncq.doctor import Doctor

# ---- a task that runs twice ----


@pytest.mark.parametrize(("retention", "times"), [(0, 2), (60, 1)])
async def test_task_done_before_it_was_sent_again_runs_again_unless_it_is_kept(
    retention: int,
    times: int,
    redis_server: RedisServer,
    redis: Redis,
    queue: str,
    working: Working,
) -> None:
    handled = Handled()
    async with Proxy(redis_server.socket) as proxy, Client(proxy.url) as client:
        held = proxy.plan(HoldReply(runs(scripts.ENQUEUE)))
        call = asyncio.create_task(client.enqueue(Task("t", queue=queue), retention=retention))
        await soon(held.happened.wait())
        async with working(handled):
            await handled.reaches(1)
            await at_rest(redis, queue)
            proxy.cut_all()
            info = await soon(call)
            await handled.reaches(times)
            await at_rest(redis, queue)
    assert handled.times == {info.id: times}


async def test_handler_that_holds_the_gil_loses_its_lease_and_its_task_runs_elsewhere(
    client: Client, redis: Redis, redis_url: str, queue: str, tmp_path: Path
) -> None:
    config = {"queues": {queue: 1}, "concurrency": 1}
    timing = {"lease": 3, "heartbeat": 1, "claimed_grace": 1, "recover": 0.5}
    info = await client.enqueue(Task("holds-gil", queue=queue))
    async with Workers(redis_url, tmp_path, config=config, timing=timing) as workers:
        first = await workers.start()
        await until(lambda: workers.count("start") == 1, lambda: first.log)
        await workers.start()
        await until(lambda: workers.count("done") == 1)
        after = await at_rest(redis, queue)
        assert after == nothing_left(processed=2, failed=1)
        workers.open_gate()
        await until(lambda: workers.count("done") == 2)
        first.send_signal(signal.SIGTERM)
        assert await first.wait() == 0, first.log
        # What the first one had to say of it counts for nothing.
        assert await standing(redis, queue) == after
    assert workers.times("done") == {info.id: 2}


async def test_finished_task_runs_again_where_only_the_lost_master_knew_of_its_end(
    queue: str,
) -> None:
    gate = asyncio.Event()
    ran: list[str] = []

    async def handler(task: Task) -> None:
        ran.append(current().task_id)
        await gate.wait()

    config = ServerConfig(queues={queue: 1}, concurrency=1)
    with replicated() as servers:
        master, (replica,) = servers.master, servers.replicas
        async with (
            Client(master.url) as client,
            Server(master.url, handler, config, _timing=fast()),
        ):
            info = await client.enqueue(Task("t", queue=queue))
            await until(lambda: state_of(replica, queue, info.id) == "active")
            lose_the_link(replica)
            gate.set()
            await until(lambda: state_of(master, queue, info.id) is None)
        master.kill()
        say(replica, "REPLICAOF", "NO", "ONE")
        async with Server(replica.url, handler, config, _timing=fast()):
            await until(lambda: state_of(replica, queue, info.id) is None)
    assert ran == [info.id] * 2


def lose_the_link(replica: RedisServer) -> None:
    """It keeps what it has, and hears no more of its master."""
    say(replica, "REPLICAOF", "127.0.0.1", free_port())
    wait_until("the link is down", lambda: say(replica, "ROLE")[3] != "connected")


# ---- an enqueue that is in doubt ----


@pytest.mark.parametrize("stored", [True, False])
async def test_doubt_whether_a_task_was_enqueued_is_settled_by_its_id(
    stored: bool,
    redis_server: RedisServer,
    redis: Redis,
    queue: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("asyncq._broker.producer._ENQUEUE_PAUSES_S", ())
    matches = runs(scripts.ENQUEUE)
    fault: Fault = CutReply(matches, 0.5) if stored else CutRequest(matches, 0.5)
    async with Proxy(redis_server.socket) as proxy, Client(proxy.url) as client:
        await client.enqueue(Task("first", queue=queue, task_id="first"))
        proxy.plan(fault)
        with pytest.raises(OutcomeUnknownError) as raised:
            await client.enqueue(Task("t", queue=queue))
        task_id = raised.value.task_id
        if stored:
            with pytest.raises(TaskIdConflictError):
                await client.enqueue(Task("t", queue=queue), task_id=task_id)
        else:
            await client.enqueue(Task("t", queue=queue), task_id=task_id)
    assert await pending_ids(redis, queue) == ["first", task_id]


async def test_refusal_after_a_lost_reply_leaves_the_outcome_unknown(
    start_redis: Callable[..., RedisServer], queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What refuses the second sending may not be what took the first."""
    monkeypatch.setattr("asyncq._broker.producer._ENQUEUE_PAUSES_S", (0.0,))
    server = start_redis(tcp=True)
    async with Proxy(server.socket) as proxy, Client(proxy.url) as client:
        await client.enqueue(Task("first", queue=queue))
        held = proxy.plan(HoldReply(runs(scripts.ENQUEUE)))
        call = asyncio.create_task(client.enqueue(Task("t", queue=queue)))
        await soon(held.happened.wait())
        # It becomes a replica of nobody, and has forgotten what it was not told by its master.
        say(server, "FLUSHALL")
        say(server, "REPLICAOF", "127.0.0.1", free_port())
        proxy.cut_all()
        with pytest.raises(OutcomeUnknownError):
            await soon(call)


# ---- order, locks, ids ----


async def test_task_that_is_retried_is_overtaken(working: Working) -> None:
    begun: list[str] = []

    async def handler(task: Task) -> None:
        begun.append(task.type)
        if begun == ["a"]:
            raise ValueError

    async with working(handler, concurrency=1, retry_delay=lambda *_: 1) as work:
        infos = await work.client.enqueue_many([Task("a"), Task("b")], queue=work.queue)
        for info in infos:
            await work.gone(info)
    assert begun == ["a", "b", "a"]


async def test_tasks_of_a_queue_overlap(working: Working) -> None:
    both = asyncio.Barrier(2)

    async def handler(task: Task) -> None:
        await both.wait()  # each ends only while the other runs

    async with working(handler, concurrency=2) as work:
        infos = await work.client.enqueue_many([Task("a"), Task("b")], queue=work.queue)
        for info in infos:
            await work.gone(info)


async def test_lock_whose_time_is_over_lets_a_second_task_in_while_the_first_waits(
    client: Client, redis: Redis, queue: str
) -> None:
    first = await client.enqueue(Task("t", queue=queue), unique=60)
    (lock,) = await redis.keys(f"asynq:{{{queue}}}:unique:*")
    await redis.pexpire(lock, 1)
    await until(lambda: not_there(redis, lock))
    second = await client.enqueue(Task("t", queue=queue), unique=60)
    assert await pending_ids(redis, queue) == [first.id, second.id]


async def not_there(redis: Redis, key: Any) -> bool:
    return not await redis.exists(key)


async def test_id_may_be_taken_again_once_its_task_is_gone(working: Working) -> None:
    handled = Handled()
    async with working(handled) as work:
        for _ in range(2):
            await work.gone(await work.enqueue(task_id="x"))
    assert handled.times == {"x": 2}


# ---- clocks ----


async def test_deadline_is_judged_by_the_clock_of_the_worker(
    client: Client, redis: Redis, redis_url: str, queue: str
) -> None:
    handled = Handled()
    deadline = datetime.now(UTC) + timedelta(minutes=10)
    info = await client.enqueue(Task("t", queue=queue, deadline=deadline, max_retry=0))
    config = ServerConfig(queues={queue: 1})
    async with Server(redis_url, handled, config, _timing=fast(), _clock=Clock(3600)):
        await until(lambda: redis.zscore(keys.archived(queue), info.id))
    assert not handled.times


# ---- Redis ----


async def test_task_that_no_replica_had_is_lost_with_its_master(queue: str) -> None:
    with replicated() as servers:
        master, (replica,) = servers.master, servers.replicas
        async with Client(master.url) as client:
            kept = await client.enqueue(Task("t", queue=queue), wait_replicas=1)
            lose_the_link(replica)
            lost = await client.enqueue(Task("t", queue=queue))  # acknowledged all the same
        assert state_of(master, queue, lost.id) == "pending"
        master.kill()
        say(replica, "REPLICAOF", "NO", "ONE")
        assert state_of(replica, queue, kept.id) == "pending"
        assert state_of(replica, queue, lost.id) is None


async def test_master_with_fewer_replicas_than_it_must_have_takes_no_tasks(
    start_redis: Callable[..., RedisServer], queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncq._broker.producer._ENQUEUE_PAUSES_S", (0.0,))
    server = start_redis(tcp=True)
    say(server, "CONFIG", "SET", "min-replicas-to-write", 1)
    async with Client(server.url) as client:
        with pytest.raises(RedisReplyError, match="NOREPLICAS") as raised:
            await client.enqueue(Task("t", queue=queue))
        assert raised.value.passing
        assert say(server, "KEYS", "asyn*") == []
        say(server, "CONFIG", "SET", "min-replicas-to-write", 0)
        info = await client.enqueue(Task("t", queue=queue))
        assert state_of(server, queue, info.id) == "pending"


async def test_redis_that_evicts_loses_tasks_and_the_doctor_says_so(
    start_redis: Callable[..., RedisServer], queue: str
) -> None:
    server = start_redis(tcp=True)
    say(server, "CONFIG", "SET", "maxmemory", "10mb", "maxmemory-policy", "allkeys-lru")
    async with Client(server.url) as client:
        tasks = [Task("t", b"x" * 100_000, queue=queue)] * 200
        results = await client.enqueue_many(tasks, return_exceptions=True)
        acknowledged = [info for info in results if isinstance(info, TaskInfo)]
        kept = [info for info in acknowledged if state_of(server, queue, info.id)]
        assert len(kept) < len(acknowledged)
        async with Doctor(client) as doctor:
            diagnosis = await doctor.examine()
    assert {"eviction", "evicted"} <= {finding.kind for finding in diagnosis.findings}
