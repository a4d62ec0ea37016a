"""Each side's inspector looks at, and acts on, what the other side made: tasks in every state."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from typing import Any

import pytest
from waiting import until

from .peers import CallError, Peer, Seen, find, is_gone, seen_by_all

STATES = ("active", "pending", "scheduled", "retry", "archived", "completed", "aggregating")
LATER = 3600
LATEST = 7200


class Stock:
    """A queue of one side with two tasks in every state, and the inspector of the other side."""

    def __init__(self, owner: Peer, looker: Peer, queue: str) -> None:
        self.owner = owner
        self.looker = looker
        self.queue = queue
        self.tasks: dict[str, list[Seen]] = {}

    async def fill(self) -> None:
        """Two tasks for each state, in the order in which lists show them."""
        timing = {"heartbeat": 0.3} if self.owner.language == "python" else None
        await self.owner.start_worker(
            self.queue, queues={self.queue: 1}, retry_delay=LATER, timing=timing
        )
        self.tasks = {
            "active": [await self.enqueue("hang", max_retry=1) for _ in "ab"],
            "scheduled": [await self.enqueue("echo", process_in=at) for at in (LATER, LATEST)],
            "aggregating": [await self.enqueue("echo", group="g") for _ in "ab"],
            "retry": [await self.enqueue("fail", max_retry=1) for _ in "ab"],
            "archived": [await self.enqueue("fail", max_retry=0) for _ in "ab"],
            "completed": [await self.enqueue("echo", retention=at) for at in (LATER, LATEST)],
        }
        for state, tasks in self.tasks.items():
            for task in tasks:
                await self.comes_to(state, task)
        await self.owner.inspect("pause_queue", queue=self.queue)
        self.tasks["pending"] = [await self.enqueue("echo") for _ in "ab"]

    async def stop(self) -> None:
        """Stop the worker, when nothing is left that would hold it up."""
        for task in self.tasks["active"]:
            await self.cancel(task)
        await self.owner.call("stop_worker", name=self.queue)

    async def cancel(self, task: Seen) -> None:
        await until(functools.partial(self._is_cancelled, task), f"{task} cancelled")

    async def enqueue(self, type: str, **options: Any) -> Seen:
        payload = b"%s of %s" % (type.encode(), self.owner.language.encode())
        return await self.owner.enqueue(type, payload, {"k": "v"}, queue=self.queue, **options)

    async def act(self, call: str, **arguments: Any) -> Any:
        """What the other side's inspector answers."""
        return await self.looker.inspect(call, queue=self.queue, **arguments)

    async def comes_to(self, state: str, task: Seen) -> Seen:
        await until(lambda: self._is(state, task), f"{task} {state}")
        return await seen_by_all((self.owner, self.looker), task)

    async def gone(self, task: Seen) -> None:
        assert await is_gone(self.looker, task)
        assert await is_gone(self.owner, task)

    async def _is(self, state: str, task: Seen) -> bool:
        stored = await find(self.looker, task)
        return stored is not None and stored["state"] == state

    async def _is_cancelled(self, task: Seen) -> bool:
        # Asked again and again: a Go worker does not hear it before it has subscribed.
        await self.looker.inspect("cancel", task_id=task["id"])
        return not await self._is("active", task)


@pytest.fixture(params=["go-of-python", "python-of-go"])
async def stock(
    request: pytest.FixtureRequest, lasting_peers: dict[str, Peer], queue: str
) -> AsyncIterator[Stock]:
    looker, owner = request.param.split("-of-")
    stock = Stock(lasting_peers[owner], lasting_peers[looker], queue)
    await stock.fill()
    yield stock
    await stock.stop()


async def test_lists_show_every_state_as_the_owner_sees_it(stock: Stock) -> None:
    for state in STATES:
        where = {"state": state} | ({"group": "g"} if state == "aggregating" else {})
        listed = await stock.act("list_tasks", **where)
        in_order = state in ("pending", "scheduled", "completed")
        expected = [task["id"] for task in stock.tasks[state]]
        assert (ids(listed) == expected) if in_order else (sorted(ids(listed)) == sorted(expected))
        again = await stock.owner.inspect("list_tasks", queue=stock.queue, **where)
        if state != "pending":  # always due just now
            assert listed == again
        pages = [
            await stock.act("list_tasks", page=page, page_size=1, **where) for page in (1, 2, 3)
        ]
        assert [ids(page) for page in pages] == [[task_id] for task_id in ids(listed)] + [[]]


async def test_tasks_are_the_same_one_by_one(stock: Stock) -> None:
    for state in STATES:
        for task in stock.tasks[state]:
            seen = await seen_by_all((stock.owner, stock.looker), task)
            assert seen["state"] == state
            assert seen["headers"] == {"k": "v"}
            assert seen["payload"] == f"{task['type']} of {stock.owner.language}"


async def test_queues_groups_and_history_are_the_same(stock: Stock) -> None:
    assert stock.queue in await stock.looker.inspect("queues")
    for call, arguments in (("groups", {}), ("history", {"days": 3})):
        there = await stock.owner.inspect(call, queue=stock.queue, **arguments)
        assert await stock.act(call, **arguments) == there
    seen = [
        await peer.inspect("queue_info", queue=stock.queue) for peer in (stock.owner, stock.looker)
    ]
    memory = [info.pop("memory_usage") for info in seen]
    assert min(memory) > 0
    assert seen[0] == seen[1]
    assert {state: seen[0][state] for state in STATES} == dict.fromkeys(STATES, 2)
    # Two retried, two archived, two completed.
    assert (seen[0]["processed"], seen[0]["failed"], seen[0]["size"]) == (6, 4, 14)
    assert seen[0]["paused"]
    assert seen[0]["has_latency"]


