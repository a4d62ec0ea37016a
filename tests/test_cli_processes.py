"""Several worker processes, kept running, and one that starts anew when the code changes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from commands import Command
from redis.asyncio import Redis
from redis_servers import wait_until_gone

from asyncq import Client, Task
from asyncq.cli.failure import CommandError
from asyncq.cli.reloading import check_installed

TASKS = """
import asyncio, os
from pathlib import Path
from asyncq import ServeMux, Task

mux = ServeMux()

@mux.handle("say")
async def say(task: Task) -> None:
    print("said", task.payload.decode(), flush=True)

@mux.handle("hold")
async def hold(task: Task) -> None:
    print("holding", flush=True)
    while not Path("release").exists():
        await asyncio.sleep(0.01)
    print("released", flush=True)
"""

Start = Callable[..., Command]


@pytest.fixture
def start(tmp_path: Path, redis_url: str, queue: str) -> Iterator[Start]:
    """Starts `asyncq worker tasks:mux` on the test's own queue."""
    (tmp_path / "tasks.py").write_text(TASKS)
    with ExitStack() as stack:

        def start(*args: str, target: str = "tasks:mux", redis: str = redis_url) -> Command:
            flags = ["-r", redis, "-q", queue, "--shutdown-timeout", "600"]
            return stack.enter_context(Command("worker", target, *flags, *args, cwd=tmp_path))

        yield start
        # Worker processes outlive a supervisor that is killed until their tasks are done.
        (tmp_path / "release").touch()


async def enqueue(url: str, queue: str, type: str, payload: str = "") -> str:
    async with Client(url) as client:
        return (await client.enqueue(Task(type, payload), queue=queue)).id


def pid_of(command: Command, number: int, *, times: int = 1) -> int:
    """The process id of a worker process; of the last of `times` with this number."""
    return int(command.wait_for(rf"started process {number} \(pid (\d+)\)", times=times)[1])


# Several


async def test_block_is_shown_once_and_all_processes_leave_on_a_signal(
    start: Start, redis_url: str, queue: str
) -> None:
    workers = start("-p", "3")
    pids = [pid_of(workers, number) for number in (1, 2, 3)]
    await enqueue(redis_url, queue, "say", "hello")
    workers.wait_for("said hello")
    workers.send(signal.SIGTERM)
    assert workers.exit_status() == 0
    for pid in pids:
        wait_until_gone(pid)
    workers.wait_for("in each of 3 processes")
    assert sum("concurrency" in line for line in workers.lines) == 1


async def test_killed_process_is_replaced(start: Start, redis_url: str, queue: str) -> None:
    workers = start("-p", "2")
    pid_of(workers, 2)
    os.kill(pid_of(workers, 1), signal.SIGKILL)
    workers.wait_for(r"process 1 \(pid \d+\) was killed by SIGKILL; starting another")
    other = pid_of(workers, 1, times=2)
    os.kill(pid_of(workers, 2), signal.SIGKILL)
    pid_of(workers, 2, times=2)
    await enqueue(redis_url, queue, "say", "still here")
    workers.wait_for("said still here")
    workers.send(signal.SIGTERM)
    assert workers.exit_status() == 0
    wait_until_gone(other)


async def test_no_orphans_when_the_supervisor_is_killed(
    start: Start, redis: Redis, tmp_path: Path, redis_url: str, queue: str
) -> None:
    workers = start("-p", "2")
    pids = [pid_of(workers, number) for number in (1, 2)]
    await enqueue(redis_url, queue, "hold")
    workers.wait_for("holding")
    workers.send(signal.SIGKILL)
    workers.wait_for("the supervising process is gone")
    (tmp_path / "release").touch()
    for pid in pids:
        wait_until_gone(pid)
    workers.wait_for("released")
    assert await redis.keys(f"asynq:{{{queue}}}:t:*") == []


async def test_ctrl_c_in_a_terminal_reaches_the_processes_once(
    start: Start, tmp_path: Path, redis_url: str, queue: str
) -> None:
    workers = start("-p", "2")
    pid_of(workers, 2)
    await enqueue(redis_url, queue, "hold")
    workers.wait_for("holding")
    workers.send_group(signal.SIGINT)
    workers.wait_for("shutting down")
    (tmp_path / "release").touch()
    assert workers.exit_status() == 0
    assert "released" in workers.output
    assert "putting running tasks back" not in workers.output


async def test_second_signal_is_passed_on(
    start: Start, redis: Redis, redis_url: str, queue: str
) -> None:
    workers = start("-p", "2")
    pid_of(workers, 2)
    task_id = await enqueue(redis_url, queue, "hold")
    workers.wait_for("holding")
    workers.send(signal.SIGTERM)
    workers.wait_for("shutting down")
    workers.send(signal.SIGTERM)
    assert workers.exit_status() == 0
    assert await redis.lrange(f"asynq:{{{queue}}}:pending", 0, -1) == [task_id.encode()]


async def test_tstp_is_passed_on(start: Start, redis: Redis, redis_url: str, queue: str) -> None:
    workers = start("-p", "2")
    for number in (1, 2):  # each has to run tasks before it can stop to
        pid_of(workers, number)
    await enqueue(redis_url, queue, "hold")
    workers.wait_for("holding")
    await enqueue(redis_url, queue, "say", "before")
    workers.wait_for("said before")
    workers.send(signal.SIGTSTP)
    workers.wait_for("taking no new tasks")


def test_wrong_target_is_explained_once(start: Start) -> None:
    workers = start("-p", "3", target="tasks:mix")
    assert workers.exit_status() == 2
    assert sum("did you mean tasks:mux?" in line for line in workers.lines) == 1


def test_without_redis_all_give_up(start: Start) -> None:
    workers = start("-p", "2", "--connect-timeout", "0.2", redis="redis://127.0.0.1:1")
    assert workers.exit_status() == 69


def test_signal_while_starting_ends_all(start: Start) -> None:
    workers = start("-p", "2", "--connect-timeout", "600", redis="redis://127.0.0.1:1")
    workers.wait_for("trying for 600 s")
    workers.send(signal.SIGINT)
    assert workers.exit_status() == 0


# Anew


async def test_changed_code_is_run(
    start: Start, tmp_path: Path, redis_url: str, queue: str
) -> None:
    worker = start("--reload")
    await enqueue(redis_url, queue, "say", "old")
    worker.wait_for("^said old")
    (tmp_path / "tasks.py").write_text(TASKS.replace('"said"', '"proclaimed"'))
    worker.wait_for("tasks.py changed")
    pid_of(worker, 1, times=2)
    await enqueue(redis_url, queue, "say", "new")
    worker.wait_for("^proclaimed new")
    worker.send(signal.SIGTERM)
    assert worker.exit_status() == 0


async def test_watching_survives_code_that_does_not_run(
    start: Start, tmp_path: Path, redis_url: str, queue: str
) -> None:
    worker = start("--reload")
    await enqueue(redis_url, queue, "say", "one")
    worker.wait_for("^said one")
    (tmp_path / "tasks.py").write_text("this is no python")
    worker.wait_for("error: importing tasks raised SyntaxError")
    worker.wait_for("waiting for a change of the code")
    (tmp_path / "tasks.py").write_text(TASKS)
    await enqueue(redis_url, queue, "say", "two")
    worker.wait_for("^said two")
    worker.send(signal.SIGTERM)
    assert worker.exit_status() == 0


def test_reload_without_its_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    with pytest.raises(CommandError, match=r"pip install \"asyncq\[reload\]\""):
        check_installed()
