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
from placed import NOW_S, put
from redis.asyncio import Redis
from redis_servers import RedisServer
from serving import fast
from stored import a_message
from waiting import until

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

    async def saw(self, *names: str) -> None:
        await until(lambda: set(names) <= set(self.names), lambda: f"{names} in {self.names}")


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


async def test_group_of_a_hundred_thousand_entries_holds_up_nobody(
    server: RedisServer, redis: Redis
) -> None:
    handled = Handled()
    pipe: Any = redis.pipeline(transaction=False)
    for first in range(0, 100_000, 1000):
        pipe.zadd(keys.group(BAD, "g"), {f"ghost-{n}": 1 for n in range(first, first + 1000)})
    pipe.sadd(keys.groups(BAD), "g")
    await pipe.execute()
    await put(redis, BAD, "aggregating", {"real": 1}, group="g")
    async with Client(server.url) as client, a_server(server.url, handled):
        await client.enqueue(Task("t", "now", queue=BAD))
        await handled.saw("now", "aggregated")
