"""Worker processes that have done enough are replaced, and finish what they began."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import pytest
from commands import Command

from asyncq import Client, Server, Task
from asyncq.cli.recycling import Limits, parse_size

TASKS = """
import asyncio, os
from pathlib import Path
from asyncq import ServeMux, Task

mux = ServeMux()
kept = []

@mux.handle("say")
async def say(task: Task) -> None:
    print("said", task.payload.decode(), "in", os.getpid(), flush=True)

@mux.handle("grow")
async def grow(task: Task) -> None:
    kept.append(b"x" * 50_000_000)

@mux.handle("hold")
async def hold(task: Task) -> None:
    print("holding", flush=True)
    while not Path("release").exists():
        await asyncio.sleep(0.01)
    print("released in", os.getpid(), flush=True)
"""

Start = Callable[..., Command]
Enqueue = Callable[..., Awaitable[None]]


@pytest.fixture
def start(tmp_path: Path, redis_url: str, queue: str) -> Iterator[Start]:
    """Starts `asyncq worker tasks:mux` on the test's own queue."""
    (tmp_path / "tasks.py").write_text(TASKS)
    with ExitStack() as stack:

        def start(*args: str) -> Command:
            flags = ["-r", redis_url, "-q", queue, "--shutdown-timeout", "600"]
            return stack.enter_context(Command("worker", "tasks:mux", *flags, *args, cwd=tmp_path))

        yield start
        # Worker processes outlive a supervisor that is killed until their tasks are done.
        (tmp_path / "release").touch()


@pytest.fixture
def enqueue(redis_url: str, queue: str) -> Enqueue:
    async def enqueue(type: str, payload: str = "") -> None:
        async with Client(redis_url) as client:
            await client.enqueue(Task(type, payload), queue=queue)

    return enqueue


def pid(command: Command, times: int) -> str:
    """The id of the process with number 1 that was started as so manieth."""
    return command.wait_for(r"started process 1 \(pid (\d+)\)", times=times)[1]


async def test_process_that_has_run_its_tasks_is_replaced(start: Start, enqueue: Enqueue) -> None:
    worker = start("--max-tasks-per-process", "2")
    for n in range(1, 4):
        await enqueue("say", "first")
        await enqueue("say", "second")
        worker.wait_for("this process has run 2 tasks", times=n)
    await enqueue("say", "last")
    worker.wait_for(f"said last in {pid(worker, 4)}")
    worker.wait_for(r"process 1 \(pid \d+\), replaced, left with status 0", times=3)
    worker.send(signal.SIGTERM)
    assert worker.exit_status() == 0
    said = [line.split() for line in worker.lines if line.startswith("said")]
    assert len(said) == 7
    assert len({pid for *_, pid in said}) == 4


async def test_running_task_is_finished_by_the_process_that_is_replaced(
    start: Start, enqueue: Enqueue, tmp_path: Path
) -> None:
    # One that is told to leave would put it back after this time.
    worker = start("--max-tasks-per-process", "1", "--shutdown-timeout", "0")
    await enqueue("hold")
    worker.wait_for("holding")
    await enqueue("say", "one")
    worker.wait_for("this process has run 1 tasks")
    await enqueue("say", "two")
    worker.wait_for(f"said two in {pid(worker, 2)}")
    (tmp_path / "release").touch()
    worker.wait_for(f"released in {pid(worker, 1)}")
    worker.wait_for(rf"process 1 \(pid {pid(worker, 1)}\), replaced, left with status 0")
    assert sum(line == "holding" for line in worker.lines) == 1


async def test_signal_to_stop_reaches_a_process_that_is_replaced(
    start: Start, enqueue: Enqueue, tmp_path: Path
) -> None:
    worker = start("--max-tasks-per-process", "1")
    await enqueue("hold")
    worker.wait_for("holding")
    await enqueue("say", "one")
    worker.wait_for("this process has run 1 tasks")
    await enqueue("say", "two")  # the other has handlers of signals by now
    worker.wait_for("said two")
    worker.send(signal.SIGTERM)
    worker.wait_for("shutting down")
    (tmp_path / "release").touch()
    assert worker.exit_status() == 0
    assert "released" in worker.output
    assert "putting running tasks back" not in worker.output


async def test_processes_that_run_their_last_tasks_do_not_become_many(
    start: Start, enqueue: Enqueue, tmp_path: Path
) -> None:
    worker = start("--max-tasks-per-process", "1")
    for n in range(1, 4):
        await enqueue("hold")
        worker.wait_for("holding", times=n)
        await enqueue("say", "one")
        worker.wait_for("this process has run 1 tasks", times=n)
    worker.wait_for("3 processes before it still run their last tasks")
    assert "said two" not in worker.output
    await enqueue("say", "two")
    (tmp_path / "release").touch()
    worker.wait_for(f"said two in {pid(worker, 4)}")


async def test_process_that_takes_too_much_memory_is_replaced(
    start: Start, enqueue: Enqueue
) -> None:
    worker = start("--max-rss", "300M")
    for _ in range(6):
        await enqueue("grow")
    worker.wait_for(r"this process takes \d+ MiB")
    await enqueue("say", "on")
    worker.wait_for(f"said on in {pid(worker, 2)}")


def test_memory_that_is_not_enough_to_begin_with_is_explained(start: Start) -> None:
    worker = start("--max-rss", "1M")
    assert worker.exit_status() == 2
    assert "MiB before its first task, but --max-rss allows 1 MiB" in worker.output


@pytest.mark.parametrize("text", ["500", "M", "-1M", "0M", "1T", "1 M B"])
def test_size_that_cannot_be_meant_is_explained(text: str) -> None:
    with pytest.raises(ValueError, match="a size is"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("500M", 500 << 20), ("1.5G", 3 << 29), ("64 KiB", 1 << 16), ("1gb", 1 << 30)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


def test_wrong_size_is_a_wrong_flag(start: Start) -> None:
    worker = start("--max-rss", "500")
    assert worker.exit_status() == 2
    assert "a size is written as 500M" in worker.output


async def test_processes_that_began_together_do_not_leave_together() -> None:
    class Counted:
        def __init__(self) -> None:
            self.counts: list[int] = []

        async def handled(self, count: int) -> None:
            self.counts.append(count)

    counted = Counted()
    for _ in range(50):
        await Limits(tasks=1000).reached(cast(Server, counted))
    limits = [count for count in counted.counts if count > 1]
    assert 900 <= min(limits) <= max(limits) <= 1000
    assert len(set(limits)) > 5
