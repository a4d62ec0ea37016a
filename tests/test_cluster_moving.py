"""While the slot of a queue is moved to another node of a cluster, key by key, nothing that is on
the one node is taken for gone on the other."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
from redis.asyncio import Redis
from redis_servers import RedisServer, connect
from redis_topologies import RedisCluster, redis_cluster, say
from stored import a_message, new, put_active, snapshot

from asyncq import RedisReplyError
from asyncq._broker import keys
from asyncq._broker.aggregation import Aggregation
from asyncq._broker.broker import Broker
from asyncq._broker.codec import encode_task
from asyncq._broker.connection import Connection
from asyncq._broker.examination import Examination
from asyncq._broker.maintenance import Maintenance, Recovery
from asyncq._broker.message import Leased
from asyncq._broker.outcome import Done
from asyncq._clock import Clock
from asyncq.doctor import Doctor

CLAIM = "claim"


@pytest.fixture
def cluster() -> Iterator[RedisCluster]:
    with redis_cluster() as cluster:
        yield cluster


@pytest.fixture
async def connection(cluster: RedisCluster) -> AsyncIterator[Connection]:
    connection = Connection.open(cluster.url)
    yield connection
    await connection.aclose()


async def fill(redis: Redis, queue: str) -> None:
    """A task for every place, each due for whoever looks there, and all the keys of a queue."""
    places = {
        "completed": keys.completed(queue),
        "archived": keys.archived(queue),
        "scheduled": keys.scheduled(queue),
        "retry": keys.retry(queue),
    }
    for state, zset in places.items():
        await store(redis, queue, state)
        await redis.zadd(zset, {state: 1})
    await put_active(redis, a_message(queue, "active"), 1, claim=CLAIM)
    await store(redis, queue, "aggregating")
    set_key = keys.aggregation_set(queue, "g", "id")
    await redis.zadd(set_key, {"aggregating": 1})
    await redis.zadd(keys.aggregation_sets(queue), {set_key: 1})
    await store(redis, queue, "pending")
    await redis.lpush(keys.pending(queue), "pending")
    await redis.set(keys.unique(queue, "t", b""), "pending")
    await redis.sadd(keys.groups(queue), "other")
    await redis.zadd(keys.due(queue), {"nobody": 10**15})
    await redis.hset(keys.parked(queue), "nobody", "for a reason")
    await redis.set(keys.forwarder(queue), "nobody")
    for counter in (keys.processed, keys.failed):
        await redis.set(counter(queue), 0)
    day = time.strftime("%Y-%m-%d", time.gmtime())
    for counter_on in (keys.processed_on, keys.failed_on):
        await redis.set(counter_on(queue, day), 0)


async def store(redis: Redis, queue: str, state: str) -> None:
    fields: dict[Any, Any] = {"msg": encode_task(a_message(queue, state)), "state": state}
    await redis.hset(keys.task(queue, state), mapping=fields)


class Move:
    """The slot of a queue under way to another node."""

    def __init__(self, cluster: RedisCluster, queue: str) -> None:
        self._cluster = cluster
        self._key = keys.pending(queue)
        self.source = cluster.owner(self._key)
        self.target = next(node for node in cluster.nodes if node is not self.source)

    def begin(self) -> None:
        say(self.target, "CLUSTER", "SETSLOT", self._slot(), "IMPORTING", self._id(self.source))
        say(self.source, "CLUSTER", "SETSLOT", self._slot(), "MIGRATING", self._id(self.target))

    def take(self, wanted: Callable[[str], bool]) -> None:
        """Some of the keys go over."""
        found: list[str] = say(self.source, "CLUSTER", "GETKEYSINSLOT", self._slot(), 1000)
        for key in filter(wanted, found):
            say(self.source, "MIGRATE", "127.0.0.1", self.target.port, key, 0, 5000)

    def end(self) -> None:
        """All that is left goes over, and all nodes are told."""
        self.take(lambda key: True)
        for node in (self.target, *(n for n in self._cluster.nodes if n is not self.target)):
            say(node, "CLUSTER", "SETSLOT", self._slot(), "NODE", self._id(self.target))

    def _slot(self) -> int:
        slot: int = say(self.source, "CLUSTER", "KEYSLOT", self._key)
        return slot

    def _id(self, node: RedisServer) -> str:
        return self._cluster.id_of(node)


def operations(connection: Connection, queue: str) -> dict[str, Callable[[], Awaitable[Any]]]:
    """What workers and producers do to a queue by themselves, and a doctor to its locks."""
    clock = Clock()
    broker, aggregation = Broker(connection, clock), Aggregation(connection, clock)
    maintenance = Maintenance(connection, clock)
    examination = Examination(connection, clock)
    message, lock = a_message(queue, "active"), keys.unique(queue, "t", b"").encode()
    return {
        "enqueue": lambda: broker.enqueue([new(a_message(queue, "new"))]),
        "dequeue": lambda: broker.dequeue([(queue, 10)], "other"),
        "settle": lambda: broker.settle([Done(Leased(message, CLAIM, 0))]),
        "extend": lambda: broker.extend_leases(queue, [("active", CLAIM)]),
        "forward": lambda: maintenance.forward(queue, "nobody", 1),
        "list expired": lambda: maintenance.list_expired(queue),
        "recover": lambda: maintenance.recover(
            queue, [Recovery("restart", queue, "active", CLAIM, message)]
        ),
        "delete expired": lambda: maintenance.delete_expired(queue, 100),
        "trim archive": lambda: maintenance.trim_archive(queue, max_age_s=1, max_size=1, limit=100),
        "reclaim": lambda: aggregation.reclaim(queue),
        "give up locks": lambda: examination.locks(queue, [lock], give_up=True),
    }


async def refused(operation: Callable[[], Awaitable[Any]]) -> bool:
    """Whether an operation, or each of its parts, was put off."""
    try:
        answers = await operation()
    except RedisReplyError as error:
        return error.passing
    return isinstance(answers, list) and all(
        isinstance(answer, RedisReplyError) and answer.passing for answer in answers
    )


@pytest.mark.parametrize("tasks_first", [False, True], ids=["tasks last", "tasks first"])
async def test_nothing_is_done_to_a_queue_that_is_on_two_nodes(
    tasks_first: bool, cluster: RedisCluster, connection: Connection, queue: str
) -> None:
    move = Move(cluster, queue)
    async with connect(move.source.url) as redis:
        await fill(redis, queue)
        before = await snapshot(redis, queue)
    move.begin()
    move.take(lambda key: (":t:" in key) == tasks_first)
    for name, operation in operations(connection, queue).items():
        assert await refused(operation), name
    move.end()
    async with connect(move.target.url) as redis:
        assert await snapshot(redis, queue) == before
        # And then all of it is.
        assert await Maintenance(connection, Clock()).delete_expired(queue, 100) == 1
        assert await redis.exists(keys.task(queue, "completed"), keys.completed(queue)) == 0


async def test_doctor_leaves_a_queue_alone_that_is_on_two_nodes(
    cluster: RedisCluster, queue: str
) -> None:
    move = Move(cluster, queue)
    async with connect(move.source.url) as redis:
        await fill(redis, queue)
        before = await snapshot(redis, queue)
    move.begin()
    move.take(lambda key: ":t:" in key)
    async with Doctor(cluster.url) as doctor:
        found = (await doctor.examine(fix=True)).findings
        assert [f.kind for f in found if f.where == queue] == ["moving"]
        move.end()
        async with connect(move.target.url) as redis:
            assert await snapshot(redis, queue) == before
            await doctor.examine(fix=True)
            assert await redis.get(keys.unique(queue, "t", b"")) == b"pending"
        found = (await doctor.examine()).findings
    assert "moving" not in {f.kind for f in found}
