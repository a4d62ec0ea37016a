"""A Redis that restarts, forgets, pauses or refuses under load: every task is accounted for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest
from load import Account, Load
from redis.asyncio import Redis
from redis_servers import RedisServer, connect
from standing import until

Summary = Callable[[str, object], None]
Started = Callable[..., RedisServer]


@dataclass(frozen=True, slots=True)
class Place:
    """A Redis of the test's own, and a client that no disturbance of clients hits."""

    server: RedisServer
    redis: Redis
    queue: str


@pytest.fixture
async def place(start_redis: Started, queue: str) -> AsyncIterator[Place]:
    # Written through before each reply: what Redis acknowledged it knows after a crash.
    server = start_redis(persistent=True, args=["--appendfsync", "always"])
    async with connect(server.url) as redis:
        yield Place(server, redis, queue)


def nothing_was_lost(account: Account) -> None:
    """No lease had to run out, every attempt was acknowledged once, and none ran twice but those
    whose enqueue was sent again after they were done."""
    assert account.lost == account.handled_though_refused == 0, str(account)
    assert account.standing.failed == account.standing.archived == 0, str(account)
    assert account.standing.processed == account.attempts, str(account)
    assert account.twice == account.twice_sent_again, str(account)


@pytest.mark.parametrize("times", [4, pytest.param(20, marks=pytest.mark.campaign)])
async def test_restarts_under_load_lose_nothing(
    times: int, place: Place, record_property: Summary
) -> None:
    async with Load(place.server.url, place.queue) as load:
        for n in range(times):
            await load.goes_on()
            await asyncio.to_thread(place.server.restart, kill=n % 2 == 1)
        await load.goes_on()
    async with connect(place.server.url) as redis:
        account = await load.account(redis)
    nothing_was_lost(account)
    record_property("summary", f"Redis restarted {times} times (half by SIGKILL): {account}")


async def test_connections_killed_under_load_lose_nothing(
    place: Place, record_property: Summary
) -> None:
    times = 20
    async with Load(place.server.url, place.queue) as load:
        for _ in range(times):
            await load.goes_on(300)
            for kind in ("NORMAL", "PUBSUB"):
                await place.redis.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "YES")  # type: ignore[no-untyped-call]  # redis-py's
        await load.goes_on()
    account = await load.account(place.redis)
    nothing_was_lost(account)
    record_property("summary", f"CLIENT KILL of all connections, {times} times: {account}")


async def test_scripts_flushed_under_load_lose_nothing(
    place: Place, record_property: Summary
) -> None:
    times = 50
    async with Load(place.server.url, place.queue) as load:
        for _ in range(times):
            await load.goes_on(100)
            await place.redis.script_flush()
        await load.goes_on()
    account = await load.account(place.redis)
    nothing_was_lost(account)
    assert account.twice == account.sent_again == account.refused == 0
    record_property("summary", f"SCRIPT FLUSH {times} times: {account}")


# What is sent while Redis pauses is executed afterwards, also what was given up after 5 s.
@pytest.mark.parametrize("seconds", [3, pytest.param(8, marks=pytest.mark.campaign)])
async def test_paused_clients_lose_nothing(
    seconds: int, place: Place, record_property: Summary
) -> None:
    async with Load(place.server.url, place.queue) as load:
        await load.goes_on()
        await place.redis.client_pause(seconds * 1000)
        await load.goes_on()
    account = await load.account(place.redis)
    nothing_was_lost(account)
    record_property("summary", f"CLIENT PAUSE {seconds} s: {account}")


async def test_full_memory_refuses_tasks_and_loses_none(
    place: Place, record_property: Summary
) -> None:
    async with Load(place.server.url, place.queue) as load:
        await load.goes_on()
        await place.redis.config_set("maxmemory", "1mb")
        await until(lambda: load.refused > 50)
        await place.redis.config_set("maxmemory", "0")
        await load.goes_on()
    account = await load.account(place.redis)
    nothing_was_lost(account)
    record_property("summary", f"memory full, then free: {account}")


async def test_master_that_is_a_replica_for_a_while_loses_nothing(
    place: Place, record_property: Summary
) -> None:
    async with Load(place.server.url, place.queue) as load:
        await load.goes_on()
        await place.redis.execute_command("REPLICAOF", "127.0.0.1", "1")  # type: ignore[no-untyped-call]  # redis-py's
        await until(lambda: load.refused > 50)
        await place.redis.execute_command("REPLICAOF", "NO", "ONE")  # type: ignore[no-untyped-call]  # redis-py's
        await load.goes_on()
    account = await load.account(place.redis)
    nothing_was_lost(account)
    record_property("summary", f"read-only for a while: {account}")
