"""`asyncq task ls|inspect|run|archive|delete|cancel|edit`: what is shown and what is moved."""

from __future__ import annotations

import asyncio
import json
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from commands import Command
from operating import operate, operated
from placed import NOW_S, put
from redis.asyncio import Redis
from serving import Sleeper, Working
from waiting import until

from asyncq import Inspector, TaskInfo, TaskNotFoundError, TaskState, WorkerInfo
from asyncq._broker import keys
from asyncq._broker.codec import task_info
from asyncq._broker.message import TaskMessage
from asyncq.cli.inspect.details import worker_of
from asyncq.cli.inspect.following import newcomers

STATES = [state.value for state in TaskState]
PAYLOAD = b'{"user": 7, "note": "\x1b[31m"}'


def group_flags(state: str) -> tuple[str, ...]:
    return ("-g", "g") if state == "aggregating" else ()


async def place(redis: Redis, queue: str, state: str, ids: Any, **more: Any) -> None:
    group = "g" if state == "aggregating" else ""
    await put(redis, queue, state, ids, group=group, **more)


# Looking


@pytest.mark.parametrize("state", STATES)
async def test_tasks_of_a_state_are_listed(
    redis: Redis, redis_url: str, queue: str, state: str
) -> None:
    await place(
        redis, queue, state, ["a", "b"], payload=PAYLOAD, error_msg="no\nroute", retried=2,
        fields={"result": b"\xff"},
    )  # fmt: skip
    flags = ("-q", queue, "-s", state, *group_flags(state))
    titles, *rows = (await operated(redis_url, "task", "ls", *flags)).rows
    assert titles[:2] == ["ID", "Type"]
    assert titles[-1] == "Payload"
    assert [row[:2] for row in rows] == [["a", "t"], ["b", "t"]]
    assert {row[-1] for row in rows} == {r'{"user": 7, "note": "\x1b[31m"}'}
    cells = dict(zip(titles, rows[0], strict=True))
    assert cells.get("Last error", r"no\nroute") == r"no\nroute"
    assert cells.get("Retried", "2/25") == "2/25"
    assert cells.get("Result", "0xff (1 byte)") == "0xff (1 byte)"

    records = (await operated(redis_url, "task", "list", *flags, "--json")).json
    assert [record["id"] for record in records] == ["a", "b"]
    assert set(records[0]) == {
        *TaskInfo.__dataclass_fields__, "payload_encoding", "result_encoding", "worker"
    }  # fmt: skip
    assert records[0]["payload"] == PAYLOAD.decode()
    assert records[0]["state"] == state


@pytest.mark.parametrize("state", STATES)
async def test_list_of_nothing_has_its_titles(
    redis: Redis, redis_url: str, queue: str, state: str
) -> None:
    await place(redis, queue, state, [])
    flags = ("-q", queue, "-s", state, *group_flags(state))
    assert len((await operated(redis_url, "task", "ls", *flags)).rows) == 1
    assert (await operated(redis_url, "task", "ls", *flags, "--json")).json == []


async def test_lists_come_in_pages(redis: Redis, redis_url: str, queue: str) -> None:
    names = [f"{n:03}" for n in range(250)]
    await put(redis, queue, "pending", names)

    async def ids(*flags: str) -> list[str]:
        said = await operated(redis_url, "task", "ls", "-q", queue, "-s", "pending", *flags)
        return [row[0] for row in said.rows[1:]]

    assert await ids() == names[:30]
    assert await ids("--page", "3", "--size", "100") == names[200:]
    assert await ids("--page", "4", "--size", "100") == []
    assert await ids("--all") == names
    said = await operated(redis_url, "task", "ls", "-q", queue, "-s", "pending", "--all", "--json")
    assert [record["id"] for record in said.json] == names


async def test_lists_are_filtered(redis: Redis, redis_url: str, queue: str) -> None:
    await put(redis, queue, "retry", ["a"], type="email:send", payload=b"42", error_msg="timed out")
    await put(redis, queue, "retry", ["b"], type="email:read", payload=b"7", error_msg="timed out")
    await put(redis, queue, "retry", ["c"], type="image", payload=b"42", error_msg="refused")

    async def ids(*flags: str) -> list[str]:
        said = await operated(redis_url, "task", "ls", "-q", queue, "-s", "retry", *flags)
        return [row[0] for row in said.rows[1:]]

    assert await ids("--type", "email:*") == ["a", "b"]
    assert await ids("--type", "image") == ["c"]
    assert await ids("--payload-contains", "42") == ["a", "c"]
    assert await ids("--error-contains", "timed") == ["a", "b"]
    assert await ids("--type", "email:*", "--payload-contains", "42") == ["a"]
    assert await ids("--payload-contains", "42", "--size", "1", "--page", "2") == ["c"]


