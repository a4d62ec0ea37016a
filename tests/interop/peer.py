"""The Python side of these tests as a process, the twin of the program in `golang/`.

    python peer.py redis://... < requests > replies and events

Told what to do and telling what happened in lines of JSON; `peers.py` drives both. Task types,
answers and words are the same on both sides.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from asyncq import (
    Client,
    DuplicateTaskError,
    GroupConfig,
    Inspector,
    PeriodicTask,
    PeriodicTaskManager,
    QueueInfo,
    QueueNotEmptyError,
    QueueNotFoundError,
    RevokeTask,
    Scheduler,
    SchedulerEntry,
    Semaphore,
    ServeMux,
    Server,
    ServerConfig,
    ServerInfo,
    SkipRetry,
    Task,
    TaskIdConflictError,
    TaskInfo,
    TaskNotFoundError,
    current,
)
from asyncq._worker.timing import Timing
from asyncq.option_text import option_texts

WORDS: dict[type[Exception], str] = {
    DuplicateTaskError: "duplicate task",
    TaskIdConflictError: "task id conflict",
    TaskNotFoundError: "task not found",
    QueueNotFoundError: "queue not found",
    QueueNotEmptyError: "queue not empty",
}
"""The errors that callers tell apart, as both sides call them."""


class Peer:
    """One process: a client, an inspector, and whatever it was asked to start."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = Client(url)
        self.inspector = Inspector(self.client)
        self.workers: dict[str, Server] = {}
        self.schedulers: dict[str, Scheduler | PeriodicTaskManager] = {}
        self.counts: Counter[str] = Counter()
        self.gate = asyncio.Event()

    async def run(self) -> None:
        """Answer requests until there are no more."""
        lines = asyncio.StreamReader(limit=1 << 26)
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(lines), sys.stdin
        )
        async with self.client:
            while line := await lines.readline():
                await self._answer(json.loads(line))

    async def _answer(self, request: dict[str, Any]) -> None:
        number, what = request.pop("n"), request.pop("do")
        call: Callable[..., Awaitable[object]] = getattr(self, f"do_{what}")
        try:
            tell(n=number, value=await call(**request))
        except Exception as error:  # noqa: BLE001 - the test on the other end judges it
            tell(n=number, error=WORDS.get(type(error), f"{type(error).__name__}: {error}"))

    async def do_enqueue(self, type: str, **rest: Any) -> object:
        task, options = new_task(type, **rest)
        return seen(await self.client.enqueue(task, **options))

    async def do_enqueue_many(self, count: int, task: dict[str, Any]) -> object:
        made, options = new_task(**task)
        infos = await self.client.enqueue_many([made] * count, **options)
        return [info.id for info in infos]

    async def do_inspect(self, call: str, **arguments: Any) -> object:
        if "payload" in arguments:
            arguments["payload"] = base64.b64decode(arguments["payload"])
        found = await getattr(self.inspector, call)(**arguments)
        return [shown(one) for one in found] if isinstance(found, list) else shown(found)

    async def do_start_worker(
        self,
        name: str,
        queues: dict[str, int],
        concurrency: int = 10,
        strict_priority: bool = False,
        retry_delay: float = 0,
        group: dict[str, Any] | None = None,
        timing: dict[str, float] | None = None,
    ) -> None:
        config = ServerConfig(
            concurrency=concurrency,
            queues=queues,
            strict_priority=strict_priority,
            retry_delay=lambda *_: retry_delay,
            delayed_task_check_interval=0.1,
            shutdown_timeout=1,
            janitor_interval=1,
            group=group_config(**group) if group else None,
        )
        timings: dict[str, Any] = timing or {}
        server = Server(self.url, self._mux(), config, _timing=Timing(**timings))
        self.workers[name] = server
        await server.start()

    async def do_stop_worker(self, name: str) -> None:
        await self.workers[name].shutdown()

    async def do_open_gate(self) -> None:
        self.gate.set()

    async def do_counts(self) -> object:
        return self.counts

    async def do_start_scheduler(
        self, name: str, location: str, entries: list[dict[str, Any]]
    ) -> object:
        scheduler = Scheduler(self.url, location=location, heartbeat_interval=1)
        ids: list[str] = []
        for entry in entries:
            task, options = new_task(**entry["task"])
            ids.append(scheduler.register(entry["spec"], task, **options))
        self.schedulers[name] = scheduler
        await scheduler.start()
        return ids

    async def do_start_manager(self, name: str, entries: list[dict[str, Any]]) -> None:
        def provider() -> list[PeriodicTask]:
            listed: list[PeriodicTask] = []
            for entry in entries:
                task, options = new_task(**entry["task"])
                listed.append(PeriodicTask(entry["spec"], task, **options))
            return listed

        manager = PeriodicTaskManager(self.url, provider, heartbeat_interval=1)
        self.schedulers[name] = manager
        await manager.start()

    async def do_stop_scheduler(self, name: str) -> None:
        await self.schedulers[name].shutdown()

    async def do_option_strings(self, options: dict[str, Any]) -> object:
        return option_texts(new_task("t", options=options)[1])

    def _mux(self) -> ServeMux:
        """One type of task for each way in which an attempt can end."""
        mux = ServeMux()
        mux.use(report)
        mux.handle("echo")(echo)
        mux.handle("aggregated")(echo)
        mux.handle("fail")(fail)
        mux.handle("fail-first")(fail_first)
        mux.handle("skip")(skip)
        mux.handle("revoke")(revoke)
        mux.handle("hang")(hang)
        mux.handle("hang-first")(hang_first)
        mux.handle("count")(self._count)
        mux.handle("semaphore")(self._hold_token)
        return mux

    async def _count(self, task: Task) -> None:
        self.counts[current().task_id] += 1

    async def _hold_token(self, task: Task) -> None:
        """Tells whether it got a token of the semaphore that the payload names, and keeps it."""
        which: Any = task.json()
        semaphore = Semaphore(self.client, which["scope"], which["tokens"])
        got = await semaphore.acquire()
        tell(**attempt("token" if got else "no-token", task))
        if got:
            await self.gate.wait()
            assert await semaphore.release()


