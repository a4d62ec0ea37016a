"""Threads of `def` handlers: limited, and known when nobody waits for them any more."""

from __future__ import annotations

import asyncio
import threading

import pytest

from asyncq import _threads
from asyncq._threads import HandlerThreads
from asyncq.context import current
from asyncq.mux import ServeMux
from asyncq.task import Task


class Gate:
    """A call that tells when it runs, and ends when it is let go."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()

    def __call__(self, argument: str) -> str:
        self.entered.set()
        self.open.wait()
        return argument


async def wait_for(event: threading.Event) -> None:
    await asyncio.to_thread(event.wait)


async def none_left(threads: HandlerThreads) -> None:
    while threads.abandoned():  # the thread has been let go: its end is near
        await asyncio.sleep(0.001)


async def test_a_call_that_nobody_waits_for_is_named_until_it_ends() -> None:
    threads, gate = HandlerThreads(1), Gate()
    waiter = asyncio.create_task(threads.run("email:deliver", gate, "x"))
    await wait_for(gate.entered)
    assert threads.abandoned() == []
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    (call,) = threads.abandoned()
    assert call.what == "email:deliver"
    assert call.thread_id in {thread.ident for thread in threading.enumerate()}
    gate.open.set()
    await none_left(threads)


async def test_the_place_of_an_abandoned_call_is_free_at_once() -> None:
    threads, gate = HandlerThreads(1), Gate()
    waiter = asyncio.create_task(threads.run("stuck", gate, "x"))
    await wait_for(gate.entered)
    waiter.cancel()
    assert await threads.run("next", str.upper, "y") == "Y"
    gate.open.set()
    await none_left(threads)


async def test_no_more_calls_run_than_the_limit() -> None:
    threads, gates = HandlerThreads(2), [Gate(), Gate(), Gate()]
    waiters = [asyncio.create_task(threads.run(str(n), gate, "")) for n, gate in enumerate(gates)]
    await wait_for(gates[0].entered)
    await wait_for(gates[1].entered)
    assert not gates[2].entered.is_set()
    gates[0].open.set()
    await wait_for(gates[2].entered)
    for gate in gates:
        gate.open.set()
    await asyncio.gather(*waiters)
    assert threads.abandoned() == []


async def test_a_call_cancelled_while_it_waits_for_a_place_never_runs() -> None:
    threads, busy, waiting = HandlerThreads(1), Gate(), Gate()
    first = asyncio.create_task(threads.run("busy", busy, ""))
    await wait_for(busy.entered)
    second = asyncio.create_task(threads.run("waiting", waiting, ""))
    await asyncio.sleep(0)
    second.cancel()
    busy.open.set()
    await first
    with pytest.raises(asyncio.CancelledError):
        await second
    assert not waiting.entered.is_set()
    assert threads.abandoned() == []


async def test_an_ended_or_failed_call_is_not_abandoned() -> None:
    threads = HandlerThreads(1)
    with pytest.raises(ValueError, match="invalid literal"):
        await threads.run("t", int, "x")
    assert await threads.run("t", int, "5") == 5
    assert threads.abandoned() == []


async def test_handlers_run_in_the_threads_of_the_server_that_calls_them() -> None:
    threads, gate = HandlerThreads(1), Gate()
    mux = ServeMux()

    @mux.handle("t")
    def handler(task: Task) -> str:
        return gate(task.type)

    async def server() -> object:
        _threads.use(threads)
        return await asyncio.create_task(mux(Task("t:long")))

    running = asyncio.create_task(server())
    await wait_for(gate.entered)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert [call.what for call in threads.abandoned()] == ["t:long"]
    gate.open.set()
    await none_left(threads)


async def test_outside_a_task_the_context_is_missing_in_threads_too() -> None:
    with pytest.raises(RuntimeError, match="where no task is handled"):
        await _threads.run("t", lambda _: current(), None)