async def test_running_tasks_are_listed_with_their_workers(
    working: Working, inspector: Inspector, redis_url: str, queue: str
) -> None:
    sleeper = Sleeper()
    async with working(sleeper) as work:
        info = await work.enqueue("t", "payload")
        await sleeper.entered.wait()

        async def published() -> Any:
            return [s for s in await inspector.servers() if queue in s.queues and s.active_workers]

        await until(published)
        flags = ("-q", queue, "-s", "active")
        (record,) = (await operated(redis_url, "task", "ls", *flags, "--json")).json
        assert (record["id"], record["worker"]["pid"] > 0) == (info.id, True)
        titles, row = (await operated(redis_url, "task", "ls", *flags)).rows
        cells = dict(zip(titles, row, strict=True))
        assert cells["Worker"].endswith(f":{record['worker']['pid']}")
        assert cells["Runs for"] not in ("-", "orphaned")

        said = await operated(redis_url, "task", "inspect", info.id)
        assert f"Worker:\t{cells['Worker']}\n" in said.out
        servers = (await operated(redis_url, "server", "ls", "--json")).json
        (server,) = [server for server in servers if queue in server["queues"]]
        assert server["active_workers"][0]["task_payload"] == "payload"
        rows = (await operated(redis_url, "server", "ls")).rows
        assert ["1/10", f"{queue}:1"] in [row[3:5] for row in rows]
        rows = (await operated(redis_url, "server", "ls", "--workers")).rows
        (row,) = [row for row in rows if row[1] == queue]
        assert (row[2], row[3], row[-1]) == (info.id, "t", "payload")
        workers = (await operated(redis_url, "server", "ls", "--workers", "--json")).json
        assert info.id in [worker["task_id"] for worker in workers]


def test_task_that_has_ended_has_no_worker_whatever_its_server_said_last() -> None:
    message, now = TaskMessage("t", "a", "q"), datetime.now(UTC)
    said = WorkerInfo(
        host="vm",
        pid=1,
        server_id="server",
        task_id="a",
        task_type="t",
        task_payload=b"",
        queue="q",
        started=now,
        deadline=now,
    )
    assert worker_of(task_info(message, TaskState.ACTIVE), {("q", "a"): said}) is said
    assert worker_of(task_info(message, TaskState.ARCHIVED), {("q", "a"): said}) is None


async def test_orphan_is_marked(redis: Any, redis_url: str, queue: str) -> None:
    await put(redis, queue, "active", ["a"])
    await redis.zrem(keys.lease(queue), "a")
    titles, row = (await operated(redis_url, "task", "ls", "-q", queue, "-s", "active")).rows
    assert dict(zip(titles, row, strict=True))["Runs for"] == "orphaned"


async def test_task_is_inspected_with_all_that_is_known(
    redis: Redis, redis_url: str, queue: str
) -> None:
    task_id = f"task of {queue}"
    await put(
        redis, queue, "archived", [task_id], payload=PAYLOAD, error_msg="no\nroute\x1b", retried=3,
        last_failed_at=NOW_S, headers={"trace": "x\x1by"}, retention=60, group="g",
        fields={"result": b"\xff"},
    )  # fmt: skip
    said = await operated(redis_url, "task", "inspect", "-q", queue, "-i", task_id)
    assert "\x1b" not in said.out
    for line in (
        f"ID:\t{task_id}", "State:\tarchived", "Retried:\t3 of 25", "Timeout:\t30m",
        "Retention:\t1m", "Group:\tg", "Last error:\n  no\n  route\\x1b",
        "Headers:\n  trace: x\\x1by",
        f'Payload ({len(PAYLOAD)} bytes):\n  {{"user": 7, "note": "\\x1b[31m"}}',
        "Result (1 byte):\n  (no text: 1 byte, here as base64)\n  /w==",
    ):  # fmt: skip
        assert f"{line}\n" in said.out

    (record,) = (await operated(redis_url, "task", "inspect", task_id, "--json")).json
    assert (record["id"], record["queue"], record["error"]) == (task_id, queue, None)
    assert (record["result"], record["result_encoding"]) == ("/w==", "base64")
    assert record["headers"] == {"trace": "x\x1by"}


