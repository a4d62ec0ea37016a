"""The rights that `asyncq doctor --acl` prints are enough for each role, and none is too many.

Each role does all that it can do as a user with its rights only. Redis asks the same rights for
what scripts call; what it counted as called shows that every right is used, and what happens
without one shows that it is needed.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from placed import NOW_S, put
from redis.asyncio import Redis
from redis_servers import RedisServer, connect
from redis_topologies import redis_cluster, say
from serving import fast
from stored import a_message, put_active
from waiting import soon, until

from asyncq import (
    Client,
    GroupConfig,
    Inspector,
    NotReplicatedError,
    RedisReplyError,
    Replicas,
    Scheduler,
    Semaphore,
    Server,
    ServerConfig,
    SkipRetry,
    Task,
    TaskIdConflictError,
    TaskInfo,
    TaskNotFoundError,
    current,
)
from asyncq._broker import keys, scripts
from asyncq._broker.codec import encode_task
from asyncq.doctor import Doctor, Role, rule
from asyncq.doctor.acl import called_by, commands

Q, OTHER = "q", "other"
SITUATIONAL = {"select", "cluster|slots", "cluster|keyslot", "acl|dryrun"}
"""Rights for a database, a cluster, a new Redis: tested by themselves."""
RARE = {
    # Sent again after a lost reply; a task whose hash alone is refused, which takes a user without
    # +hset; an entry of a scheduler in a group that is no zset.
    Role.PRODUCER: {"zscore", "persist", "lrem", "zrem"},
    Role.SCHEDULER: {"zscore", "persist", "lrem", "zrem", "srem"},
    Role.INSPECTOR: {"lpop", "sadd"},  # hundreds of thousands of tasks; a race with a producer
}


@pytest.fixture
def server(start_redis: Callable[..., RedisServer]) -> RedisServer:
    return start_redis(tcp=True)


@pytest.fixture
async def redis(server: RedisServer) -> AsyncIterator[Redis]:
    async with server.client() as client:
        yield client


def make_user(server: RedisServer, role: Role, *, without: str = "", queues: Any = ()) -> str:
    """A user with the rights of a role, all but one; the URL for it."""
    words = [w for w in rule(role, queues, user="u") if w != f"+{without}"]
    say(server, "ACL", "SETUSER", *(">p" if word == ">PASSWORD" else word for word in words))
    return server.url.replace("//", "//u:p@")


def refused(server: RedisServer) -> set[str]:
    """What was refused to anybody, as Redis logged it."""
    log = say(server, "ACL", "LOG", 100)
    entries = [dict(zip(entry[::2], entry[1::2], strict=True)) for entry in log]
    return {
        f"{entry['reason']} {entry['object']} ({entry['context']})"
        for entry in entries
        # redis-py says its name and version, and does without if it may not.
        if entry["object"] != "client|setinfo"
    }


def called(server: RedisServer) -> set[str]:
    """The commands that were called since CONFIG RESETSTAT, in scripts and outside of them."""
    lines = say(server, "INFO", "commandstats").splitlines()
    return {
        line.split(":")[0].removeprefix("cmdstat_").lower()
        for line in lines
        if line.startswith("cmdstat_") and ":calls=0," not in line
    }


# What the roles do


async def produce(url: str) -> None:
    async with Client(url) as client:
        info = await client.enqueue(Task("t", queue=Q, retention=60, process_in=60))
        await client.enqueue(Task("t", queue=Q, unique=60))
        await client.enqueue(Task("t", queue=Q, process_in=5))
        await client.enqueue(Task("t", queue=Q, group="g", task_id="mine"))
        await client.enqueue_many([Task("t", queue=Q) for _ in range(20)])
        with pytest.raises(TaskIdConflictError):
            await client.enqueue(Task("t", queue=Q, task_id="mine"))
        with pytest.raises(RedisReplyError):
            await client.enqueue(Task("t", b"unique", queue=Q, group="foreign", unique=60))
        with pytest.raises(NotReplicatedError):
            await client.enqueue(Task("t", queue=Q), wait_replicas=Replicas(1, timeout=0.001))
        await wait(client, info)


async def wait(client: Client, info: TaskInfo) -> None:
    with pytest.raises(TimeoutError):
        await client.wait(info, timeout=0.1)
    with pytest.raises(TaskNotFoundError):
        await client.wait(replace(info, id="none"))


async def a_foreign_group(redis: Redis) -> None:
    await redis.set(keys.group(Q, "foreign"), "no zset")


async def break_things(redis: Redis) -> None:
    """What a worker meets and has to see to."""
    old = NOW_S - 1000
    await put(redis, Q, "pending", ["unreadable"], fields={"msg": b"\xff"})
    await put(redis, Q, "completed", {"expired": old})
    await put(redis, Q, "archived", {"too old": old - 10**8}, fields={"unique_key": "asynq:{q}:l"})
    await redis.set("asynq:{q}:l", "too old")
    await redis.lpush(keys.pending(Q), "ghost", "no hash")
    await redis.set(keys.task(Q, "no hash"), "no hash")
    await put_active(redis, a_message(Q, "vanished"), old, claim="c")
    await put(redis, Q, "active", ["orphan"])
    await redis.zrem(keys.lease(Q), "orphan")
    await put(redis, Q, "aggregating", {"overdue": old}, group="late")
    set_key = keys.aggregation_set(Q, "late", "0")
    await redis.rename(keys.group(Q, "late"), set_key)
    await redis.zadd(keys.aggregation_sets(Q), {set_key: old})
    await put(redis, Q, "aggregating", {"bad": old}, group="bad", fields={"msg": b"\xff"})
    await redis.sadd(keys.groups(Q), "empty")
    await redis.set(keys.processed(Q), 921 * 10**16)  # not far from where asynq begins anew


async def work(url: str, server: RedisServer) -> None:
    ended: list[str] = []
    semaphore = Semaphore(url, "scope", 5)

    async def handler(task: Task) -> str:
        ended.append(task.type)
        if task.type == "fails" and not current().retry_count:
            raise ValueError
        if task.type == "skips":
            raise SkipRetry
        if task.type == "waits":
            await asyncio.Event().wait()
        async with semaphore:
            await current().write_result("early")
        return "late"

    async def aggregate(group: str, tasks: list[Task]) -> Task:
        return Task("aggregated")

    config = ServerConfig(
        queues={Q: 1},
        concurrency=4,
        retry_delay=lambda *_: 1,
        group=GroupConfig(aggregator=aggregate, grace_period=1, max_size=2),
        archive_max_age=timedelta(days=90),
        janitor_interval=1,
        shutdown_timeout=1,
    )
    async with Client(url) as client, Server(url, handler, config, _timing=fast()) as running:
        await client.enqueue(Task("kept", queue=Q, retention=600, unique=60))
        for kind in ("done", "fails", "skips"):
            await client.enqueue(Task(kind, queue=Q, max_retry=1))
        await client.enqueue_many([Task("part", queue=Q, group="g") for _ in range(3)])
        await client.enqueue(Task("later", queue=Q, process_in=1))
        with pytest.raises(NotReplicatedError):
            await client.enqueue(Task("t", queue=Q), wait_replicas=Replicas(1, timeout=0.001))
        cancelled = await client.enqueue(Task("waits", queue=Q, max_retry=0, retention=60))
        assert running._parts is not None
        await soon(running._parts.subscriber.subscribed.wait())
        await until(lambda: "waits" in ended)
        await wait(client, cancelled)
        say(server, "PUBLISH", keys.CANCEL_CHANNEL, cancelled.id)
        await until(lambda: ended.count("fails") == 2)
        await until(lambda: ended.count("aggregated") >= 2 and "later" in ended)
        await until(lambda: say(server, "HGET", keys.task(Q, "orphan"), "state") is None)
        await until(lambda: say(server, "EXISTS", keys.task(Q, "too old")) == 0)
        await until(lambda: say(server, "HGET", keys.task(Q, "bad"), "asyncq_parked"))
        await until(lambda: say(server, "EXISTS", keys.task(Q, "expired")) == 0)
        await client.enqueue(Task("waits", queue=Q))
        await until(lambda: ended.count("waits") == 2)  # requeued at the end
    await semaphore.aclose()


async def schedule(url: str) -> None:
    done = asyncio.Event()
    scheduler = Scheduler(url, post_enqueue=lambda *_: done.set(), heartbeat_interval=1)
    scheduler.register("@every 1s", Task("t", queue=Q, unique=60), name="a")
    scheduler.register("@every 1s", Task("t", queue=Q, group="g", process_in=5), name="b")
    async with scheduler:
        await soon(done.wait())


async def inspect(url: str) -> None:
    async with Inspector(url) as inspector:
        await inspector.queues()
        await inspector.queue_info(Q)
        await inspector.history(Q, 3)
        await inspector.groups(Q)
        await inspector.pause_queue(Q)
        await inspector.unpause_queue(Q)
        await inspector.servers()
        await inspector.redis_info()
        await inspector.scheduler_entries()
        await inspector.enqueue_events("e")
        await inspector.cancel("x")
        for state in ("pending", "scheduled", "archived"):
            await inspector.list_tasks(Q, state)
        await inspector.run_task(Q, "s1")
        await inspector.archive_task(Q, "p1")
        await inspector.delete_task(Q, "unique")
        await inspector.task_info(Q, "p2")
        with pytest.raises(TaskNotFoundError):
            await inspector.task_info(Q, "none")
        cursor = (await inspector.scan(Q, "completed", budget=2)).cursor
        cursor = (await inspector.scan(Q, "completed", cursor=cursor, budget=1)).cursor
        await inspector.delete_task(Q, "c2")
        await inspector.scan(Q, "completed", cursor=cursor)
        await inspector.update_payload(Q, "s2", b"new")
        [task async for task in inspector.iter_tasks(Q, "pending")]
        await inspector.run_all(Q, "scheduled")
        await inspector.archive_all(Q, "pending")
        await inspector.delete_all(Q, "archived")
        await inspector.run_all(Q, "aggregating", group="g")
        await inspector.delete_queue(OTHER, force=True)


async def fill(redis: Redis) -> None:
    """What an inspector looks at."""
    await put(redis, Q, "pending", [f"p{n}" for n in range(30)])
    await put(redis, Q, "scheduled", {f"s{n}": NOW_S + 600 for n in range(5)})
    await put(redis, Q, "aggregating", ["g1"], group="g")
    await put(redis, Q, "archived", ["unique"], fields={"unique_key": "asynq:{q}:unique:t:"})
    await redis.set("asynq:{q}:unique:t:", "unique")
    await put(redis, Q, "completed", [f"c{n}" for n in range(5)])
    await put(redis, OTHER, "pending", ["o"])
    await redis.zadd(keys.SERVERS, {"asynq:servers:{h:1:s}": time.time() + 600})
    await redis.zadd(keys.WORKERS, {"asynq:workers:{h:1:s}": time.time() + 600})
    await redis.zadd(keys.SCHEDULERS, {"asynq:schedulers:{h}": time.time() + 600})


async def examine(url: str) -> None:
    async with Doctor(url) as doctor:
        await doctor.examine()
        await doctor.examine(fix=True)


async def break_more(redis: Redis) -> None:
    """What a doctor repairs."""
    await break_things(redis)
    await put(redis, Q, "scheduled", {"twice": NOW_S + 600})
    await redis.zadd(keys.retry(Q), {"twice": NOW_S})
    for state in ("pending", "aggregating", "archived", "active"):
        message = a_message(Q, f"lost {state}")
        await redis.hset(
            keys.task(Q, message.id),
            mapping={"msg": encode_task(message), "state": state, "group": "g"},
        )
    await redis.lpush(keys.active(Q), "twice", "twice")
    await redis.zadd(keys.lease(Q), {"twice": NOW_S + 600})
    await put(redis, Q, "pending", ["p"])
    await redis.lpush(keys.pending(Q), "p")
    await put(redis, Q, "aggregating", ["hidden"], group="hidden")
    await redis.srem(keys.groups(Q), "hidden")
    await put(redis, Q, "aggregating", ["forgotten"], group="forgotten")
    await redis.rename(keys.group(Q, "forgotten"), keys.aggregation_set(Q, "forgotten", "1"))
    await redis.zadd(keys.aggregation_sets(Q), {keys.aggregation_set(Q, "gone", "1"): NOW_S})
    await redis.zadd(keys.due(Q), {"a": 1})
    await redis.set(keys.unique(Q, "t", b"x"), "gone")
    await redis.set(keys.completed(Q), "foreign")
    await redis.srem(keys.QUEUES, Q)
    await redis.zadd(keys.SERVERS, {"gone": 1, "asynq:servers:{h}": time.time() + 60})
    await redis.hset(keys.parked(Q), "x", "y")


Prepare = Callable[[Redis], Awaitable[None]]


PREPARE: dict[Role, Prepare] = {
    Role.PRODUCER: a_foreign_group,
    Role.SCHEDULER: a_foreign_group,
    Role.WORKER: break_things,
    Role.INSPECTOR: fill,
    Role.DOCTOR: break_more,
}


async def act(role: Role, url: str, server: RedisServer) -> None:
    async with Client(url) as client:
        await client.ping()
    match role:
        case Role.PRODUCER:
            await produce(url)
        case Role.WORKER:
            await work(url, server)
        case Role.SCHEDULER:
            await schedule(url)
        case Role.INSPECTOR:
            await inspect(url)
        case Role.DOCTOR:
            await examine(url)


@pytest.mark.parametrize("queues", [(), (Q, OTHER)], ids=["all queues", "some queues"])
@pytest.mark.parametrize("role", Role)
async def test_rights_of_a_role_are_enough_and_all_are_used(
    role: Role, queues: tuple[str, ...], server: RedisServer, redis: Redis
) -> None:
    await PREPARE[role](redis)
    url = make_user(server, role, queues=queues)
    say(server, "CONFIG", "RESETSTAT")
    await act(role, url, server)
    used = called(server)
    assert refused(server) == set()
    assert set(commands(role)) - used - SITUATIONAL - RARE.get(role, set()) == set()


@pytest.mark.parametrize(
    "without", sorted(set(commands(Role.PRODUCER)) - SITUATIONAL - RARE[Role.PRODUCER])
)
async def test_producer_cannot_do_without_any_of_its_rights(
    without: str, server: RedisServer, redis: Redis
) -> None:
    await a_foreign_group(redis)
    url = make_user(server, Role.PRODUCER, without=without)
    with contextlib.suppress(RedisReplyError):
        await act(Role.PRODUCER, url, server)
    assert any(without in line for line in refused(server)), refused(server)


@pytest.mark.parametrize("without", ["sadd", "hset", "zadd", "time", "xyz"])
async def test_rights_are_asked_of_what_scripts_call(without: str, server: RedisServer) -> None:
    """What a script calls is refused with `lua` as its context."""
    is_needed = without != "xyz"
    url = make_user(server, Role.PRODUCER, without=without)
    async with Client(url) as client:
        answers = [
            await _answer(client.enqueue(Task("t", queue=Q, group="g"))),
            await _answer(client.enqueue(Task("t", queue=Q, process_in=5))),
        ]
    assert any(isinstance(a, RedisReplyError) for a in answers) == is_needed
    assert any("(lua)" in line for line in refused(server)) == is_needed
    # Nothing is half done.
    stored = sum(not isinstance(answer, RedisReplyError) for answer in answers)
    assert len(say(server, "KEYS", "*:t:*")) == stored


async def _answer(call: Awaitable[object]) -> object:
    try:
        return await call
    except RedisReplyError as error:
        return error


async def test_user_of_one_queue_cannot_touch_another(server: RedisServer) -> None:
    url = make_user(server, Role.PRODUCER, queues=["mine", "a*"])
    async with Client(url) as client:
        await client.enqueue(Task("t", queue="mine"))
        await client.enqueue(Task("t", queue="a*"))
        for queue in ("other", "ab"):
            with pytest.raises(RedisReplyError, match=r"(?i)permission|NOPERM"):
                await client.enqueue(Task("t", queue=queue))


async def test_database_other_than_0_needs_select(server: RedisServer) -> None:
    url = make_user(server, Role.PRODUCER).removesuffix("/0") + "/1"
    async with connect(server.url.removesuffix("/0") + "/1") as other:
        await a_foreign_group(other)
    await produce(url)
    make_user(server, Role.PRODUCER, without="select")
    with pytest.raises(RedisReplyError, match=r"(?i)select"):
        await produce(url)


async def test_rights_are_enough_in_a_cluster() -> None:
    with redis_cluster() as cluster:
        for role in (Role.PRODUCER, Role.INSPECTOR, Role.DOCTOR):
            for node in cluster.nodes:
                make_user(node, role)
            url = cluster.url.replace("//", "//u:p@")
            if role is Role.PRODUCER:
                async with cluster.owner(keys.pending(Q)).client() as redis:
                    await a_foreign_group(redis)
                await produce(url)
            elif role is Role.INSPECTOR:
                async with Inspector(url) as inspector:
                    await inspector.cluster_key_slot(Q)
                    await inspector.cluster_nodes(Q)
                    await inspector.redis_info()
                    await inspector.queue_info(Q)
            else:
                await examine(url)
            assert {line for node in cluster.nodes for line in refused(node)} == set()


def test_commands_of_scripts_are_read_from_their_source() -> None:
    assert {"hmget", "hset", "rpush", "publish"} <= called_by(scripts.SETTLE)
    assert "memory|usage" in called_by(scripts.MEMORY_USAGE)
    assert {"llen", "zcard"} <= called_by(scripts.SCAN_TASKS)


def test_page_of_the_doctor_shows_the_rules_as_they_are() -> None:
    page = (Path(__file__).parent.parent / "docs/how-to/doctor.md").read_text()
    said = " ".join(page.split())
    for role in (Role.PRODUCER, Role.WORKER, Role.SCHEDULER, Role.INSPECTOR):
        assert "ACL SETUSER " + " ".join(rule(role)) in said
