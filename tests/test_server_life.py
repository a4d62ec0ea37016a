"""Start, stop, shutdown, wait, run; the lifespan; and what a server leaves behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis_servers import RedisServer
from serving import Sleeper, Working, fast
from waiting import soon, until

from asyncq import (
    Client,
    RedisNotConfiguredError,
    RedisReplyError,
    RedisUnavailableError,
    Server,
    ServerConfig,
    ServerStateError,
    Task,
    current,
)


async def passing(task: Task) -> None:
    """Succeeds, every time."""


def make_server(url: str, queue: str, handler: Any = passing, **config: Any) -> Server:
    config.setdefault("queues", {queue: 1})
    return Server(url, handler, ServerConfig(**config), _timing=fast())


async def test_its_states_follow_each_other(redis_url: str, queue: str) -> None:
    server = make_server(redis_url, queue)
    assert server.state == "new"
    await server.start()
    assert server.state == "active"
    await server.stop()
    assert server.state == "stopped"
    await server.stop()
    await server.shutdown()
    assert server.state == "closed"
    await server.stop()
    await server.shutdown()
    await server.wait()
    assert server.state == "closed"


async def test_what_a_state_does_not_allow_says_what_to_do(redis_url: str, queue: str) -> None:
    server = make_server(redis_url, queue)
    with pytest.raises(ServerStateError, match="cannot stop: the server is new; start it first"):
        await server.stop()
    with pytest.raises(ServerStateError, match="cannot wait: the server is new; start it first"):
        await server.wait()
    await server.shutdown()
    await server.start()
    with pytest.raises(ServerStateError, match="cannot start: the server is active"):
        await server.start()
    await server.shutdown()
    with pytest.raises(ServerStateError, match="the server is closed; make a new Server"):
        await server.start()


async def test_a_stopped_server_takes_nothing_but_finishes_what_runs(working: Working) -> None:
    entered, release = asyncio.Event(), asyncio.Event()

    async def handler(task: Task) -> None:
        entered.set()
        await release.wait()

    async with working(handler, concurrency=1) as work:
        running = await work.enqueue()
        await soon(entered.wait())
        await work.server.stop()
        waiting = await work.enqueue()
        release.set()
        await work.gone(running)
        await work.nothing_held()
        assert await work.state(waiting) == "pending"


async def test_a_stop_while_it_starts_is_not_lost(redis_url: str, queue: str) -> None:
    entering, enter = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def lifespan(server: Server) -> AsyncGenerator[None]:
        entering.set()
        await enter.wait()
        yield

    server = make_server(redis_url, queue, lifespan=lifespan)
    starting = asyncio.create_task(server.start())
    await soon(entering.wait())
    await server.stop()
    enter.set()
    await soon(starting)
    assert server.state == "stopped"
    await server.shutdown()


async def test_a_shutdown_while_it_starts_is_not_lost(redis_url: str, queue: str) -> None:
    entering, enter = asyncio.Event(), asyncio.Event()
    left: list[str] = []

    @asynccontextmanager
    async def lifespan(server: Server) -> AsyncGenerator[None]:
        entering.set()
        await enter.wait()
        yield
        left.append("lifespan")

    server = make_server(redis_url, queue, lifespan=lifespan)
    starting = asyncio.create_task(server.start())
    await soon(entering.wait())
    leaving = asyncio.create_task(server.shutdown())
    enter.set()
    await soon(starting)
    await soon(leaving)
    assert server.state == "closed"
    assert left == ["lifespan"]


def never_entered(events: list[str]) -> Any:
    """A lifespan whose start hangs, and cleans up when it is cancelled."""

    @asynccontextmanager
    async def lifespan(server: Server) -> AsyncGenerator[None]:
        events.append("entering")
        try:
            await asyncio.Event().wait()
            yield
        finally:
            events.append("cleaned up")

    return lifespan


async def test_a_start_that_is_cancelled_leaves_nothing_running(redis_url: str, queue: str) -> None:
    events: list[str] = []
    server = make_server(redis_url, queue, lifespan=never_entered(events))
    starting = asyncio.create_task(server.start())
    await until(lambda: events == ["entering"])
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(starting)
    assert server.state == "closed"
    assert events == ["entering", "cleaned up"]
    await soon(server.shutdown())


async def test_a_shutdown_does_not_wait_for_a_lifespan_that_hangs(
    redis_url: str, queue: str
) -> None:
    events: list[str] = []
    server = make_server(redis_url, queue, lifespan=never_entered(events))
    starting = asyncio.create_task(server.start())
    await until(lambda: events == ["entering"])
    await soon(asyncio.gather(server.shutdown(), server.shutdown()))
    await soon(starting)
    assert server.state == "closed"
    assert events == ["entering", "cleaned up"]


async def test_a_shutdown_in_the_moment_of_the_start_closes_it(redis_url: str, queue: str) -> None:
    server = make_server(redis_url, queue)
    await soon(asyncio.gather(server.start(), server.shutdown()))
    assert server.state == "closed"


async def test_the_lifespan_surrounds_the_work(redis: Any, redis_url: str, queue: str) -> None:
    seen: list[str] = []
    release = asyncio.Event()

    @asynccontextmanager
    async def lifespan(server: Server) -> AsyncGenerator[str]:
        seen.append(f"enter {server.state}")
        yield "pool"
        seen.append(f"leave {server.state}")

    async def handler(task: Task) -> None:
        seen.append(f"handle with {current().state}")
        await release.wait()
        seen.append("handled")

    server = make_server(redis_url, queue, handler, lifespan=lifespan, shutdown_timeout=60)
    async with Client(redis_url) as client:
        info = await client.enqueue(Task("t"), queue=queue)
        async with server:
            await until(lambda: "handle with pool" in seen)
            leaving = asyncio.create_task(server.shutdown())
            await until(lambda: server.state == "stopped")
            release.set()
            await soon(leaving)
    assert seen == ["enter starting", "handle with pool", "handled", "leave stopped"]
    assert not await redis.exists(f"asynq:{{{queue}}}:t:{info.id}")


@pytest.mark.parametrize("error", [ValueError("no pool"), KeyError("x")], ids=repr)
async def test_a_lifespan_that_cannot_be_entered_is_raised_as_it_is(
    redis_url: str, queue: str, error: Exception
) -> None:
    @asynccontextmanager
    async def lifespan(server: Server) -> AsyncGenerator[None]:
        raise error
        yield

    with pytest.raises(type(error)) as raised:
        await make_server(redis_url, queue, lifespan=lifespan).start()
    assert raised.value is error

    server = make_server(redis_url, queue, lifespan=lifespan)
    with pytest.raises(type(error)) as raised:
        async with server:
            raise AssertionError("it has not started")
    assert raised.value is error
    assert server.state == "closed"

    with pytest.raises(type(error)):
        await make_server(redis_url, queue, lifespan=lifespan).run()


async def test_a_lifespan_that_cannot_be_left_is_raised_by_whoever_waits(
    redis_url: str, queue: str
) -> None:
    @asynccontextmanager
    async def lifespan(server: Server) -> AsyncGenerator[None]:
        yield
        raise ValueError("cannot close")

    server = make_server(redis_url, queue, lifespan=lifespan)
    await server.start()
    await server.shutdown()
    with pytest.raises(ValueError, match="cannot close"):
        await server.wait()
    with pytest.raises(ValueError, match="cannot close"):
        async with make_server(redis_url, queue, lifespan=lifespan):
            pass


async def test_the_error_of_the_body_goes_before_that_of_the_server(
    redis_url: str, queue: str
) -> None:
    server = make_server(redis_url, queue)
    with pytest.raises(KeyError, match="body"):
        async with server:
            raise KeyError("body")
    assert server.state == "closed"


async def test_without_redis_start_raises_and_leaves_nothing_running(tmp_path: Path) -> None:
    before = asyncio.all_tasks()
    server = make_server(f"unix://{tmp_path}/none.sock", "q")
    with pytest.raises(RedisUnavailableError):
        await server.start()
    assert server.state == "closed"
    assert asyncio.all_tasks() == before
    with pytest.raises(RedisUnavailableError):
        await server.wait()
    await server.shutdown()


def test_without_an_address_it_cannot_be_made() -> None:
    with pytest.raises(RedisNotConfiguredError):
        Server(None, passing)


@pytest.mark.parametrize("wrong", [{"concurrency": 5}, 5, "queues"], ids=repr)
def test_a_config_of_the_wrong_type_is_refused(redis_url: str, wrong: Any) -> None:
    with pytest.raises(TypeError, match="config= takes a ServerConfig"):
        Server(redis_url, passing, wrong)


async def test_two_servers_share_a_loop(redis_url: str, queue: str) -> None:
    seen: list[str] = []

    def handler_of(name: str) -> Any:
        async def handler(task: Task) -> None:
            seen.append(f"{name} {current().state}")

        return handler

    def lifespan_of(name: str) -> Any:
        @asynccontextmanager
        async def lifespan(server: Server) -> AsyncGenerator[str]:
            yield name

        return lifespan

    one, two = f"{queue}-1", f"{queue}-2"
    async with (
        make_server(redis_url, one, handler_of("a"), lifespan=lifespan_of("A")),
        make_server(redis_url, two, handler_of("b"), lifespan=lifespan_of("B")) as second,
        Client(redis_url) as client,
    ):
        for name in (one, two):
            await client.enqueue(Task("t"), queue=name)
        await until(lambda: sorted(seen) == ["a A", "b B"])
        await second.shutdown()
        await client.enqueue(Task("t"), queue=one)
        await until(lambda: seen.count("a A") == 2)


async def test_a_shared_client_outlives_the_server(redis_url: str, queue: str) -> None:
    async with Client(redis_url) as client:
        for _ in range(2):
            server = Server(client, passing, ServerConfig(queues={queue: 1}), _timing=fast())
            assert server.redis is client
            assert server.where == client.where
            async with server:
                await client.enqueue(Task("t"), queue=queue)
            await client.ping()


async def test_a_part_that_fails_is_started_again(
    working: Working, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with working(passing, delayed_task_check_interval=0.05) as work:
        parts = work.server._parts
        assert parts is not None
        failed: list[str] = []

        def failing_once(part: Any, method: str) -> None:
            whole = getattr(part, method)

            async def fail_first(*args: Any, **options: Any) -> Any:
                if method not in failed:
                    failed.append(method)
                    raise RuntimeError(f"{method} out of order")
                return await whole(*args, **options)

            monkeypatch.setattr(part, method, fail_first)

        failing_once(parts.processor._fetcher, "fetch")
        failing_once(parts.settler, "_write")
        failing_once(parts.forwarder._maintenance, "forward")
        failing_once(parts.heartbeat._broker, "extend_leases")
        await work.gone(await work.enqueue())
        await work.gone(await work.enqueue(process_in=0.01))
        await until(lambda: {"fetch", "_write", "forward"} <= set(failed))
    for part in ("processor", "settler", "forwarder"):
        assert f"{part} failed" in caplog.text


async def test_its_caller_is_never_cancelled(
    start_redis: Callable[..., RedisServer], queue: str
) -> None:
    server = start_redis()
    myself = asyncio.current_task()
    assert myself is not None
    async with make_server(server.url, queue, Sleeper(), shutdown_timeout=0):
        server.kill()
        await asyncio.sleep(0.1)
    assert myself.cancelling() == 0


def test_it_says_what_it_is(redis_url: str, queue: str) -> None:
    server = make_server(redis_url, queue)
    assert repr(server).startswith(f"<Server {server.id} at ")
    assert server.config.queues == {queue: 1}
    assert server.handler is passing
    assert server.patterns == []
    assert server.abandoned_threads() == []


async def test_server_leaves_the_lists_although_it_cannot_hand_over(
    redis_url: str, queue: str, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_server(redis_url, queue)
    await server.start()
    assert server._parts is not None
    entry = server._parts.heartbeat._presence._server
    await until(lambda: redis.zscore("asynq:servers", entry), "it is listed")

    async def refused() -> None:
        raise RedisReplyError("NOPERM")

    monkeypatch.setattr(server._parts.forwarder, "resign", refused)
    await server.shutdown()
    assert await redis.zscore("asynq:servers", entry) is None
