"""What a task costs, counted and not timed: Redis commands, round trips, Python calls, memory.

A cost that grows is seen here first. `BOUNDS` are what was counted plus about a tenth; a change
that makes something cheaper should lower its bound. To count anew:

    pytest tests/test_costs.py      # prints the figures at the end

Batches never depend on speed here: handlers end together (`Gate`), or the broker is driven step
by step. The figures are the same on every run but for a few calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest
from counting import Gate, Meter, allocated, counted_calls
from redis_servers import RedisServer
from waiting import soon, until

from asyncq import Client, Server, ServerConfig, Statistics, Task
from asyncq._broker.broker import Broker, Fetched
from asyncq._broker.message import Leased
from asyncq._broker.outcome import Done
from asyncq._clock import Clock
from asyncq._worker import processor
from asyncq._worker.timing import Timing
from asyncq.statistics import CALLS

TASKS = 1000
STORED = 1200  # by the fixture `producer`
SLOTS = 100
QUEUE = "q"

BOUNDS: Mapping[str, Mapping[str, float]] = {
    # Of 1 000 tasks.
    "enqueue_many": {"round trips": 2, "calls": 11, "commands": 1100},
    "enqueue, 100 at a time": {"round trips": 40, "calls": 40, "commands": 1200},
    "enqueue, one by one": {"round trips": 1002, "calls": 1002, "commands": 4400},
    "dequeue and settle, 100 at a time": {"round trips": 20, "calls": 20, "commands": 6500},
    "drain, 100 ending together": {"round trips": 22, "calls": 22, "commands": 6500},
    # Of one task: calls of functions, Python's and C's, outside of the event loop.
    "Python, enqueue_many": {"calls": 67},
    "Python, enqueue, 100 at a time": {"calls": 94},
    "Python, enqueue, one by one": {"calls": 185},
    "Python, drain": {"calls": 75},
    "Python, drain with statistics": {"calls": 80},
    # Blocks of memory: of one task, and of 10 000 that were enqueued and ran.
    "memory": {"of a running task": 30, "of a TaskInfo": 7, "kept after 10 000": 2000},
    # Of a server with one queue and nothing to do.
    "idle, 20 waits": {"calls": 0, "commands": 0},
    "idle, a second": {"calls": 1.8, "commands": 5.0},
}

NEVER = 100_000.0
ONLY_TASKS = Timing(lease=10_000, heartbeat=NEVER, recover=NEVER, sweep=NEVER, orphan=NEVER)
"""No part of a server but fetching, running and settling says anything after its first step."""

CONFIG: Mapping[str, Any] = MappingProxyType(
    {
        "queues": {QUEUE: 1},
        "concurrency": SLOTS,
        "delayed_task_check_interval": NEVER,
        "janitor_interval": NEVER,
        "task_check_interval": NEVER,
    }
)
FIRST_STEPS = {"forward", "list_expired", "list_orphans", "reclaim_sets", "write_server_state"}

Check = Callable[..., None]


@pytest.fixture
def check(record_property: Callable[[str, object], None]) -> Check:
    """`check(name, figure=...)`: prints the figures, and holds them against `BOUNDS`."""

    def check(name: str, **figures: float) -> None:
        counted = {figure.replace("_", " "): value for figure, value in figures.items()}
        bounds = BOUNDS[name]
        assert counted.keys() == bounds.keys()
        shown = ", ".join(f"{f} {v:.4g} (bound {bounds[f]:g})" for f, v in counted.items())
        record_property("summary", f"{name}: {shown}")
        assert all(counted[figure] <= bound for figure, bound in bounds.items()), shown

    return check


@pytest.fixture
def own_redis(start_redis: Callable[..., RedisServer]) -> RedisServer:
    """What it executes is ours alone."""
    return start_redis()


@pytest.fixture
async def meter(own_redis: RedisServer) -> AsyncIterator[Meter]:
    async with own_redis.client() as redis:
        yield Meter(redis)


@pytest.fixture
async def producer(own_redis: RedisServer, meter: Meter) -> AsyncIterator[Client]:
    """A client whose connections are open and whose scripts Redis knows."""
    async with Client(own_redis.url) as client:
        await many(client)
        await hundreds(client, 100)
        await singly(client, 100)
        meter.listen(client._connection)
        await meter.reset()
        yield client


def task() -> Task:
    return Task("noop", {"n": 1}, queue=QUEUE)


async def many(client: Client, count: int = TASKS) -> None:
    await client.enqueue_many(task() for _ in range(count))


async def hundreds(client: Client, count: int = TASKS) -> None:
    for _ in range(count // SLOTS):
        await asyncio.gather(*(client.enqueue(task()) for _ in range(SLOTS)))


async def singly(client: Client, count: int = TASKS) -> None:
    for _ in range(count):
        await client.enqueue(task())


@asynccontextmanager
async def serving(
    url: str, gate: Gate, meter: Meter, *, timing: Timing = ONLY_TASKS, **config: Any
) -> AsyncGenerator[Server]:
    """A server of which nothing is heard but what its tasks take."""
    server = Server(url, gate, ServerConfig(**{**CONFIG, **config}), _timing=timing)
    meter.listen(server._connection)
    async with server:
        try:
            await until(lambda: meter.calls().keys() >= FIRST_STEPS, meter.calls)
            yield server
        finally:
            gate.open()


async def all_ended(server: Server, gate: Gate, count: int) -> None:
    """Return when so many tasks have run and Redis knows it."""
    parts = server._parts
    assert parts is not None
    await until(lambda: gate.ended == count and not parts.settler.unwritten, f"{count} ended")


# ---- what is said to Redis ----


async def check_costs(check: Check, name: str, meter: Meter) -> None:
    commands = await meter.commands()
    check(
        name,
        round_trips=len(meter.trips),
        calls=meter.calls().total(),
        commands=commands.total(),
    )


async def test_enqueue_many_takes_few_round_trips_and_commands(
    producer: Client, meter: Meter, check: Check
) -> None:
    await many(producer)
    await check_costs(check, "enqueue_many", meter)


async def test_concurrent_enqueues_share_round_trips(
    producer: Client, meter: Meter, check: Check
) -> None:
    await hundreds(producer)
    await check_costs(check, "enqueue, 100 at a time", meter)


async def test_a_lone_enqueue_takes_one_call(producer: Client, meter: Meter, check: Check) -> None:
    await singly(producer)
    await check_costs(check, "enqueue, one by one", meter)


async def test_a_batch_is_taken_and_settled_with_few_commands(
    producer: Client, meter: Meter, check: Check
) -> None:
    broker = Broker(producer._connection, Clock())

    async def run_hundred(claim: str) -> None:
        (fetched,) = await broker.dequeue([(QUEUE, SLOTS)], claim)
        assert isinstance(fetched, Fetched)
        taken = [held for held in fetched.tasks if isinstance(held, Leased)]
        assert await broker.settle([Done(held) for held in taken]) == [True] * SLOTS

    await run_hundred("before")
    await meter.reset()
    for number in range(TASKS // SLOTS):
        await run_hundred(f"claim{number}")
    await check_costs(check, "dequeue and settle, 100 at a time", meter)


async def test_a_server_fetches_and_settles_in_batches(
    own_redis: RedisServer,
    producer: Client,
    meter: Meter,
    check: Check,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # How far it fetches ahead depends on how long a fetch takes: by this clock, no time.
    monkeypatch.setattr(processor, "time", SimpleNamespace(monotonic=lambda: 0.0))
    gate = Gate(SLOTS)
    async with serving(own_redis.url, gate, meter) as server:
        await soon(gate.full.wait())
        await meter.reset()
        gate.open()
        await all_ended(server, gate, STORED)
        of_thousand = TASKS / STORED
        check(
            "drain, 100 ending together",
            round_trips=len(meter.trips) * of_thousand,
            calls=meter.calls().total() * of_thousand,
            commands=(await meter.commands()).total() * of_thousand,
        )


# ---- what an idle server says ----


async def test_an_idle_server_only_waits(
    own_redis: RedisServer, meter: Meter, check: Check
) -> None:
    waits = 20
    timing = replace(ONLY_TASKS, block=0.02)
    async with serving(own_redis.url, Gate(1), meter, timing=timing) as server:
        assert server._parts is not None
        await soon(server._parts.subscriber.subscribed.wait())
        await waited(meter, 2)
        await meter.reset()
        await waited(meter, waits)
        commands = await meter.commands()
        check(
            "idle, 20 waits",
            calls=meter.calls().total(),
            commands=commands.total() - commands["blmove"],
        )


async def waited(meter: Meter, times: int) -> None:
    """Return when the server has begun so many waits since the last `reset`."""

    async def begun() -> bool:
        return (await meter.commands())["blmove"] >= times

    await until(begun, f"{times} waits")


async def test_the_parts_of_an_idle_server_say_little(
    own_redis: RedisServer, meter: Meter, check: Check
) -> None:
    config, timing = ServerConfig(queues={QUEUE: 1}), Timing()
    server = Server(own_redis.url, Gate(1), config)
    meter.listen(server._connection)
    parts = server._make_parts(None)
    steps = [
        (parts.heartbeat.step, timing.heartbeat),
        (parts.forwarder.step, config.delayed_task_check_interval),
        (parts.recoverer.step, timing.recover),
        (parts.recoverer.sweep, timing.sweep),
        (parts.janitor.step, config.janitor_interval),
    ]
    calls = commands = 1 / timing.block  # the wait for tasks
    for step, interval_s in steps:
        await step()
        await meter.reset()
        await step()
        calls += meter.calls().total() / interval_s
        commands += (await meter.commands()).total() / interval_s
    await server._connection.aclose()
    check("idle, a second", calls=calls, commands=commands)


# ---- what Python does ----


async def test_python_calls_of_enqueue_many(producer: Client, check: Check) -> None:
    with counted_calls() as counted:
        await many(producer)
    check("Python, enqueue_many", calls=counted.total() / TASKS)


async def test_python_calls_of_concurrent_enqueues(producer: Client, check: Check) -> None:
    with counted_calls() as counted:
        await hundreds(producer)
    check("Python, enqueue, 100 at a time", calls=counted.total() / TASKS)


async def test_python_calls_of_a_lone_enqueue(producer: Client, check: Check) -> None:
    with counted_calls() as counted:
        await singly(producer)
    check("Python, enqueue, one by one", calls=counted.total() / TASKS)


async def test_python_calls_of_a_drain(
    own_redis: RedisServer, producer: Client, meter: Meter, check: Check
) -> None:
    gate = Gate(SLOTS)
    async with serving(own_redis.url, gate, meter) as server:
        await soon(gate.full.wait())
        with counted_calls() as counted:
            gate.open()
            await all_ended(server, gate, STORED)
    check("Python, drain", calls=counted.total() / STORED)


async def test_python_calls_of_a_drain_with_statistics(
    own_redis: RedisServer, producer: Client, check: Check
) -> None:
    gate, statistics = Gate(SLOTS), Statistics()
    config = ServerConfig(**CONFIG, statistics=statistics)
    async with Server(own_redis.url, gate, config, _timing=ONLY_TASKS) as server:
        await soon(gate.full.wait())
        # The first steps of the other parts: each is a round trip.
        await until(lambda: len(statistics.snapshot()[CALLS.name]) > len(FIRST_STEPS))
        with counted_calls() as counted:
            gate.open()
            await all_ended(server, gate, STORED)
    check("Python, drain with statistics", calls=counted.total() / STORED)


# ---- what memory it takes ----


async def test_a_task_takes_little_memory_and_leaves_none(
    own_redis: RedisServer, meter: Meter, check: Check
) -> None:
    gate = Gate(TASKS)
    async with (
        Client(own_redis.url) as client,
        serving(own_redis.url, gate, meter, concurrency=TASKS) as server,
    ):
        meter.stop(server._connection)  # it keeps what it counts

        async def run_all() -> tuple[int, int]:
            """Blocks while they run, and after."""
            await many(client)
            await soon(gate.full.wait())
            running = allocated()
            gate.open()
            await all_ended(server, gate, TASKS)
            gate.close()
            return running, allocated()

        for _ in range(2):  # what is made once
            await run_all()
        before = running = after = allocated()
        for _ in range(10):
            running, after = await run_all()
        infos = await client.enqueue_many(task() for _ in range(TASKS))
        stored = allocated()
        del infos
        check(
            "memory",
            of_a_running_task=(running - after) / TASKS,
            of_a_TaskInfo=(stored - allocated()) / TASKS,
            kept_after_10_000=after - before,
        )
