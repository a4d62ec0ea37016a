"""What a doctor says of a server: its settings, its condition, and who may do what there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from placed import put
from redis.asyncio import Redis
from redis_servers import RedisServer
from redis_topologies import redis_cluster, redis_with_sentinel, say

from asyncq._broker import keys
from asyncq._broker.vitals import Vitals
from asyncq._clock import Clock
from asyncq.doctor import Doctor
from asyncq.doctor.finding import Findings
from asyncq.doctor.settings import judge

SAFE = {"role": "master", "redis_version": "7.2.4", "aof_enabled": "1", "maxmemory": "0"}
SETTINGS = {"appendfsync": "always", "save": "", "timeout": "0", "maxclients": "10000"}


def judged(info: dict[str, str], settings: dict[str, str]) -> dict[str, str]:
    found = Findings()
    judge(Vitals("here", SAFE | info, SETTINGS | settings), found)
    return {finding.kind: finding.what for finding in found.list()}


@pytest.fixture
def server(start_redis: Callable[..., RedisServer]) -> RedisServer:
    return start_redis(tcp=True)


@pytest.fixture
async def redis(server: RedisServer) -> AsyncIterator[Redis]:
    async with server.client() as client:
        yield client


async def kinds(url: str, clock: Clock | None = None) -> dict[str, str]:
    async with Doctor(url, _clock=clock) as doctor:
        diagnosis = await doctor.examine()
    return {finding.kind: finding.what for finding in diagnosis.findings}


def test_safe_settings_are_not_spoken_of() -> None:
    assert judged({}, {}) == {}


@pytest.mark.parametrize(
    ("kind", "info", "settings"),
    [
        ("eviction", {"maxmemory_policy": "allkeys-lru"}, {}),
        ("evicted", {"evicted_keys": "3"}, {}),
        ("memory-full", {"maxmemory": "100", "used_memory": "96"}, {}),
        ("memory-near", {"maxmemory": "100", "used_memory": "85"}, {}),
        ("no-persistence", {"aof_enabled": "0"}, {}),
        ("snapshots-only", {"aof_enabled": "0"}, {"save": "3600 1"}),
        ("appendfsync-no", {}, {"appendfsync": "no"}),
        ("appendfsync-everysec", {}, {"appendfsync": "everysec"}),
        ("disk", {"aof_last_write_status": "err"}, {}),
        ("loading", {"loading": "1"}, {}),
        ("replica", {"role": "slave"}, {}),
        ("failover", {"connected_slaves": "2"}, {"min-replicas-to-write": "0"}),
        ("old-server", {"redis_version": "6.0.16"}, {}),
        ("old-server", {"redis_version": "7.2.4", "valkey_version": "7.1.0"}, {}),
        ("timeout", {}, {"timeout": "10"}),
        ("connections", {"connected_clients": "9500"}, {}),
    ],
)
def test_setting_that_endangers_tasks_is_said(
    kind: str, info: dict[str, str], settings: dict[str, str]
) -> None:
    assert list(judged(info, settings)) == [kind]


def test_numbers_stand_in_the_sentence() -> None:
    said = judged({"maxmemory": "100", "used_memory": "96", "evicted_keys": "7"}, {})
    assert "96 %" in said["memory-full"]
    assert "7 keys" in said["evicted"]


@pytest.mark.every_redis
async def test_settings_are_read_from_a_live_server(server: RedisServer, redis: Redis) -> None:
    await redis.config_set("appendonly", "yes")
    await redis.config_set("appendfsync", "always")
    assert await kinds(server.url) == {}
    await redis.config_set("appendonly", "no")
    await redis.config_set("maxmemory-policy", "allkeys-lru")
    await redis.config_set("timeout", "20")
    assert (await kinds(server.url)).keys() == {"no-persistence", "eviction", "timeout"}


async def test_settings_that_may_not_be_read_are_judged_from_what_can(
    server: RedisServer,
) -> None:
    say(server, *"ACL SETUSER u on >p ~* &* +@all -config -acl".split())
    url = server.url.replace("//", "//u:p@")
    said = await kinds(url)
    assert said.keys() == {"no-persistence", "settings-unseen"}
    assert "NOPERM" in said["settings-unseen"]


async def test_right_that_a_worker_lacks_is_named(server: RedisServer, redis: Redis) -> None:
    if int((await redis.info("server"))["redis_version"].split(".")[0]) < 7:
        pytest.skip("ACL DRYRUN came with Redis 7")
    say(server, *"ACL SETUSER u on >p ~* &* +@all -blmove".split())
    said = await kinds(server.url.replace("//", "//u:p@"))
    assert "blmove" in said["rights"]
    assert "User u" in said["rights"]


async def test_clocks_that_differ_are_said(server: RedisServer) -> None:
    clock = Clock()

    class Fast(Clock):
        def now(self) -> float:
            return super().now() + 60

    assert "clocks" not in await kinds(server.url, clock)
    assert "60 s" in (await kinds(server.url, Fast()))["clocks"]


async def test_replica_is_named_as_what_it_is() -> None:
    with redis_with_sentinel() as topology:
        assert "failover" in await kinds(topology.url)
        replica = next(s for s in topology.servers if s is not topology.master)
        assert "replica" in await kinds(replica.url)


async def test_all_masters_of_a_cluster_are_looked_at() -> None:
    with redis_cluster() as cluster:
        queues = [f"q{n}" for n in range(12)]
        for queue in queues:
            async with cluster.owner(keys.pending(queue)).client() as redis:
                pipe: Any = redis.pipeline(transaction=False)
                pipe.lpush(keys.pending(queue), "ghost")
                await pipe.execute()
        say(cluster.nodes[1], "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        async with Doctor(cluster.url) as doctor:
            diagnosis = await doctor.examine(fix=True)
            ghosts = [f for f in diagnosis.findings if f.kind == "ghost"]
            assert sorted(f.where for f in ghosts) == sorted(queues)
            assert all(f.fixed == 1 for f in ghosts)
            (eviction,) = [f for f in diagnosis.findings if f.kind == "eviction"]
            assert eviction.where.endswith(str(cluster.nodes[1].port))
            assert not [f for f in (await doctor.examine()).findings if f.kind == "ghost"]


async def test_wrong_type_of_a_list_of_all_queues_is_set_aside_in_a_cluster() -> None:
    with redis_cluster() as cluster:
        async with cluster.owner(keys.QUEUES).client() as redis:
            await redis.set(keys.QUEUES, "foreign")
        async with Doctor(cluster.url) as doctor:
            await doctor.examine(fix=True)
            kinds = {f.kind for f in (await doctor.examine()).findings}
    assert "type" not in kinds
    assert "aside" in kinds


async def test_examination_of_a_queue_put_in_place_says_nobody_works_on_it(
    server: RedisServer, redis: Redis
) -> None:
    await put(redis, "q", "pending", ["a"])
    assert "nobody" in await kinds(server.url)