async def test_payload_and_result_are_written_as_they_are(
    redis: Redis, redis_url: str, queue: str
) -> None:
    await put(redis, queue, "completed", ["a"], payload=b"\x00\n\xff", fields={"result": b"\r"})
    await put(redis, queue, "pending", ["b"])
    flags = ("task", "inspect", "-q", queue)
    assert (await operated(redis_url, *flags, "a", "--raw-payload")).raw == b"\x00\n\xff"
    assert (await operated(redis_url, *flags, "a", "--raw-result")).raw == b"\r"
    said = await operate(redis_url, *flags, "b", "--raw-result")
    assert (said.status, said.raw) == (1, b"")
    assert "has no result" in said.err


async def test_task_is_found_in_whatever_queue_it_is(
    redis: Redis, redis_url: str, queue: str
) -> None:
    await put(redis, queue, "pending", [f"{queue}-a", f"{queue}-b"])
    await put(redis, f"{queue}-2", "pending", [f"{queue}-b"])
    said = await operate(redis_url, "task", "inspect", f"{queue}-a", "x")
    assert said.status == 1
    assert f"Queue:\t{queue}\n" in said.out
    assert "error: there is no task 'x' in any of" in said.err

    said = await operate(redis_url, "task", "inspect", f"{queue}-b")
    assert said.status == 1
    assert f"'{queue}', '{queue}-2'; say which with --queue" in said.err

    said = await operate(redis_url, "task", "inspect", "a", "-q", queue + "x")
    assert (said.status, f"did you mean '{queue}'?" in said.err) == (1, True)
    said = await operate(redis_url, "task", "inspect", "nope", "-q", queue)
    assert said.err == f"error: there is no task 'nope' in queue '{queue}'\n"


# As they come


def a_task(task_id: str) -> TaskInfo:
    return TaskInfo(
        id=task_id, queue="q", type="t", payload=b"", headers={}, state=TaskState.PENDING,
        max_retry=1,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("tail", "known", "new"),
    [
        ("", "", ""),
        ("ab", "", "ab"),
        ("bcd", "abc", "d"),  # one came, one left
        ("xyab", "abcd", ""),  # the last ones were deleted, so older ones moved up
        ("xya0b1", "ab", "01"),
        ("de", "abc", "de"),  # all were taken
    ],
)
def test_only_what_came_is_new(tail: str, known: str, new: str) -> None:
    found = newcomers([a_task(task_id) for task_id in tail], set(known))
    assert [task.id for task in found] == list(new)


@pytest.mark.parametrize("state", STATES)
async def test_new_tasks_of_a_state_are_followed(
    redis: Redis, redis_url: str, queue: str, tmp_path: Path, state: str
) -> None:
    await place(redis, queue, state, {"old": NOW_S})
    arguments = ("-q", queue, "-s", state, *group_flags(state), "--redis", redis_url)
    with Command(
        "task", "ls", "--follow", "--every", "0.1", "--json", *arguments, cwd=tmp_path
    ) as command:
        n = 0

        async def seen() -> list[str]:
            # What comes before its first look is not new: some more are needed until it looks.
            nonlocal n
            if n < 600:
                await place(redis, queue, state, {f"new-{n}": NOW_S + 1 + n})
                n += 1
            return command.lines

        await until(seen, lambda: command.output, every_s=0.1)
        command.send(signal.SIGINT)
        assert await asyncio.to_thread(command.exit_status) == 0
        records = [json.loads(line) for line in command.lines]
    assert all(record["id"].startswith("new-") for record in records)
    assert {record["state"] for record in records} == {state}


# Moving


async def state_of(inspector: Inspector, queue: str, task_id: str) -> str:
    try:
        return (await inspector.task_info(queue, task_id)).state.value
    except TaskNotFoundError:
        return "gone"


