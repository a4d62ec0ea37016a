"""Whatever stands in Redis under our keys stops neither workers nor those who look.

Every key of a queue gets what does not belong there; good tasks, of this queue and of another, are
handled all the same, and a doctor makes the queue whole again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest
from operating import operated
from placed import NOW_S, put
from redis.asyncio import Redis
from redis_servers import RedisServer
from serving import fast
from stored import a_message
from waiting import LONGEST_S, until

from asyncq import (
    AsyncqError,
    Client,
    GroupConfig,
    Inspector,
    RedisError,
    Scheduler,
    Server,
    ServerConfig,
    Task,
    TaskState,
)
from asyncq._broker import keys
from asyncq._broker.aggregation import MOST_IN_SET
from asyncq._broker.codec import encode_task
from asyncq.doctor import Doctor

BAD, GOOD = "bad", "good"
TODAY = datetime.now(UTC).strftime("%Y-%m-%d")
PLACES: dict[str, str] = {
    "pending": keys.pending(BAD),
    "active": keys.active(BAD),
    "lease": keys.lease(BAD),
    "scheduled": keys.scheduled(BAD),
    "retry": keys.retry(BAD),
    "archived": keys.archived(BAD),
    "completed": keys.completed(BAD),
    "groups": keys.groups(BAD),
    "aggregation_sets": keys.aggregation_sets(BAD),
    "processed": keys.processed(BAD),
    "failed": keys.failed(BAD),
    "processed today": keys.processed_on(BAD, TODAY),
    "failed today": keys.failed_on(BAD, TODAY),
    "due": keys.due(BAD),
    "forwarder": keys.forwarder(BAD),
    "parked": keys.parked(BAD),
    "group": keys.group(BAD, "g"),
    "servers": keys.SERVERS,
    "workers": keys.WORKERS,
    "schedulers": keys.SCHEDULERS,
}
# Without these there is no working on a queue, until a doctor has put them aside.
NEEDED = {"pending", "active", "lease"}
PRESENCE = {"servers", "workers", "schedulers"}


@pytest.fixture
def server(start_redis: Callable[..., RedisServer]) -> RedisServer:
    return start_redis()


@pytest.fixture
async def redis(server: RedisServer) -> AsyncIterator[Redis]:
    async with server.client() as client:
        yield client


class Handled:
    """A handler that notes what it was given."""

    def __init__(self) -> None:
        self.names: list[str] = []

    async def __call__(self, task: Task) -> None:
        self.names.append(task.payload.decode("utf-8", "replace"))
        if task.type == "fails" and self.names.count("fails") == 1:
            raise ValueError

    async def saw(self, *names: str, longest_s: float = LONGEST_S) -> None:
        await until(
            lambda: set(names) <= set(self.names),
            lambda: f"{names} in {self.names}",
            longest_s=longest_s,
        )


def a_server(url: str, handler: Any) -> Server:
    async def aggregate(group: str, tasks: list[Task]) -> Task:
        return Task("t", "aggregated")

    config = ServerConfig(
        queues={BAD: 1, GOOD: 1},
        concurrency=4,
        retry_delay=lambda *_: 0.1,
        janitor_interval=1,
        group=GroupConfig(aggregator=aggregate, grace_period=1),
        shutdown_timeout=1,
    )
    return Server(url, handler, config, _timing=fast())


async def make_foreign(redis: Redis, key: str, kind: str) -> None:
    """Put something there that is of another type than it should be; at once, since what was
    there is written again and again."""
    pipe: Any = redis.pipeline(transaction=True)
    pipe.delete(key)
    match kind:
        case "string":
            pipe.set(key, b"\xff\x00 no number")
        case "list":
            pipe.rpush(key, b"\xff", "x")
        case "hash":
            pipe.hset(key, b"\xff", "x")
        case "zset":
            pipe.zadd(key, {b"\xff": float("inf"), "x": float("-inf")})
        case _:
            pipe.sadd(key, b"\xff", "x")
    await pipe.execute()


async def look_at_everything(url: str, queue: str) -> list[AsyncqError]:
    """All that an inspector can be asked; the errors that it answered with."""
    errors: list[AsyncqError] = []

    async def ask(call: Any) -> None:
        try:
            await call
        except AsyncqError as error:
            errors.append(error)

    async with Inspector(url) as inspector:
        await ask(inspector.queues())
        await ask(inspector.queue_info(queue))
        await ask(inspector.history(queue))
        await ask(inspector.groups(queue))
        await ask(inspector.servers())
        await ask(inspector.scheduler_entries())
        for state in TaskState:
            group = "g" if state is TaskState.AGGREGATING else None
            await ask(inspector.list_tasks(queue, state, group=group))
        for task_id in ("x", "bad"):
            await ask(inspector.task_info(queue, task_id))
    return errors


@pytest.mark.parametrize("kind", ["string", "hash"])
@pytest.mark.parametrize("place", PLACES)
async def test_key_of_a_wrong_type_stops_nobody(
    place: str, kind: str, server: RedisServer, redis: Redis
) -> None:
    handled = Handled()
    async with Client(server.url) as client, a_server(server.url, handled):
        await make_foreign(redis, PLACES[place], kind)
        for queue in (GOOD,) if place in NEEDED else (GOOD, BAD):
            await client.enqueue(Task("t", f"now {queue}", queue=queue))
        await client.enqueue(Task("fails", "fails", queue=GOOD))
        await client.enqueue(Task("t", "later", queue=GOOD, process_in=1))
        await client.enqueue(Task("t", "part", queue=GOOD, group="g"))
        if place not in NEEDED | {"scheduled"}:
            await client.enqueue(Task("t", "later bad", queue=BAD, process_in=1))
            await handled.saw("later bad")
        if place not in NEEDED:
            await handled.saw(f"now {BAD}")
        await handled.saw(f"now {GOOD}", "later", "aggregated")
        await until(lambda: handled.names.count("fails") == 2)
        await look_at_everything(server.url, BAD)
        errors = await look_at_everything(server.url, GOOD)
        assert not any(isinstance(e, RedisError) for e in errors) or place in PRESENCE

        async with Doctor(server.url) as doctor:
            await doctor.examine(fix=True)
            await doctor.examine(fix=True)
            assert "type" not in {f.kind for f in (await doctor.examine()).findings}
        await client.enqueue(Task("t", "at the end", queue=BAD))
        await handled.saw("at the end")


# What is of the right type, and still nonsense

IDS = [b"\xff\xfe", b"", b"x" * 5000, b"a:b{c}\r\n", "\u00fc".encode(), b"-1", b"nan"]
TIMES = [float("inf"), float("-inf"), 0.0, -1e300, 1e300, NOW_S + 0.5, NOW_S - 1e9]
TEXTS = [b"", b"\xff\xfe", b"0", b"-1", b"1e400", b"nan", b"9" * 400, b"x" * 3_000_000]
GOOD_MESSAGE = encode_task(a_message(BAD, "x", payload=b"p" * 100, headers={"k": "v"}))


def a_bad_message(random: Random) -> bytes:
    """Cut short, changed in places, of something else, or pure noise."""
    data = bytearray(GOOD_MESSAGE)
    match random.randrange(4):
        case 0:
            return bytes(data[: random.randrange(len(data))])
        case 1:
            for _ in range(random.randrange(1, 8)):
                data[random.randrange(len(data))] = random.randrange(256)
            return bytes(data)
        case 2:
            return random.choice(TEXTS)
        case _:
            return random.randbytes(random.randrange(200))


def a_bad_hash(random: Random) -> dict[Any, Any]:
    fields: dict[Any, Any] = {b"\xff": b"\xff", "foreign": "field"}
    states = [*TaskState, "nonsense", "", b"\xff"]
    if random.random() < 0.9:
        fields["msg"] = a_bad_message(random)
    if random.random() < 0.9:
        fields["state"] = random.choice(states)
    for name in ("pending_since", "group", "unique_key", "result", "asyncq_claim", "asyncq_group",
                 "asyncq_recovered", "asyncq_waited", "asyncq_parked", "asyncq_call"):  # fmt: skip
        if random.random() < 0.3:
            fields[name] = random.choice([*TEXTS, keys.pending(BAD), keys.task(BAD, "x")])
    return fields


async def pour(redis: Redis, random: Random) -> None:
    """Nonsense under every key of a queue."""
    pipe: Any = redis.pipeline(transaction=False)
    pipe.sadd(keys.QUEUES, BAD, b"\xff", "")
    ids = [*IDS, *(f"id-{n}".encode() for n in range(40))]
    sets = [keys.aggregation_sets(BAD), keys.group(BAD, "g"), keys.pending(BAD), "", ":", b"\xff:1",
            keys.group(BAD, "g") + ":0", keys.aggregation_set(GOOD, "g", "1")]  # fmt: skip
    for id_ in ids:
        key = keys.task_prefix(BAD).encode() + id_
        pipe.delete(key)
        if random.random() < 0.8:
            pipe.hset(key, mapping=a_bad_hash(random))
        elif random.random() < 0.5:
            pipe.set(key, random.choice(TEXTS))
        for place in ("pending", "active"):
            if random.random() < 0.5:
                pipe.lpush(keys.queue_prefix(BAD) + place, id_, *([id_] * random.randrange(2)))
        for place in ("lease", "scheduled", "retry", "archived", "completed", "g:g", "g:g:0"):
            if random.random() < 0.3:
                pipe.zadd(keys.queue_prefix(BAD) + place, {id_: random.choice(TIMES)})
        pipe.zadd(keys.due(BAD), {id_: random.choice(TIMES)})
        pipe.hset(keys.parked(BAD), id_, random.choice(TEXTS))
    pipe.sadd(keys.groups(BAD), "g", "gone", b"\xff", "", "g:0")
    pipe.zadd(keys.aggregation_sets(BAD), {name: random.choice(TIMES) for name in sets})
    for counter in (keys.processed(BAD), keys.failed(BAD), keys.processed_on(BAD, TODAY)):
        pipe.set(counter, random.choice(TEXTS))
    pipe.set(keys.unique(BAD, "t", None), random.choice(TEXTS))
    for kind in (keys.SERVERS, keys.WORKERS, keys.SCHEDULERS):
        pipe.zadd(kind, {f"{kind}:{{bad}}": NOW_S + 1e6, b"\xff": NOW_S + 1e6, keys.QUEUES: 9e15})
    pipe.set("asynq:servers:{bad}", a_bad_message(random))
    pipe.hset("asynq:workers:{bad}", b"\xff", a_bad_message(random))
    pipe.rpush("asynq:schedulers:{bad}", a_bad_message(random))
    await pipe.execute()


@pytest.mark.parametrize("seed", range(4))
async def test_nonsense_under_every_key_of_a_queue_stops_nobody(
    seed: int, server: RedisServer, redis: Redis
) -> None:
    random, handled = Random(seed), Handled()
    await pour(redis, random)
    async with Client(server.url) as client, a_server(server.url, handled):
        await pour(redis, random)
        for queue in (GOOD, BAD):
            await client.enqueue(Task("t", f"now {queue}", queue=queue))
            await client.enqueue(Task("t", f"later {queue}", queue=queue, process_in=1))
        await client.enqueue(Task("fails", "fails", queue=BAD))
        await client.enqueue(Task("t", "part", queue=GOOD, group="g"))
        await handled.saw(f"now {GOOD}", f"later {GOOD}", "aggregated")
        await handled.saw(f"now {BAD}", f"later {BAD}")
        await until(lambda: handled.names.count("fails") == 2)
        await look_at_everything(server.url, BAD)
        await pour(redis, random)
        async with Doctor(server.url) as doctor:
            await doctor.examine()
            await doctor.examine(fix=True)
        await client.enqueue(Task("t", "at the end", queue=BAD))
        await handled.saw("at the end")


async def test_scheduler_whose_marks_are_nonsense_says_so_and_enqueues_the_others(
    server: RedisServer, redis: Redis
) -> None:
    scheduler = Scheduler(server.url)
    scheduler.register("@every 1s", Task("t", queue=BAD), name="bad")
    scheduler.register("@every 1s", Task("t", queue=BAD), name="foreign")
    scheduler.register("@every 1s", Task("t", queue=GOOD), name="good")
    fields: dict[Any, Any] = {"due": b"\xff", "spec": b"\xff", "token": b"", "code": "x"}
    async with scheduler:
        await until(lambda: redis.llen(keys.pending(GOOD)))
        cron = [key async for key in redis.scan_iter(f"asyncq:{{{BAD}}}:cron:*")]
        assert len(cron) == 2
        await redis.hset(cron[0], mapping=fields)
        await redis.set(cron[1], "foreign")
        before = await redis.llen(keys.pending(GOOD))

        async def goes_on() -> bool:
            return bool(await redis.llen(keys.pending(GOOD)) > before + 1)

        await until(goes_on)
    await look_at_everything(server.url, BAD)


async def test_huge_payload_is_handled_and_shown(server: RedisServer, redis: Redis) -> None:
    handled = Handled()
    async with Client(server.url) as client:
        await client.enqueue(Task("t", b"x" * 20_000_000, queue=BAD))
        await client.enqueue(Task("t", "small", queue=BAD))
        async with Inspector(server.url) as inspector, Doctor(server.url) as doctor:
            (one, two) = await inspector.list_tasks(BAD, "pending")
            assert (len(one.payload), two.payload) == (20_000_000, b"small")
            assert not [f for f in (await doctor.examine()).findings if f.kind == "unreadable"]
        async with a_server(server.url, handled):
            await handled.saw("small", "x" * 20_000_000)


VERY_LONG_S = 900
VERY_MANY = pytest.mark.parametrize(
    "count", [20_000, pytest.param(1_000_000, marks=pytest.mark.campaign)]
)


async def fill_group(redis: Redis, count: int, *, ghosts: bool) -> None:
    """Many entries in group `g`, of tasks or of none."""
    message = encode_task(a_message(BAD, "part", payload=b"part", group_key="g"))
    for first in range(0, count, 2000):
        pipe: Any = redis.pipeline(transaction=False)
        ids = [f"id-{n}" for n in range(first, min(first + 2000, count))]
        pipe.zadd(keys.group(BAD, "g"), dict.fromkeys(ids, 1))
        for task_id in () if ghosts else ids:
            fields: dict[Any, Any] = {"msg": message, "state": "aggregating", "group": "g"}
            pipe.hset(keys.task(BAD, task_id), mapping=fields)
        await pipe.execute()
    await redis.sadd(keys.groups(BAD), "g")
    await redis.sadd(keys.QUEUES, BAD)


@VERY_MANY
@pytest.mark.parametrize("overdue", [False, True], ids=["group", "overdue set"])
async def test_very_many_entries_without_tasks_hold_up_nobody(
    count: int, overdue: bool, server: RedisServer, redis: Redis
) -> None:
    handled = Handled()
    await fill_group(redis, count, ghosts=True)
    await put(redis, BAD, "aggregating", {"real": 2}, group="g")
    if overdue:
        key = keys.aggregation_set(BAD, "g", "0")
        await redis.rename(keys.group(BAD, "g"), key)
        await redis.zadd(keys.aggregation_sets(BAD), {key: 1})
    async with Client(server.url) as client, a_server(server.url, handled):
        await client.enqueue(Task("t", "now", queue=BAD))
        await handled.saw("now")
        await handled.saw("aggregated", longest_s=VERY_LONG_S)
    assert not await redis.exists(keys.group(BAD, "g"), keys.aggregation_sets(BAD))


@VERY_MANY
async def test_very_many_tasks_of_a_group_are_aggregated_some_thousands_at_a_time(
    count: int, server: RedisServer, redis: Redis
) -> None:
    handled = Handled()
    await fill_group(redis, count, ghosts=False)
    async with a_server(server.url, handled):
        sets = count / MOST_IN_SET
        await until(
            lambda: len(handled.names) == sets, lambda: handled.names, longest_s=VERY_LONG_S
        )
    assert set(handled.names) == {"aggregated"}
    assert await redis.keys(f"asynq:{{{BAD}}}:t:*") == []


@VERY_MANY
async def test_very_many_entries_of_a_group_are_counted_moved_and_put_right(
    count: int, server: RedisServer, redis: Redis
) -> None:
    of_group = ("-q", BAD, "-s", "aggregating", "-g", "g", "--json")
    for command, state in (("runall", "pending"), ("archiveall", "archived"), ("deleteall", None)):
        await redis.flushall()
        await fill_group(redis, count, ghosts=False)
        (group,) = (await operated(server, "group", "ls", "-q", BAD, "--json")).json
        assert group["size"] == count
        assert len((await operated(server, "task", "ls", *of_group)).json) == 30
        flags = ("--yes",) if command == "deleteall" else ()
        assert (await operated(server, "task", command, *of_group, *flags)).json["count"] == count
        async with Inspector(server.url) as inspector:
            info = await inspector.queue_info(BAD)
        assert info.size == (count if state else 0)
        assert state is None or getattr(info, state) == count
    await redis.flushall()
    await fill_group(redis, count, ghosts=True)
    assert (await operated(server, "task", "ls", *of_group)).json == []
    async with Doctor(server.url) as doctor:
        (ghosts,) = [f for f in (await doctor.examine(fix=True)).findings if f.kind == "ghost"]
    assert (ghosts.count, ghosts.fixed) == (count, count)
    assert not await redis.exists(keys.group(BAD, "g"))


# Groups and sets that are not what they should be

NAMES = [b"g", b":", b"a:b", b"g:0", b"a\r\nb", b"{x}", b"*?[", "\u00fc".encode(), b"x" * 3000]
NO_NAME = b"\xff\xfe"


async def pour_groups(redis: Redis) -> set[str]:
    """Groups of odd names, of tasks of other groups and of none, and aggregation sets that have
    each other and themselves in them. The ids of their tasks."""
    pipe: Any = redis.pipeline(transaction=True)
    prefix = keys.group_prefix(BAD).encode()
    pipe.sadd(keys.QUEUES, BAD)
    tasks: set[str] = set()
    for n, name in enumerate([*NAMES, b"", NO_NAME]):
        said = name.decode() if name in NAMES else "g"
        for id_, told in ((f"right-{n}", name), (f"elsewhere-{n}", b"elsewhere")):
            message = encode_task(a_message(BAD, id_, payload=id_.encode(), group_key=said))
            fields = {"msg": message, "state": "aggregating", "group": told}
            pipe.hset(keys.task(BAD, id_), mapping=fields)
            pipe.zadd(prefix + name, {id_: 1, f"none-{n}": 1, prefix + name: 1})
            tasks.add(id_)
        pipe.sadd(keys.groups(BAD), name)
    one, other = (keys.aggregation_set(BAD, "s", n) for n in "12")
    for set_, another in ((one, other), (other, one)):
        message = encode_task(a_message(BAD, "shared", payload=b"shared", group_key="s"))
        fields = {"msg": message, "state": "aggregating", "group": b"s"}
        pipe.hset(keys.task(BAD, "shared"), mapping=fields)
        pipe.zadd(set_, {"shared": 1, set_: 1, another: 1, keys.aggregation_sets(BAD): 1})
    sets = [one, other, keys.aggregation_sets(BAD), f"{one}:1", keys.group(BAD, "not-there")]
    pipe.zadd(keys.aggregation_sets(BAD), dict.fromkeys(sets, 1))
    await pipe.execute()
    return tasks | {"shared"}


@pytest.mark.parametrize("doctor_first", [False, True])
async def test_tasks_of_odd_and_entangled_groups_are_aggregated(
    doctor_first: bool, server: RedisServer, redis: Redis
) -> None:
    aggregated: set[str] = set()

    async def aggregate(group: str, tasks: list[Task]) -> Task:
        aggregated.update(task.payload.decode() for task in tasks)
        return Task("t", "aggregated")

    tasks, last = await pour_groups(redis), len(NAMES) + 1
    await look_at_everything(server.url, BAD)
    assert (await operated(server, "group", "ls", "-q", BAD)).rows
    await operated(server, "task", "ls", "-q", BAD, "-s", "aggregating", "-g", "a:b")
    if doctor_first:
        async with Doctor(server.url) as doctor:
            kinds = {found.kind for found in (await doctor.examine(fix=True)).findings}
            assert {"nameless-groups", "ghost"} <= kinds
            await doctor.examine(fix=True)  # a task of two groups is found in the one, then in both
            left = (await doctor.examine()).findings
        assert [f.kind for f in left if f.where == BAD] == ["nameless-groups"]
    config = ServerConfig(
        queues={BAD: 1}, group=GroupConfig(aggregator=aggregate, grace_period=1), janitor_interval=1
    )
    async with Server(server.url, Handled(), config, _timing=fast()):
        for_a_person = {f"right-{last}", f"elsewhere-{last}"}
        await until(lambda: tasks - aggregated <= for_a_person, lambda: tasks - aggregated)
