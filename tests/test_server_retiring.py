"""A server that retires: it takes no more tasks, and closes when those it runs have ended."""

from __future__ import annotations

import asyncio

import pytest
from serving import Working
from waiting import soon

from asyncq import Client, Server, ServerConfig, ServerStateError, Task


async def test_running_task_has_all_its_time_and_no_other_is_taken(working: Working) -> None:
    entered, release = asyncio.Event(), asyncio.Event()

    async def handler(task: Task) -> None:
        entered.set()
        await release.wait()

    async with working(handler, shutdown_timeout=0) as work:
        running = await work.enqueue()
        await soon(entered.wait())
        work.server.retire()
        later = await work.enqueue()
        assert work.server.state == "stopped"
        release.set()
        await soon(work.server.wait())
        assert await work.state(running) == ""
        assert await work.counters() == (1, 0)
        assert await work.state(later) == "pending"


async def test_server_that_has_nothing_to_do_closes_at_once(working: Working) -> None:
    async def handler(task: Task) -> None: ...

    async with working(handler) as work:
        work.server.retire()
        await soon(work.server.wait())
        assert work.server.state == "closed"


async def test_shutdown_does_not_wait_so_long(working: Working) -> None:
    entered = asyncio.Event()

    async def handler(task: Task) -> None:
        entered.set()
        await asyncio.Event().wait()

    async with working(handler, shutdown_timeout=0) as work:
        running = await work.enqueue()
        await soon(entered.wait())
        work.server.retire()
        await soon(work.server.shutdown())
        assert await work.state(running) == "pending"


async def test_attempts_are_counted_whatever_came_of_them(working: Working) -> None:
    async def handler(task: Task) -> None:
        if task.payload == b"fails":
            raise ValueError("as it should")

    async with working(handler) as work:
        await work.enqueue("t", "fails", max_retry=0)
        await work.enqueue("t", "does not")
        await soon(work.server.handled(2))
        await soon(work.server.handled(1))


async def test_server_that_was_never_started_cannot_retire(redis_url: str) -> None:
    async def handler(task: Task) -> None: ...

    async with Client(redis_url) as client:
        server = Server(client, handler, ServerConfig())
        with pytest.raises(ServerStateError):
            server.retire()