@pytest.mark.parametrize(
    ("command", "state"), [("run", "pending"), ("archive", "archived"), ("delete", "gone")]
)
async def test_tasks_are_moved_even_if_one_cannot_be(
    redis: Redis, redis_url: str, inspector: Inspector, queue: str, command: str, state: str
) -> None:
    await put(redis, queue, "scheduled", ["a", "b"])
    await put(redis, queue, "active", ["busy"])
    flags = ("--yes",) if command == "delete" else ()
    said = await operate(redis_url, "task", command, "a", "busy", "-q", queue, "-i", "b", *flags)
    assert said.status == 1
    assert said.err.startswith(f"error: task 'busy' of queue '{queue}': it is running")
    assert said.out.count(f"of queue '{queue}' is ") == 2
    assert [await state_of(inspector, queue, task_id) for task_id in ("a", "b")] == [state] * 2

    said = await operate(redis_url, "task", command, "busy", "-q", queue, "--json", *flags)
    assert (said.status, said.json[0]["id"]) == (1, "busy")
    assert "it is running" in said.json[0]["error"]


@pytest.mark.parametrize("name", ["delete", "rm", "remove"])
async def test_tasks_are_not_deleted_without_a_yes(
    redis: Redis, redis_url: str, inspector: Inspector, queue: str, name: str
) -> None:
    await put(redis, queue, "archived", ["a"])
    said = await operate(redis_url, "task", name, "a", "-q", queue)
    assert (said.status, said.out) == (2, "")
    assert "whether to delete task a (t, archived), which cannot be undone" in said.err
    assert await state_of(inspector, queue, "a") == "archived"
    said = await operated(redis_url, "task", name, "a", "-q", queue, "-y", "--json")
    assert said.json == [{"id": "a", "queue": queue, "error": None}]
    assert await state_of(inspector, queue, "a") == "gone"


async def test_payload_is_edited(
    redis: Redis, redis_url: str, inspector: Inspector, queue: str
) -> None:
    await put(redis, queue, "scheduled", ["a"])
    said = await operated(
        redis_url, "task", "edit", "a", "-q", queue, "--json-payload", '{"user": 1}'
    )
    assert "has a new payload of 11 byte" in said.out
    assert (await inspector.task_info(queue, "a")).payload == b'{"user": 1}'
    said = await operate(redis_url, "task", "edit", "a", "-q", queue)
    assert said.status == 1
    assert "say what its payload shall be" in said.err


async def test_running_task_is_cancelled(working: Working, redis_url: str) -> None:
    sleeper = Sleeper()
    async with working(sleeper, retry_delay=lambda *_: 3600) as work:
        info = await work.enqueue("t")
        await sleeper.entered.wait()
        said: Any = None

        async def cancelled() -> bool:
            nonlocal said  # asked again, since the worker may not listen yet
            said = await operated(redis_url, "task", "cancel", info.id)
            return sleeper.cancelled.is_set()

        await until(cancelled, every_s=0.5)
        assert f"asked whoever runs task {info.id} to cancel it" in said.out
        message = await work.comes_to("retry", info)
        assert message.error_msg == "context canceled"


async def test_cancelled_task_is_kept_from_running_again(
    working: Working, redis_url: str, queue: str
) -> None:
    async with working(Sleeper(), retry_delay=lambda *_: 60) as work:
        info = await work.enqueue("t")
        await until(lambda: _is_active(work, info))
        said = await operated(redis_url, "task", "cancel", info.id, "--archive")
        assert said.out == f"task {info.id} of queue '{queue}' is archived\n"
        await work.comes_to("archived", info)


async def _is_active(work: Any, info: TaskInfo) -> bool:
    return bool(await work.state(info) == "active")


async def test_cancelling_what_nobody_runs_is_said(
    redis: Redis, redis_url: str, queue: str
) -> None:
    said = await operated(redis_url, "task", "cancel", "nobody-has-this")
    assert "(no live server says that it runs it)" in said.out
    said = await operated(redis_url, "task", "cancel", "nobody-has-this", "--json")
    assert said.json == [
        {"id": "nobody-has-this", "queue": None, "requested": True, "seen": False, "error": None}
    ]
    await put(redis, queue, "active", [f"{queue}-a"])
    said = await operate(redis_url, "task", "cancel", f"{queue}-a", "--archive", "--wait", "0")
    assert (said.status, "still runs" in said.err) == (1, True)
