"""`run()`: a server as a program of its own, and its signals."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import pytest
from serving import Sleeper, fast
from waiting import soon, until

from asyncq import Client, Server, ServerConfig, Task


async def passing(task: Task) -> None:
    """Succeeds, every time."""


def make_server(url: str, queue: str, handler: Any = passing, **config: Any) -> Server:
    return Server(url, handler, ServerConfig(queues={queue: 1}, **config), _timing=fast())


async def test_run_returns_after_a_shutdown(redis_url: str, queue: str) -> None:
    server = make_server(redis_url, queue)
    running = asyncio.create_task(server.run())
    await until(lambda: server.state == "active")
    await server.shutdown()
    await soon(running)


async def test_a_cancelled_run_leaves_gracefully(redis: Any, redis_url: str, queue: str) -> None:
    server = make_server(redis_url, queue)
    running = asyncio.create_task(server.run())
    await until(lambda: server.state == "active")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert server.state == "closed"


async def test_a_run_cancelled_as_it_becomes_active_leaves_gracefully(
    redis_url: str, queue: str
) -> None:
    server = make_server(redis_url, queue)
    running = asyncio.create_task(server.run())
    while server.state != "active":  # every turn of the loop: before `start` has noticed
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert server.state == "closed"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_run_ends_on_a_signal_and_leaves_no_handler_behind(
    redis_url: str, queue: str, number: signal.Signals
) -> None:
    before = signal.getsignal(number)
    server = make_server(redis_url, queue)
    running = asyncio.create_task(server.run())
    await until(lambda: server.state == "active")
    os.kill(os.getpid(), number)
    await soon(running)
    assert server.state == "closed"
    assert signal.getsignal(number) in (before, signal.SIG_DFL, signal.default_int_handler)


async def test_a_second_signal_puts_running_tasks_back_at_once(
    redis: Any, redis_url: str, queue: str
) -> None:
    sleeper = Sleeper()
    server = make_server(redis_url, queue, sleeper, shutdown_timeout=600)
    running = asyncio.create_task(server.run())
    async with Client(redis_url) as client:
        info = await client.enqueue(Task("t"), queue=queue)
    await soon(sleeper.entered.wait())
    os.kill(os.getpid(), signal.SIGTERM)
    await until(lambda: server.state == "stopped")
    os.kill(os.getpid(), signal.SIGTERM)
    await soon(running)
    assert await redis.lrange(f"asynq:{{{queue}}}:pending", 0, -1) == [info.id.encode()]


async def test_tstp_takes_no_new_tasks(redis: Any, redis_url: str, queue: str) -> None:
    server = make_server(redis_url, queue)
    running = asyncio.create_task(server.run())
    await until(lambda: server.state == "active")
    os.kill(os.getpid(), signal.SIGTSTP)
    await until(lambda: server.state == "stopped")
    async with Client(redis_url) as client:
        info = await client.enqueue(Task("t"), queue=queue)
    await server.shutdown()
    await soon(running)
    assert await redis.lrange(f"asynq:{{{queue}}}:pending", 0, -1) == [info.id.encode()]


async def test_async_with_touches_no_signal_handler(redis_url: str, queue: str) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    async with make_server(redis_url, queue):
        assert before == [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
