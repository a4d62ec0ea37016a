"""An enqueue that replicas acknowledged survives the loss of its master, by Sentinel or Cluster."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis_servers import RedisServer, default_variant
from redis_topologies import (
    RedisCluster,
    RedisWithSentinel,
    redis_with_sentinel,
    say,
    wait_until,
)
from replicated import cluster_with_a_replica, state_of
from waiting import soon, until

from asyncq import (
    Client,
    EnqueueError,
    Inspector,
    NotReplicatedError,
    RedisError,
    Replicas,
    Task,
    TaskInfo,
)
from asyncq._broker import keys

PATIENT = Replicas(1, timeout=600)


@pytest.fixture
def with_sentinel() -> Iterator[RedisWithSentinel]:
    with redis_with_sentinel(default_variant()) as servers:
        yield servers


class Stream:
    """Producers that enqueue one task after the other, and what became of each."""

    def __init__(self, client: Client, queue: str, wait: Replicas) -> None:
        self.acknowledged: list[TaskInfo] = []
        self.failures: Counter[type[Exception]] = Counter()
        self._client = client
        self._queue = queue
        self._wait = wait

    async def run(self) -> None:
        while True:
            try:
                info = await self._client.enqueue(
                    Task("t", queue=self._queue), wait_replicas=self._wait
                )
            except (EnqueueError, RedisError) as error:
                self.failures[type(error)] += 1
                await asyncio.sleep(0.01)
            else:
                self.acknowledged.append(info)

    async def grows(self) -> None:
        """Returns when more tasks were acknowledged than now."""
        before = len(self.acknowledged)
        await until(lambda: len(self.acknowledged) > before + 50, lambda: self.failures)


async def test_no_acknowledged_task_is_lost_when_sentinel_fails_over_a_killed_master(
    with_sentinel: RedisWithSentinel, queue: str
) -> None:
    master, replica = with_sentinel.servers
    async with Client(with_sentinel.url) as client, asyncio.TaskGroup() as group:
        stream = Stream(client, queue, Replicas(1, timeout=0.5))
        producers = [group.create_task(stream.run()) for _ in range(20)]
        await stream.grows()
        master.kill()
        await asyncio.to_thread(
            wait_until, "it is the master", lambda: say(replica, "ROLE")[0] == "master"
        )
        # It has no replica, and says so for every task.
        await until(lambda: stream.failures[NotReplicatedError])
        for producer in producers:
            producer.cancel()
    stored = set(say(replica, "LRANGE", keys.pending(queue), 0, -1))
    lost = [info.id for info in stream.acknowledged if info.id not in stored]
    assert not lost


async def test_tasks_go_on_being_acknowledged_after_a_failover_that_sentinel_was_asked_for(
    with_sentinel: RedisWithSentinel, queue: str
) -> None:
    async with Client(with_sentinel.url) as client, asyncio.TaskGroup() as group:
        stream = Stream(client, queue, Replicas(1, timeout=0.5))
        producers = [group.create_task(stream.run()) for _ in range(20)]
        for _ in range(2):  # there and back
            await stream.grows()
            await asyncio.to_thread(with_sentinel.fail_over)
        await stream.grows()
        for producer in producers:
            producer.cancel()
    for server in with_sentinel.servers:
        stored = set(say(server, "LRANGE", keys.pending(queue), 0, -1))
        assert not [info.id for info in stream.acknowledged if info.id not in stored]


async def test_task_that_only_the_lost_master_had_was_not_acknowledged(
    with_sentinel: RedisWithSentinel, queue: str
) -> None:
    master, replica = with_sentinel.servers
    async with Client(with_sentinel.url) as client:
        safe = await client.enqueue(Task("safe", queue=queue), wait_replicas=PATIENT)
        replica.pause()
        unsafe = asyncio.create_task(
            client.enqueue(Task("t", queue=queue, task_id="unsafe"), wait_replicas=PATIENT)
        )
        await until(lambda: state_of(master, queue, "unsafe"))
        master.kill()
        with pytest.raises((EnqueueError, RedisError)):
            await soon(unsafe)
        replica.resume()
        await asyncio.to_thread(
            wait_until, "it is the master", lambda: say(replica, "ROLE")[0] == "master"
        )
    assert state_of(replica, queue, safe.id) == "pending"


# ---- Cluster ----


@pytest.fixture
def cluster() -> Iterator[tuple[RedisCluster, RedisServer]]:
    with cluster_with_a_replica(default_variant()) as servers:
        yield servers


def queues_by_node(cluster: RedisCluster, queue: str) -> list[str]:
    """A queue for each master."""
    found: dict[Path, str] = {}
    n = 0
    while len(found) < len(cluster.nodes):
        owner = cluster.owner(keys.pending(f"{queue}-{n}"))
        found.setdefault(owner.directory, f"{queue}-{n}")
        n += 1
    return [found[node.directory] for node in cluster.nodes]


async def test_each_task_waits_for_replicas_of_its_own_node(
    cluster: tuple[RedisCluster, RedisServer], queue: str
) -> None:
    servers, replica = cluster
    with_replica, *without = queues_by_node(servers, queue)
    names = [with_replica, *without] * 20
    tasks = [Task("t", queue=name) for name in names]
    async with Client(servers.url) as client:
        info = await client.enqueue(Task("t", queue=with_replica), wait_replicas=PATIENT)
        assert on_replica(replica, with_replica, info.id) == "pending"
        await client.enqueue_many([Task("t", queue=with_replica)] * 1200, wait_replicas=PATIENT)

        async def kinds() -> dict[str, set[type[object]]]:
            results = await client.enqueue_many(
                tasks, wait_replicas=Replicas(1, timeout=0.2), return_exceptions=True
            )
            found: dict[str, set[type[object]]] = {}
            for name, result in zip(names, results, strict=True):
                found.setdefault(name, set()).add(type(result))
            return found

        async def each_its_own() -> bool:
            found = await kinds()
            with_its_own = found.pop(with_replica)
            assert found == {name: {NotReplicatedError} for name in without}
            return with_its_own == {TaskInfo}

        # On a busy machine the replica is late, too, now and then.
        await until(each_its_own)


async def test_nobody_waits_for_replicas_of_the_node_with_the_list_of_queues(
    queue: str,
) -> None:
    with cluster_with_a_replica(default_variant(), of=1) as (servers, replica):
        assert servers.owner(keys.QUEUES) is not servers.nodes[1]
        _, name, _ = queues_by_node(servers, queue)
        async with Client(servers.url) as client, Inspector(client) as inspector:
            info = await soon(client.enqueue(Task("t", queue=name), wait_replicas=PATIENT))
            assert on_replica(replica, name, info.id) == "pending"
            assert await inspector.queues() == [name]


async def test_no_acknowledged_task_is_lost_when_a_node_of_a_cluster_is_killed(
    cluster: tuple[RedisCluster, RedisServer], queue: str
) -> None:
    servers, replica = cluster
    name, *_ = queues_by_node(servers, queue)
    async with Client(servers.url) as client, asyncio.TaskGroup() as group:
        stream = Stream(client, name, Replicas(1, timeout=0.5))
        producers = [group.create_task(stream.run()) for _ in range(20)]
        await stream.grows()
        servers.nodes[0].kill()
        await asyncio.to_thread(
            wait_until, "it is a master", lambda: say(replica, "ROLE")[0] == "master"
        )
        await until(lambda: stream.failures[NotReplicatedError])
        for producer in producers:
            producer.cancel()
    stored = set(say(replica, "LRANGE", keys.pending(name), 0, -1))
    assert not [info.id for info in stream.acknowledged if info.id not in stored]


async def test_acknowledgement_that_outlives_its_master_is_not_believed(
    cluster: tuple[RedisCluster, RedisServer], queue: str
) -> None:
    """The master drops the task when it follows the one that took over, and is made a master again
    while WAIT still waits: Valkey 9.1 then compares offsets of two histories."""
    servers, replica = cluster
    master, *_ = servers.nodes
    name, *_ = queues_by_node(servers, queue)
    async with Client(servers.url) as client:
        await client.enqueue(Task("t", queue=name), wait_replicas=PATIENT)
        replica.pause()
        say(master, "CLIENT", "KILL", "TYPE", "replica")  # it shall not get what comes now
        call = client.enqueue(Task("t", queue=name, task_id="dropped"), wait_replicas=PATIENT)
        waiting = asyncio.create_task(call)
        await until(lambda: state_of(master, name, "dropped"))
        master.pause()
        replica.resume()
        await asyncio.to_thread(_take_over, replica)
        for n in range(20):  # the new history shall be longer than the old one
            say(replica, "SET", f"{{{name}}}{n}", "x" * 1000)
        master.resume()
        await asyncio.to_thread(
            wait_until, "it follows", lambda: say(master, "ROLE")[3:4] == ["connected"]
        )
        await asyncio.to_thread(_take_over, master)
        info = await soon(waiting)
    assert state_of(master, name, info.id) == "pending"
    assert on_replica(replica, name, info.id) == "pending"


def _take_over(replica: RedisServer) -> None:
    wait_until("it may", lambda: say(replica, "CLUSTER", "FAILOVER", "TAKEOVER") == "OK")
    wait_until("it is a master", lambda: say(replica, "ROLE")[0] == "master")


def on_replica(replica: RedisServer, queue: str, task_id: str) -> object:
    """As `state_of`, of a node that sends to its master all who do not ask for its own word."""
    with redis.Redis(
        unix_socket_path=str(replica.socket), decode_responses=True, single_connection_client=True
    ) as client:
        client.execute_command("READONLY")
        return client.hget(keys.task(queue, task_id), "state")
