"""`asyncq scheduler` as people run it: the real command, a real Redis."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from commands import Command
from redis.asyncio import Redis
from waiting import until

from asyncq._broker import keys

TARGETS = """
import os
from asyncq import PeriodicTask, PeriodicTaskManager, Scheduler, Task

def make() -> Scheduler:
    scheduler = Scheduler()
    scheduler.register("@every 1s", Task("t"), queue=os.environ["QUEUE"])
    return scheduler

def fails() -> list[PeriodicTask]:
    raise LookupError("no such table")

manager = PeriodicTaskManager("redis://localhost:1", fails)
failing = lambda: PeriodicTaskManager(None, fails)
other = 5
"""

Start = Callable[..., Command]


@pytest.fixture
def start(tmp_path: Path, redis_url: str, queue: str) -> Iterator[Start]:
    (tmp_path / "tasks.py").write_text(TARGETS)
    with ExitStack() as stack:

        def start(*args: str, **env: str) -> Command:
            env = {"ASYNCQ_REDIS_URL": redis_url, "QUEUE": queue} | env
            return stack.enter_context(Command("scheduler", *args, cwd=tmp_path, env=env))

        yield start


async def one_is_pending(redis: Redis, queue: str) -> None:
    async def some() -> Any:
        return await redis.llen(keys.pending(queue))

    await until(some, "a task")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_scheduler_runs_until_it_is_told_to_stop(
    redis: Redis, queue: str, start: Start, number: int
) -> None:
    command = start("tasks:make")
    await one_is_pending(redis, queue)
    command.wait_for("scheduling 1 entry")
    command.send(number)
    assert command.exit_status() == 0
    assert "shutting down the scheduler" in command.output


async def test_a_file_runs(redis: Redis, queue: str, start: Start, tmp_path: Path) -> None:
    text = f'[[tasks]]\nspec = "@every 1s"\ntype = "t"\nqueue = "{queue}"\n'
    (tmp_path / "p.toml").write_text(text)
    command = start("p.toml")
    await one_is_pending(redis, queue)
    command.send(signal.SIGTERM)
    assert command.exit_status() == 0


@pytest.mark.parametrize(
    ("target", "said", "status"),
    [
        ("tasks:other", "tasks:other is an int; a target is a Scheduler", 2),
        ("tasks:xyzzy", "tasks has tasks:manager (PeriodicTaskManager)", 2),
        ("tasks", "did you mean tasks:manager", 2),
        ("nothing.toml", "No such file", 2),
        ("wrong.toml", "wrong.toml:2: entry 1: it has no type", 2),
        ("tasks:failing", "LookupError: no such table", 1),
    ],
)
def test_what_cannot_run_says_why(
    start: Start, tmp_path: Path, target: str, said: str, status: int
) -> None:
    (tmp_path / "wrong.toml").write_text('\n[[tasks]]\nspec = "@daily"\n')
    command = start(target)
    assert command.exit_status() == status
    assert said in command.output


def test_without_redis_it_says_so(start: Start, tmp_path: Path) -> None:
    command = start("tasks:make", "--connect-timeout", "0", ASYNCQ_REDIS_URL="redis://localhost:1")
    assert command.exit_status() == 69
    assert "no Redis within 0 s" in command.output


def test_redis_is_said_once(start: Start) -> None:
    command = start("tasks:make", "--dev", "--redis", "redis://localhost")
    assert command.exit_status() == 2
    assert "--dev and --redis both say where Redis is" in command.output


def test_address_that_cannot_be_read_is_not_the_fault_of_the_target(start: Start) -> None:
    scheduler = start("tasks:make", "--redis", "localhost:6379")
    assert scheduler.exit_status() == 2
    assert scheduler.lines[0].startswith("error: 'localhost:6379' is not a Redis URL")
