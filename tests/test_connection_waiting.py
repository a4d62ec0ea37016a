"""Connections that wait: on a list, on channels; and the one for a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from redis_servers import RedisServer
from test_connection import ECHO, fresh, opened, until_blocked

from asyncq._broker import waiting
from asyncq._broker.connection import Call, Connection, Listener, Waiter
from asyncq.errors import RedisReplyError, RedisUnavailableError


@pytest.fixture
async def connection(redis_url: str) -> AsyncIterator[Connection]:
    async with opened(redis_url) as connection:
        yield connection


@pytest.fixture
async def waiter(connection: Connection) -> AsyncIterator[Waiter]:
    waiter = connection.waiter()
    yield waiter
    await waiter.aclose()


@pytest.fixture
async def listener(connection: Connection) -> AsyncIterator[Listener]:
    listener = connection.listener()
    yield listener
    await listener.aclose()


# ---- waiters ----


@pytest.mark.every_redis
async def test_waiter_is_woken_by_a_push_and_changes_nothing(
    start_redis: Callable[..., RedisServer],
) -> None:
    server = start_redis()
    async with opened(server.url) as connection:
        waiter = connection.waiter()
        for _ in range(3):
            waiting_for = asyncio.create_task(waiter.wait("k", 60))
            await until_blocked(server)
            await connection.run_one(Call.command("LPUSH", "k", "1", "2", "3"))
            assert await waiting_for is True
            assert await connection.run_one(Call.command("LRANGE", "k", 0, -1)) == [
                b"3",
                b"2",
                b"1",
            ]
            await connection.run_one(Call.command("DEL", "k"))
        await waiter.aclose()


async def test_waiter_returns_at_once_when_the_list_has_elements(
    connection: Connection, waiter: Waiter, queue: str
) -> None:
    await connection.run_one(Call.command("LPUSH", queue, "1"))
    assert await waiter.wait(queue, 60) is True


@pytest.mark.parametrize("block_s", [0.01, 0.0])
async def test_waiter_says_when_nothing_came(waiter: Waiter, queue: str, block_s: float) -> None:
    assert await waiter.wait(queue, block_s) is False


async def test_waiter_may_wait_longer_than_other_calls(redis_url: str, queue: str) -> None:
    async with opened(redis_url + "&socket_timeout=0.5") as connection:
        waiter = connection.waiter()
        assert await waiter.wait(queue, 1.0) is False
        await waiter.aclose()


async def test_waiter_refused_by_redis_can_go_on(
    connection: Connection, waiter: Waiter, queue: str
) -> None:
    await connection.run_one(Call.command("SET", queue, "no list"))
    with pytest.raises(RedisReplyError) as caught:
        await waiter.wait(queue, 60)
    assert caught.value.code == "WRONGTYPE"
    assert await waiter.wait(queue + "other", 0.01) is False


async def test_waiter_cancelled_can_wait_again(start_redis: Callable[..., RedisServer]) -> None:
    server = start_redis()
    async with opened(server.url) as connection:
        waiter = connection.waiter()
        first = asyncio.create_task(waiter.wait("k", 60))
        await until_blocked(server)
        first.cancel()
        await asyncio.wait([first])
        assert first.cancelled()
        second = asyncio.create_task(waiter.wait("k", 60))
        await until_blocked(server)
        await connection.run_one(Call.command("LPUSH", "k", "1"))
        assert await second is True
        await waiter.aclose()


@pytest.mark.every_redis
async def test_waiter_notices_a_lost_redis_and_finds_it_again(
    start_redis: Callable[..., RedisServer],
) -> None:
    server = start_redis()
    async with opened(server.url) as connection:
        waiter = connection.waiter()
        call = asyncio.create_task(waiter.wait("k", 60))
        await until_blocked(server)
        await asyncio.to_thread(server.kill)
        with pytest.raises(RedisUnavailableError):
            await call
        with pytest.raises(RedisUnavailableError, match="cannot reach"):
            await waiter.wait("k", 60)
        await asyncio.to_thread(server.start)
        assert await waiter.wait("k", 0.01) is False
        await waiter.aclose()


async def test_waiter_notices_a_redis_that_fell_silent(
    start_redis: Callable[..., RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start_redis()
    async with opened(server.url) as connection:
        waiter = connection.waiter()
        assert await waiter.wait("k", 0.01) is False
        server.pause()
        monkeypatch.setattr(waiting, "GRACE", 0.05)
        with pytest.raises(RedisUnavailableError, match="no answer"):
            await waiter.wait("k", 0.01)
        server.resume()


async def test_waiter_on_a_master_that_is_demoted_is_told(
    start_redis: Callable[..., RedisServer],
) -> None:
    server = start_redis()
    async with opened(server.url) as connection:
        waiter = connection.waiter()
        call = asyncio.create_task(waiter.wait("k", 60))
        await until_blocked(server)
        await connection.run_one(Call.command("REPLICAOF", "127.0.0.1", "1"))
        with pytest.raises(RedisUnavailableError, match="UNBLOCKED"):
            await call
        with pytest.raises(RedisReplyError, match="READONLY") as caught:
            await waiter.wait("k", 60)
        assert caught.value.passing
        await waiter.aclose()


# ---- listeners ----


@pytest.mark.every_redis
async def test_listener_hears_everything_after_subscribe_returned(redis_url: str) -> None:
    async with opened(redis_url) as connection:
        listener = connection.listener()
        await listener.subscribe("a", "b")
        await connection.run([Call.command("PUBLISH", c, c + "!") for c in "abcab"])
        heard = [await listener.next() for _ in range(4)]
        assert heard == [("a", b"a!"), ("b", b"b!"), ("a", b"a!"), ("b", b"b!")]
        await listener.aclose()


async def test_listener_subscribes_to_more_without_losing_messages(
    connection: Connection, listener: Listener, queue: str
) -> None:
    await listener.subscribe(queue)
    await connection.run_one(Call.command("PUBLISH", queue, "1"))
    await listener.subscribe(queue + "more")
    await connection.run_one(Call.command("PUBLISH", queue + "more", b"\xff"))
    assert await listener.next() == (queue, b"1")
    assert await listener.next() == (queue + "more", b"\xff")


async def test_listener_cancelled_loses_nothing(
    connection: Connection, listener: Listener, queue: str
) -> None:
    await listener.subscribe(queue)
    for n in range(50):
        task = asyncio.create_task(listener.next())
        publish = asyncio.create_task(connection.run_one(Call.command("PUBLISH", queue, n)))
        for _ in range(n % 7):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task, publish])
        heard = await listener.next() if task.cancelled() else task.result()
        assert heard == (queue, str(n).encode())


async def test_listener_without_subscription_says_so(listener: Listener) -> None:
    with pytest.raises(RedisUnavailableError, match="no subscription"):
        await listener.next()


@pytest.mark.every_redis
async def test_listener_notices_a_lost_redis_and_can_subscribe_anew(
    start_redis: Callable[..., RedisServer],
) -> None:
    server = start_redis()
    async with opened(server.url) as connection:
        listener = connection.listener()
        await listener.subscribe("a")
        hearing = asyncio.create_task(listener.next())
        await asyncio.to_thread(server.kill)
        with pytest.raises(RedisUnavailableError):
            await hearing
        with pytest.raises(RedisUnavailableError):
            await listener.subscribe("a")
        await asyncio.to_thread(server.start)
        await listener.subscribe("a")
        await connection.run_one(Call.command("PUBLISH", "a", "again"))
        assert await listener.next() == ("a", b"again")
        await listener.aclose()


async def test_listener_notices_a_redis_that_fell_silent(
    start_redis: Callable[..., RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "PING_AFTER", 0.05)
    monkeypatch.setattr(waiting, "PONG_WITHIN", 0.05)
    server = start_redis()
    async with opened(server.url) as connection:
        listener = connection.listener()
        await listener.subscribe("a")
        server.pause()
        with pytest.raises(RedisUnavailableError, match="silent"):
            await listener.next()
        server.resume()


async def test_listener_with_nothing_to_hear_is_not_lost(
    start_redis: Callable[..., RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "PING_AFTER", 0.01)
    server = start_redis()
    async with opened(server.url) as connection, server.client() as observer:
        listener = connection.listener()
        await listener.subscribe("a")
        hearing = asyncio.create_task(listener.next())
        pings: Any = {}
        while pings.get("calls", 0) < 5:
            stats = await observer.info("commandstats")
            pings = stats.get("cmdstat_ping", {})
        await connection.run_one(Call.command("PUBLISH", "a", "at last"))
        assert await hearing == ("a", b"at last")
        await listener.aclose()


async def test_listener_that_may_not_subscribe_is_told(
    start_redis: Callable[..., RedisServer],
) -> None:
    server = start_redis()
    async with opened(server.url) as admin:
        await admin.run_one(Call.command("ACL", "SETUSER", "ann", "on", "nopass", "+@all", "~*"))
    async with opened(f"unix://ann:x@{server.socket}") as connection:
        listener = connection.listener()
        with pytest.raises(RedisReplyError) as caught:
            await listener.subscribe("a")
        assert caught.value.code == "NOPERM"
        await listener.aclose()


# ---- the twin for a thread ----


@pytest.mark.every_redis
async def test_sync_twin_speaks_while_the_event_loop_is_blocked(redis_url: str, queue: str) -> None:
    async with opened(redis_url) as connection:
        await connection.run_one(Call.command("SET", "k:" + queue, "no list"))
        new = fresh("return redis.call('INCR', KEYS[1])")
        replies: list[Any] = []

        def speak() -> None:
            sync = connection.sync()
            try:
                for _ in range(2):
                    replies.extend(
                        sync.run(
                            [
                                Call.of(new, [queue]),
                                Call.of(ECHO, ["k"], ["v"]),
                                Call.command("LPUSH", "k:" + queue, "x"),
                            ]
                        )
                    )
            finally:
                sync.close()

        thread = threading.Thread(target=speak)
        thread.start()
        thread.join()  # blocks the loop on purpose
        assert replies[0:2] == [1, [b"k", b"v"]]
        assert replies[3:5] == [2, [b"k", b"v"]]
        assert isinstance(replies[2], RedisReplyError)
        assert replies[2].code == "WRONGTYPE"


def test_sync_twin_says_what_may_have_been_executed(
    start_redis: Callable[..., RedisServer],
) -> None:
    server = start_redis()
    sync = Connection.open(server.url + "&socket_timeout=0.5").sync()
    assert sync.run([Call.command("PING")]) == [b"PONG"]
    assert sync.run([]) == []
    with pytest.raises(RedisUnavailableError) as caught:
        sync.run([Call.command("BLPOP", "k", 0)])
    assert caught.value.sent
    assert "no answer within 0.5 s" in str(caught.value)

    server.restart(kill=True)
    assert sync.run([Call.of(ECHO, ["k"], ["v"])]) == [[b"k", b"v"]]

    server.kill()
    with pytest.raises(RedisUnavailableError) as caught:
        sync.run([Call.command("PING")])
    assert not caught.value.sent
    assert str(server.socket) in str(caught.value)
    sync.close()
    sync.close()


def test_sync_twin_is_refused_like_the_other(start_redis: Callable[..., RedisServer]) -> None:
    server = start_redis()
    sync = Connection.open(f"unix://ann:hunter2@{server.socket}").sync()
    with pytest.raises(RedisReplyError, match="WRONGPASS") as caught:
        sync.run([Call.command("PING")])
    assert "hunter2" not in str(caught.value)
    sync.close()