async def test_what_is_not_there_is_not_found(stock: Stock) -> None:
    with pytest.raises(CallError, match="task not found"):
        await stock.act("task_info", task_id="nobody")
    for call in ("run_task", "archive_task", "delete_task"):
        with pytest.raises(CallError, match="task not found"):
            await stock.act(call, task_id="nobody")
    with pytest.raises(CallError, match="queue not found"):
        await stock.looker.inspect("list_tasks", queue="nobody's", state="pending")


@pytest.mark.parametrize("state", ["scheduled", "retry", "archived", "completed", "aggregating"])
async def test_a_task_is_run(stock: Stock, state: str) -> None:
    task = stock.tasks[state][0]
    await stock.act("run_task", task_id=task["id"])
    await stock.comes_to("pending", task)
    await stock.act("unpause_queue")
    await stock.owner.event("start", task)


@pytest.mark.parametrize("state", ["pending", "scheduled", "retry", "completed", "aggregating"])
async def test_a_task_is_archived(stock: Stock, state: str) -> None:
    task = stock.tasks[state][0]
    await stock.act("archive_task", task_id=task["id"])
    await stock.comes_to("archived", task)


@pytest.mark.parametrize("state", [state for state in STATES if state != "active"])
async def test_a_task_is_deleted(stock: Stock, state: str) -> None:
    task, other = stock.tasks[state]
    await stock.act("delete_task", task_id=task["id"])
    await stock.gone(task)
    await stock.comes_to(state, other)


async def test_a_running_task_is_only_cancelled(stock: Stock) -> None:
    task, other = stock.tasks["active"]
    for call in ("run_task", "archive_task", "delete_task"):
        with pytest.raises(CallError):
            await stock.act(call, task_id=task["id"])
    await stock.cancel(task)
    assert (await stock.comes_to("retry", task))["last_error"] == "context canceled"
    await stock.comes_to("active", other)


async def test_the_payload_of_a_scheduled_task_is_replaced(stock: Stock) -> None:
    task = stock.tasks["scheduled"][0]
    await stock.act("update_payload", task_id=task["id"], payload=b"new")
    await stock.act("run_task", task_id=task["id"])
    await stock.act("unpause_queue")
    done = await stock.owner.event("done", task)
    assert (done["payload"], done["headers"]) == ("new", {"k": "v"})


@pytest.mark.parametrize(
    ("call", "to", "states"),
    [
        ("run_all", "pending", ["scheduled", "retry", "archived", "aggregating"]),
        ("archive_all", "archived", ["pending", "scheduled", "retry", "aggregating"]),
        ("delete_all", "", [state for state in STATES if state != "active"]),
    ],
)
async def test_all_tasks_of_a_state_are_moved_at_once(
    stock: Stock, call: str, to: str, states: list[str]
) -> None:
    for state in states:
        where = {"state": state} | ({"group": "g"} if state == "aggregating" else {})
        assert await stock.act(call, **where) == 2
        for task in stock.tasks[state]:
            await (stock.comes_to(to, task) if to else stock.gone(task))
    assert await stock.act("groups") == []


async def test_a_paused_queue_waits_until_it_is_resumed(stock: Stock) -> None:
    await stock.act("unpause_queue")
    for task in stock.tasks["pending"]:
        await stock.owner.event("done", task)
    await stock.act("pause_queue")
    assert (await stock.owner.inspect("queue_info", queue=stock.queue))["paused"]
    task = await stock.enqueue("echo")
    await stock.act("unpause_queue")
    await stock.owner.event("done", task)


async def test_a_queue_is_deleted_only_when_nothing_runs(stock: Stock) -> None:
    with pytest.raises(CallError, match="queue not empty"):
        await stock.act("delete_queue")
    with pytest.raises(CallError):
        await stock.act("delete_queue", force=True)
    for task in stock.tasks["active"]:
        await stock.cancel(task)
    await stock.act("delete_queue", force=True)
    for peer in (stock.owner, stock.looker):
        assert stock.queue not in await peer.inspect("queues")
    for state in ("pending", "scheduled", "retry", "archived"):
        for task in stock.tasks[state]:
            await stock.gone(task)


async def test_servers_are_shown_with_what_they_run(stock: Stock) -> None:
    async def shown() -> Any:
        """The server with this queue, as both sides see it, once it says what it runs."""
        seen = [
            next((s for s in await peer.inspect("servers") if stock.queue in s["queues"]), None)
            for peer in (stock.owner, stock.looker)
        ]
        running = seen[0] is not None and len(seen[0]["active_workers"]) == 2
        return seen[0] if running and seen[0] == seen[1] else None

    server = await until(shown, "the server and its workers shown")
    assert server["pid"] == stock.owner.pid
    assert server["concurrency"] == 10
    assert server["queues"] == {stock.queue: 1}
    assert server["status"] == "active"
    workers = {worker["task_id"]: worker for worker in server["active_workers"]}
    assert sorted(workers) == sorted(ids(stock.tasks["active"]))
    for worker in workers.values():
        assert worker["task_type"] == "hang"
        assert worker["task_payload"] == f"hang of {stock.owner.language}"
        assert worker["queue"] == stock.queue
        assert worker["deadline"] - worker["started"] in (1799, 1800, 1801)


def ids(tasks: list[Seen]) -> list[str]:
    return [task["id"] for task in tasks]
