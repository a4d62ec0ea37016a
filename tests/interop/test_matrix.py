"""Whatever one side enqueues, the other side handles, and both see the same of it.

Every test runs for each pair of {Go, Python} producer and {Go, Python} worker, all of them real
processes. The worker processes serve all tests of this file.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import pytest
from waiting import until

from .conftest import StartPeer
from .peers import CallError, Peer, Seen, find, is_gone, seen_by_all

LANGUAGES = ("go", "python")


@pytest.fixture(scope="module")
def workers(_start: StartPeer) -> Iterator[dict[str, Peer]]:
    """A process of each language with a worker, once `worker` has started that."""
    with ExitStack() as stack:
        peers = {language: _start(language) for language in LANGUAGES}
        for peer in peers.values():
            stack.callback(peer.close)
        yield peers


class Cell:
    """One producer, one worker, and the inspectors of both sides."""

    def __init__(self, producer: Peer, worker: Peer, peers: dict[str, Peer]) -> None:
        self.producer = producer
        self.worker = worker
        self.queue = f"matrix-{worker.language}"
        self._peers = list(peers.values())

    async def enqueue(
        self, type: str, payload: bytes = b"p", headers: dict[str, str] | None = None, **rest: Any
    ) -> Seen:
        return await self.producer.enqueue(type, payload, headers, queue=self.queue, **rest)

    async def seen(self, task: Seen) -> Seen:
        """The task as both inspectors see it."""
        return await seen_by_all(self._peers, task)

    async def comes_to(self, state: str, task: Seen) -> Seen:
        await until(lambda: self._is(state, task), f"{task} {state}")
        return await self.seen(task)

    async def gone(self, task: Seen) -> None:
        for peer in self._peers:
            await until(functools.partial(is_gone, peer, task), f"{task} is gone")

    async def _is(self, state: str, task: Seen) -> bool:
        stored = await find(self.producer, task)
        return stored is not None and stored["state"] == state


@pytest.fixture(params=[f"{p}-to-{w}" for p in LANGUAGES for w in LANGUAGES])
async def cell(
    request: pytest.FixtureRequest, lasting_peers: dict[str, Peer], workers: dict[str, Peer]
) -> Cell:
    producer, worker = request.param.split("-to-")
    cell = Cell(lasting_peers[producer], workers[worker], lasting_peers)
    await start_worker(cell.worker, cell.queue)
    return cell


async def start_worker(peer: Peer, queue: str) -> None:
    """Start it unless it runs already."""
    if not peer.find({"event": "working"}):
        await peer.start_worker(queues={queue: 1}, group={"grace_period": 1, "max_size": 3})
        peer.events.append({"event": "working"})


async def test_a_plain_task_is_handled_and_deleted(cell: Cell) -> None:
    task = await cell.enqueue("echo", "grün".encode())
    assert task["state"] == "pending"
    done = await cell.worker.event("done", task)
    assert done == {
        "event": "done",
        "id": task["id"],
        "queue": cell.queue,
        "type": "echo",
        "payload": "grün",
        "headers": {},
        "retried": 0,
        "max_retry": 25,
    }
    await cell.gone(task)


async def test_a_unique_task_is_refused_on_both_sides_until_it_is_done(
    cell: Cell, lasting_peers: dict[str, Peer]
) -> None:
    payload = uuid4().bytes
    task = await cell.enqueue("echo", payload, unique=3600, process_in=3600, task_id=uuid4().hex)
    for peer in lasting_peers.values():
        with pytest.raises(CallError, match="duplicate task"):
            await peer.enqueue("echo", payload, queue=cell.queue, unique=3600)
        with pytest.raises(CallError, match="task id conflict"):
            await peer.enqueue("echo", b"other", queue=cell.queue, task_id=task["id"])
    await cell.producer.inspect("run_task", queue=cell.queue, task_id=task["id"])
    await cell.worker.event("done", task)
    await cell.gone(task)
    again = await cell.enqueue("echo", payload, unique=3600)
    await cell.worker.event("done", again)


async def test_a_scheduled_task_is_handled_when_due(cell: Cell) -> None:
    due = time.time() + 2
    task = await cell.enqueue("echo", process_at=due)
    stored = await cell.seen(task)
    assert stored["state"] == "scheduled"
    assert int(due) <= stored["next_process_at"] <= due + 1
    await cell.worker.event("done", task)
    # asynq cuts due times to whole seconds; asyncq's own are never early.
    wholly_asyncq = cell.producer.language == cell.worker.language == "python"
    assert time.time() >= (due if wholly_asyncq else int(due))
    await cell.gone(task)


async def test_a_failed_task_is_retried_and_keeps_its_error(cell: Cell) -> None:
    task = await cell.enqueue("fail-first", b"again", max_retry=3, retention=60)
    done = await cell.worker.event("done", task)
    assert (done["retried"], done["max_retry"], done["payload"]) == (1, 3, "again")
    stored = await cell.comes_to("completed", task)
    assert stored["retried"] == 1
    assert stored["last_error"].endswith("boom")  # asyncq names the type of the error, too
    assert abs(stored["last_failed_at"] - time.time()) < 60


@pytest.mark.parametrize(
    ("type", "max_retry", "error"), [("fail", 0, "boom"), ("skip", 5, "no use")]
)
async def test_an_exhausted_or_skipped_task_is_archived(
    cell: Cell, type: str, max_retry: int, error: str
) -> None:
    task = await cell.enqueue(type, max_retry=max_retry)
    stored = await cell.comes_to("archived", task)
    assert error in stored["last_error"]
    assert stored["retried"] == 0


async def test_a_revoked_task_is_dropped(cell: Cell) -> None:
    task = await cell.enqueue("revoke")
    await cell.worker.event("start", task)
    await cell.gone(task)


async def test_a_retained_task_keeps_its_result(cell: Cell) -> None:
    task = await cell.enqueue("echo", b"\x01 two", retention=3600)
    await cell.worker.event("done", task)
    stored = await cell.comes_to("completed", task)
    assert stored["result"] == "done:\x01 two"
    assert stored["retention"] == 3600
    assert abs(stored["completed_at"] - time.time()) < 60


async def test_a_group_is_aggregated_into_one_task(cell: Cell) -> None:
    group = f"user:1:{uuid4().hex}"
    parts = [await cell.enqueue("echo", part, group=group) for part in (b"c", b"a", b"b")]
    assert {part["state"] for part in parts} == {"aggregating"}
    # Three tasks are a full group; where enqueueing them took long, the worker took fewer first.
    aggregated: list[str] = []

    def whole() -> bool:
        aggregated[:] = [
            event["payload"].removeprefix(f"{group}=")
            for event in cell.worker.events
            if event["event"] == "done" and event["payload"].startswith(f"{group}=")
        ]
        return sorted(",".join(aggregated).split(",")) == ["a", "b", "c"]

    await until(whole, f"all parts aggregated: {aggregated}")
    for part in parts:
        await cell.gone(part)
        assert cell.worker.find({"id": part["id"]}) is None


async def test_headers_reach_the_handler_and_outlive_a_retry(cell: Cell) -> None:
    headers = {"trace": "00-ab", "leer": "", "ключ": "значение"}
    task = await cell.enqueue("fail-first", headers=headers, retention=60)
    done = await cell.worker.event("done", task)
    assert (done["headers"], done["retried"]) == (headers, 1)
    stored = await cell.comes_to("completed", task)
    assert stored["headers"] == headers


async def test_a_cancelled_task_fails(cell: Cell) -> None:
    task = await cell.enqueue("hang", max_retry=0)
    await cell.worker.event("start", task)

    async def is_archived() -> bool:
        # Asked again and again: a Go worker does not hear it before it has subscribed.
        await cell.producer.inspect("cancel", task_id=task["id"])
        stored = await cell.producer.inspect("task_info", queue=cell.queue, task_id=task["id"])
        return bool(stored["state"] == "archived")

    await until(is_archived, "cancelled")
    assert (await cell.seen(task))["last_error"] == "context canceled"


async def test_a_task_that_times_out_fails(cell: Cell) -> None:
    task = await cell.enqueue("hang", max_retry=0, timeout=1)
    stored = await cell.comes_to("archived", task)
    assert stored["last_error"] == "context deadline exceeded"
    assert (stored["timeout"], stored["deadline"]) == (1, None)


async def test_a_task_past_its_deadline_fails(cell: Cell) -> None:
    deadline = int(time.time()) + 2
    task = await cell.enqueue("hang", max_retry=0, deadline=deadline)
    stored = await cell.comes_to("archived", task)
    assert stored["last_error"] == "context deadline exceeded"
    assert (stored["timeout"], stored["deadline"]) == (0, deadline)
