"""The original's command line, `asynq`, on a system that is all Python."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from redis_servers import RedisServer
from waiting import until

from .conftest import StartPeer
from .peers import Peer, Seen, find, new_task

Asynq = Callable[..., Coroutine[Any, Any, str]]
"""`await asynq("queue", "ls")`: what the command prints. It must succeed."""

LATER = 3600
OFTEN = {"heartbeat": 0.3}


@pytest.fixture
def asynq(go_programs: Path, system_redis: RedisServer, tmp_path: Path) -> Asynq:
    async def run(*args: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *(str(go_programs / "asynq"), *args, "--uri", f"127.0.0.1:{system_redis.port}"),
            env={"HOME": str(tmp_path), "NO_COLOR": "1"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        printed = (await process.communicate())[0].decode()
        assert process.returncode == 0, printed
        assert not printed.lower().startswith("error"), printed
        return printed

    return run


class System:
    """A Python worker on a queue with a task in every state."""

    def __init__(self, worker: Peer, queue: str) -> None:
        self.worker = worker
        self.queue = queue
        self.tasks: dict[str, Seen] = {}

    async def fill(self) -> None:
        await self.worker.start_worker(queues={self.queue: 5}, retry_delay=LATER, timing=OFTEN)
        self.tasks = {
            "active": await self.enqueue("hang"),
            "scheduled": await self.enqueue("echo", process_in=LATER),
            "aggregating": await self.enqueue("echo", group="g"),
            "retry": await self.enqueue("fail"),
            "archived": await self.enqueue("fail", max_retry=0),
            "completed": await self.enqueue("echo", retention=LATER),
        }
        for state, task in self.tasks.items():
            await self.comes_to(state, task)
        await self.worker.inspect("pause_queue", queue=self.queue)
        self.tasks["pending"] = await self.enqueue("echo")

    async def enqueue(self, type: str, **options: Any) -> Seen:
        return await self.worker.enqueue(type, b'{"n": 1}', queue=self.queue, **options)

    async def comes_to(self, state: str, task: Seen) -> None:
        async def is_there() -> bool:
            stored = await find(self.worker, task)
            return stored is not None and stored["state"] == state

        await until(is_there, f"{task} {state}")


@pytest.fixture
async def system(start_peer: StartPeer, queue: str) -> System:
    system = System(start_peer("python"), queue)
    await system.fill()
    return system


async def test_queues_are_printed(system: System, asynq: Asynq) -> None:
    assert system.queue in (await asynq("queue", "ls")).split()
    assert (await asynq("group", "ls", "--queue", system.queue)).split() == ["g"]
    printed = words(await asynq("queue", "inspect", system.queue))
    assert f"Name: {system.queue} Size: 7 Groups: 1 Paused: true" in printed
    assert "active pending aggregating scheduled retry archived completed" in printed
    assert " 1 1 1 1 1 1 1 " in printed
    printed = words(await asynq("queue", "history", system.queue))
    assert re.search(r"\d{4}-\d\d-\d\d 3 2 66.67%", printed)
    assert system.queue in await asynq("stats")
    assert f'"Queue":"{system.queue}"' in await asynq("stats", "--json")


async def test_tasks_are_printed(system: System, asynq: Asynq) -> None:
    for state, task in system.tasks.items():
        group = ["--group", "g"] if state == "aggregating" else []
        printed = await asynq("task", "ls", "--queue", system.queue, "--state", state, *group)
        assert task["id"] in printed
        assert task["type"] in printed
        assert '{"n": 1}' in printed
        printed = words(await asynq("task", "inspect", "-q", system.queue, "-i", task["id"]))
        assert f"Queue: {system.queue} ID: {task['id']} Type: {task['type']}" in printed
        assert f"State: {state}" in printed
        assert ("Error message: RuntimeError: boom" in printed) == (state in ("retry", "archived"))


async def test_tasks_and_queues_are_acted_on(system: System, asynq: Asynq) -> None:
    async def act(call: str, state: str) -> str:
        return await asynq("task", call, "-q", system.queue, "-i", system.tasks[state]["id"])

    assert "task is now pending" in await act("run", "scheduled")
    assert "task archived" in await act("archive", "retry")
    assert "task deleted" in await act("delete", "completed")
    assert "2 tasks deleted" in await asynq(
        "task", "deleteall", "-q", system.queue, "-s", "archived"
    )
    assert "1 tasks are now pending" in await asynq(
        "task", "runall", "-q", system.queue, "-s", "aggregating", "-g", "g"
    )
    assert system.queue in await asynq("queue", "resume", system.queue)
    for state in ("pending", "scheduled", "aggregating"):
        await system.worker.event("done", system.tasks[state])
    active = system.tasks["active"]
    assert active["id"] in await asynq("task", "cancel", active["id"])
    await system.comes_to("retry", active)


async def test_a_task_of_the_command_line_is_handled(system: System, asynq: Asynq) -> None:
    await asynq("queue", "resume", system.queue)
    options = {"id": "from-cli", "queue": system.queue, "retry": "2", "retention": "1h"}
    flags = [text for name, value in options.items() for text in (f"--{name}", value)]
    printed = await asynq("task", "enqueue", "-t", "echo", "-l", "hello", *flags)
    assert printed == f"Enqueued task from-cli to queue {system.queue}\n"
    done = await system.worker.event("done", id="from-cli")
    assert (done["payload"], done["max_retry"]) == ("hello", 2)


async def test_servers_are_printed(system: System, asynq: Asynq) -> None:
    async def shows_what_runs() -> bool:
        printed = words(await asynq("server", "ls"))
        return f" {system.worker.pid} active 1/10 {system.queue}:5 " in printed

    await until(shows_what_runs, "the server and its one worker")


async def test_schedulers_are_printed(
    start_peer: StartPeer, go: Peer, queue: str, asynq: Asynq
) -> None:
    scheduler = start_peer("python")
    entries = [
        {"spec": spec, "task": new_task(name, b"p", queue=queue, max_retry=3)}
        for spec, name in (("@every 1s", "often"), ("0 0 30 2 *", "never"))
    ]
    often, never = await scheduler.call(
        "start_scheduler", name="s", location="UTC", entries=entries
    )

    async def events() -> Any:
        return await go.inspect("enqueue_events", entry_id=often)

    async def printed() -> str:
        return words(await asynq("cron", "ls"))

    def line(entry_id: str, spec: str, type: str) -> str:
        return rf'{entry_id} {re.escape(spec)} {type} p \[Queue\("{queue}"\) MaxRetry\(3\)\]'

    (event, *_) = await until(events, "a task enqueued")
    await until(
        lambda: matches(printed, rf"{line(often, '@every 1s', 'often')} (In \ds|Now) \ds ago"),
        "the entry that ran",
    )
    assert await matches(printed, line(never, "0 0 30 2 *", "never") + r" \S+( \S+)? N/A")
    assert event["task_id"] in await asynq("cron", "history", often)


async def matches(printed: Callable[[], Coroutine[Any, Any, str]], pattern: str) -> bool:
    return re.search(pattern, await printed()) is not None


def words(printed: str) -> str:
    """With one space between all words, whatever the table looked like."""
    return " ".join(printed.split())