def group_config(hang: bool = False, **lengths: Any) -> GroupConfig:
    return GroupConfig(hang_in_aggregator if hang else aggregate, **lengths)


async def hang_in_aggregator(group: str, tasks: list[Task]) -> Task:
    tell(event="aggregating", group=group, count=len(tasks))
    await asyncio.Event().wait()
    raise AssertionError("nobody waits for it")


def aggregate(group: str, tasks: list[Task]) -> Task:
    """One task of the payloads, in alphabetical order."""
    return Task("aggregated", group.encode() + b"=" + b",".join(sorted(t.payload for t in tasks)))


async def report(task: Task, call_next: Callable[[Task], Awaitable[object]]) -> object:
    """Tells of each attempt that begins, and of each that succeeds."""
    if task.type == "count":
        return await call_next(task)
    tell(**attempt("start", task))
    result = await call_next(task)
    tell(**attempt("done", task))
    return result


def attempt(event: str, task: Task) -> dict[str, Any]:
    context = current()
    return {
        "event": event,
        "id": context.task_id,
        "queue": context.queue,
        "type": task.type,
        "payload": text(task.payload),
        "headers": dict(task.headers),
        "retried": context.retry_count,
        "max_retry": context.max_retry,
    }


async def echo(task: Task) -> bytes | None:
    result = b"done:" + task.payload
    await current().write_result(result)
    return None


async def fail(task: Task) -> None:
    raise RuntimeError("boom")


async def fail_first(task: Task) -> bytes | None:
    if current().retry_count == 0:
        raise RuntimeError("boom")
    return await echo(task)


async def skip(task: Task) -> None:
    raise SkipRetry("no use")


async def revoke(task: Task) -> None:
    raise RevokeTask


async def hang(task: Task) -> None:
    await asyncio.Event().wait()


async def hang_first(task: Task) -> bytes | None:
    if current().retry_count == 0:
        await hang(task)
    return await echo(task)


def new_task(
    type: str,
    payload: str | None = None,
    headers: dict[str, str] | None = None,
    options: dict[str, Any] | None = None,
) -> tuple[Task, Any]:
    """A task and its options; a payload comes as base64, a time in Unix seconds."""
    given = dict(options or {})
    for name in ("deadline", "process_at"):
        if name in given:
            given[name] = datetime.fromtimestamp(given[name], UTC)
    data = None if payload is None else base64.b64decode(payload)
    return Task(type, data, headers=headers), given


def shown(found: object) -> object:
    """What an inspector found, in the words of both sides."""
    if isinstance(found, TaskInfo):
        return seen(found)
    if isinstance(found, QueueInfo):
        fields = {name: getattr(found, name) for name in QueueInfo.__slots__}
        del fields["timestamp"]
        return fields | {"has_latency": bool(fields.pop("latency"))}
    if isinstance(found, ServerInfo):
        return seen_server(found)
    if isinstance(found, SchedulerEntry):
        return {
            "id": found.id,
            "spec": found.spec,
            "type": found.task.type,
            "payload": text(found.task.payload),
            "options": option_texts(found.options),
            "next": plain(found.next),
            "prev": plain(found.prev),
        }
    if found is None or isinstance(found, str | int):
        return found
    names = [name for name in dir(found) if not name.startswith("_")]
    return {name: plain(getattr(found, name)) for name in names}


def seen(info: TaskInfo) -> dict[str, Any]:
    return {
        "id": info.id,
        "queue": info.queue,
        "type": info.type,
        "payload": text(info.payload),
        "headers": dict(info.headers),
        "state": str(info.state),
        "max_retry": info.max_retry,
        "retried": info.retried,
        "last_error": info.last_error,
        "last_failed_at": plain(info.last_failed_at),
        "timeout": info.timeout.total_seconds() if info.timeout else 0,
        "deadline": plain(info.deadline),
        "group": info.group,
        "next_process_at": plain(info.next_process_at),
        "is_orphaned": info.is_orphaned,
        "retention": info.retention.total_seconds(),
        "completed_at": plain(info.completed_at),
        "result": text(info.result or b""),
    }


def seen_server(info: ServerInfo) -> dict[str, Any]:
    workers = [
        {
            "task_id": worker.task_id,
            "task_type": worker.task_type,
            "task_payload": text(worker.task_payload),
            "queue": worker.queue,
            "started": plain(worker.started),
            "deadline": plain(worker.deadline),
        }
        for worker in sorted(info.active_workers, key=lambda worker: worker.task_id)
    ]
    return {
        "id": info.id,
        "host": info.host,
        "pid": info.pid,
        "concurrency": info.concurrency,
        "queues": dict(info.queues),
        "strict_priority": info.strict_priority,
        "status": info.status,
        "started": plain(info.started),
        "active_workers": workers,
    }


def plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return int(value.timestamp())
    return value if value is None or isinstance(value, int | float | str) else str(value)


def text(data: bytes) -> str:
    return data.decode(errors="replace")


def tell(**what: Any) -> None:
    # In one write: events of several tasks do not mix.
    os.write(1, json.dumps(what).encode() + b"\n")


if __name__ == "__main__":
    asyncio.run(Peer(sys.argv[1]).run())
