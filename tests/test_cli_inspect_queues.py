"""`asyncq stats`, `queue`, `group`: what they print, what they change, and their exit statuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from commands import Command
from dash_world import a_task
from operating import operate, operated
from placed import put
from redis.asyncio import Redis
from redis_servers import RedisServer
from redis_topologies import redis_cluster

from asyncq import Client, Inspector, QueueInfo, QueueNotFoundError, ServerInfo, Task, WorkerInfo
from asyncq._broker import keys
from asyncq.cli.inspect.diagnosis import errors_of, of_servers

NOW = datetime(2026, 11, 21, 16, 0, tzinfo=UTC)


def one(said: Any, queue: str) -> Any:
    """The record of a queue among those of others."""
    (found,) = [record for record in said if record["queue"] == queue]
    return found


# Looking


async def test_queues_are_listed_with_sizes_and_what_they_did(
    redis: Any, redis_url: str, queue: str
) -> None:
    await put(redis, queue, "pending", ["a", "b"])
    await put(redis, queue, "retry", ["c"])
    day = f"{datetime.now(UTC):%Y-%m-%d}"
    await redis.set(keys.processed_on(queue, day), 8)
    await redis.set(keys.failed_on(queue, day), 2)
    await redis.set(keys.paused(queue), 1)

    titles, *rows = (await operated(redis_url, "queue", "ls")).rows
    (row,) = [row for row in rows if row[0] == queue]
    cells = dict(zip(titles, row, strict=True))
    assert cells["State"] == "paused"
    assert (cells["Size"], cells["Pending"], cells["Retry"]) == ("3", "2", "1")
    assert cells["Error rate"] in ("25.00 %", "-")  # midnight may have passed

    record = one((await operated(redis_url, "queue", "list", "--json")).json, queue)
    assert (record["size"], record["pending"], record["paused"]) == (3, 2, True)
    assert record["latency"] > 0
    assert set(record) == {*QueueInfo.__dataclass_fields__, "error_rate"}


async def test_names_of_queues_are_printed_one_a_line(
    redis: Redis, redis_url: str, queue: str
) -> None:
    await put(redis, queue, "pending", ["a"])
    assert queue in (await operated(redis_url, "queue", "ls", "--names")).out.splitlines()
    assert queue in (await operated(redis_url, "queue", "ls", "--names", "--json")).json


async def test_queues_of_a_cluster_are_listed_with_their_nodes(redis_variant: str) -> None:
    with redis_cluster(redis_variant) as cluster:
        async with Client(cluster.url) as client:
            for queue in ("one", "two"):
                await client.enqueue(Task("t"), queue=queue)
        titles, *rows = (await operated(cluster.url, "queue", "ls")).rows
        assert titles[:3] == ["Queue", "Slot", "Nodes"]
        assert [row[0] for row in rows] == ["one", "two"]
        records = (await operated(cluster.url, "queue", "ls", "--json")).json
        ports = {f"127.0.0.1:{node.port}" for node in cluster.nodes}
        for row, record in zip(rows, records, strict=True):
            assert row[1] == str(record["cluster_key_slot"])
            assert row[2] in ports
            assert record["cluster_nodes"][0]["address"] == row[2]
        listed = (await operated(cluster.url, "task", "ls", "-q", "one", "-s", "pending")).rows
        assert len(listed) == 2
        stats = (await operated(cluster.url, "stats", "--json")).json
        assert (stats["aggregate"]["pending"], len(stats["redis"])) == (2, 3)


async def test_queue_is_inspected_with_what_holds_it_up(
    redis: Any, redis_url: str, queue: str
) -> None:
    await put(redis, queue, "archived", ["a"])
    await put(redis, queue, "retry", {"b": 1}, error_msg="no route\nto host")
    await redis.set(keys.paused(queue), 1)
    said = await operated(redis_url, "queue", "inspect", queue)
    assert f"Queue:\t{queue}\n" in said.out
    assert "- it is paused, so no task is taken: asyncq queue resume" in said.out
    assert "- no live server works on it" in said.out
    assert "- 1 task to be tried again, the next now; its error: no route\n" in (said.out)
    assert f"- 1 task archived, failed for good; asyncq task ls -q {queue} -s archived shows" in (
        said.out
    )

    (record,) = (await operated(redis_url, "queue", "inspect", queue, "--json")).json
    assert [note["kind"] for note in record["notes"]] == [
        "paused", "no_server", "retrying", "archived"
    ]  # fmt: skip
    assert (record["queue"], record["size"], record["error"]) == (queue, 2, None)


async def test_tasks_in_groups_are_told_to_wait_for_who_aggregates(
    redis_url: str, queue: str
) -> None:
    async with Client(redis_url) as client:
        for _ in range(2):
            await client.enqueue(Task("t", queue=queue, group="g"))
    said = await operated(redis_url, "queue", "inspect", queue)
    assert "- 2 tasks in 1 group, until a server that aggregates makes one task of each" in said.out
    (record,) = (await operated(redis_url, "queue", "inspect", queue, "--json")).json
    assert [note["kind"] for note in record["notes"]] == ["no_server", "grouped"]


def a_server(**changes: Any) -> ServerInfo:
    workers = [
        WorkerInfo(
            host="h", pid=7, server_id="s", task_id=f"task-{n}", task_type="t", task_payload=b"",
            queue="q", started=NOW - timedelta(minutes=n + 1), deadline=NOW + timedelta(minutes=1),
        )
        for n in range(2)
    ]  # fmt: skip
    fields: dict[str, Any] = {
        "id": "s", "host": "h", "pid": 7, "concurrency": 2, "queues": {"q": 1},
        "strict_priority": False, "status": "active", "started": NOW,
        "active_worker_count": 2, "active_workers": workers,
    }  # fmt: skip
    return ServerInfo(**(fields | changes))


def a_queue(**changes: Any) -> QueueInfo:
    names = (
        "size pending active scheduled retry archived completed aggregating groups processed"
        " failed processed_total failed_total memory_usage"
    )
    fields: dict[str, Any] = dict.fromkeys(names.split(), 0)
    fields |= {"queue": "q", "paused": False, "latency": timedelta(0), "timestamp": NOW}
    return QueueInfo(**(fields | changes))


@pytest.mark.parametrize(
    ("queue", "servers", "notes"),
    [
        (a_queue(pending=3), [a_server()],
         [("all 2 slots of its servers are busy; longest: task task-1 (t, queue q) on h:7, for 2m;"
           " asyncq server ls --workers shows all")]),
        (a_queue(pending=3), [a_server(queues={"other": 1})],
         ["no live server works on it (1 work on other queues)"]),
        (a_queue(pending=3), [a_server(status="stopped")],
         ["the server h:7 takes no new tasks: it is stopped"]),
        (a_queue(pending=3, latency=timedelta(seconds=30)),
         [a_server(active_workers=[], strict_priority=True)],
         [("its next task has waited for 30s, although 2 of 2 slots are free; strict priority lets"
          " it wait while others have tasks")]),
        (a_queue(pending=3, latency=timedelta(seconds=3)), [a_server(active_workers=[])], []),
        (a_queue(active=2), [a_server()], []),
        (a_queue(active=2), [a_server(active_workers=[])],
         [("2 tasks active, though no live server says that it runs any; recovered when"
          " their leases have run out, within about a minute")]),
        (a_queue(paused=True, pending=3, latency=timedelta(hours=1)), [a_server()],
         ["it is paused, so no task is taken: asyncq queue resume q"]),
    ],
)  # fmt: skip
def test_notes_tell_why_tasks_wait(
    queue: QueueInfo, servers: list[ServerInfo], notes: list[str]
) -> None:
    assert [note.text for note in of_servers(queue, servers, NOW)] == notes


@pytest.mark.parametrize(
    ("errors", "total", "said"),
    [
        (["no route\nto host"], 1, "; its error: no route"),
        (["no user 7", "no user 12"], 2, "; their error: no user 7"),
        ([""], 1, ""),
        (["", "no"], 2, "; errors: 1 x (none), 1 x no"),
        (["no"], 9, "; errors of the first 1: 1 x no"),
        (
            ["no user 7", "cut", "no user 9", "a", "b", "cut", "c", "no user 1"],
            8,
            "; errors: 3 x no user 7, 2 x cut, 1 x a, 2 others",
        ),
    ],
)
def test_most_frequent_errors_are_told(errors: list[str], total: int, said: str) -> None:
    tasks = [replace(a_task(), last_error=error) for error in errors]
    assert errors_of(tasks, total) == said


async def test_history_has_a_line_for_each_day(redis: Any, redis_url: str, queue: str) -> None:
    await put(redis, queue, "pending", ["a"])
    yesterday = f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%d}"
    await redis.set(keys.processed_on(queue, yesterday), 4)
    await redis.set(keys.failed_on(queue, yesterday), 1)
    said = await operated(redis_url, "queue", "history", queue, "-x", "5")
    assert said.rows[0] == [f"Queue: {queue}"]
    assert said.rows[1] == ["Date (UTC)", "Processed", "Failed", "Error rate"]
    assert len(said.rows) == 2 + 5
    assert [yesterday, "4", "1", "25.00 %"] in said.rows

    (record,) = (await operated(redis_url, "queue", "history", queue, "--json")).json
    assert len(record["days"]) == 10
    assert {"queue": queue, "date": yesterday, "processed": 4, "failed": 1} in record["days"]


async def test_several_queues_are_shown_even_if_one_is_not_there(
    start_redis: Callable[..., RedisServer],
) -> None:
    server = start_redis()
    async with Client(server.url) as client:
        for queue in ("default", "low"):
            await client.enqueue(Task("t"), queue=queue)
    said = await operate(server, "queue", "inspect", "low", "defualt", "default")
    assert said.status == 1
    assert said.err == "error: there is no queue 'defualt'; did you mean 'default'?\n"
    assert "Queue:\tlow\n" in said.out
    assert "\n" + "=" * 40 + "\nQueue:\tdefault\n" in said.out

    said = await operate(server, "queue", "history", "low", "defualt", "--json")
    assert said.status == 1
    assert [(record["queue"], record["error"]) for record in said.json] == [
        ("low", None),
        ("defualt", "there is no queue 'defualt'; did you mean 'default'?"),
    ]


async def test_stats_count_all_queues(start_redis: Callable[..., RedisServer]) -> None:
    server = start_redis()
    async with server.client() as redis:
        await put(redis, "one", "pending", ["a", "b"])
        await put(redis, "two", "archived", ["c"])
    said = await operated(server, "stats")
    assert said.rows[1:3] == [
        ["active", "pending", "aggregating", "scheduled", "retry", "archived", "completed"],
        ["0", "2", "0", "0", "0", "1", "0"],
    ]
    assert ["one", "run", "2"] in [row[:3] for row in said.rows]
    assert "Error rate:\t-\n" in said.out

    record = (await operated(server, "stats", "--json")).json
    assert (record["aggregate"]["pending"], record["aggregate"]["archived"]) == (2, 1)
    assert [queue["queue"] for queue in record["queues"]] == ["one", "two"]
    (info,) = record["redis"]
    assert info["where"] == server.url.removesuffix("?db=0")
    assert "used_memory" in info["values"]


async def test_stats_of_an_empty_redis(start_redis: Callable[..., RedisServer]) -> None:
    server = start_redis()
    assert (await operated(server, "stats", "--json")).json["queues"] == []
    assert len((await operated(server, "queue", "ls")).rows) == 1
    assert (await operated(server, "queue", "ls", "--json")).json == []


def test_stats_are_watched_with_what_gets_done(
    start_redis: Callable[..., RedisServer], tmp_path: Path
) -> None:
    server = start_redis()
    from redis_topologies import say

    say(server, "SADD", keys.QUEUES, "q")
    arguments = ("stats", "--watch", "--every", "0.1", "--json", "--redis", server.url)
    with Command(*arguments, cwd=tmp_path) as command:
        command.wait_for('"aggregate"')
        say(server, "INCRBY", keys.processed("q"), 1000)
        command.wait_for(r'"processed_per_second": [1-9]')
        command.send(2)
        assert command.exit_status() == 0
        assert all(json.loads(line)["queues"] for line in command.lines)


async def test_groups_are_listed(redis: Redis, redis_url: str, queue: str) -> None:
    await put(redis, queue, "aggregating", ["a", "b"], group="g 1")
    said = await operated(redis_url, "group", "ls", "-q", queue)
    assert said.rows == [["Group", "Size"], ["g 1", "2"]]
    said = await operated(redis_url, "group", "list", "--queue", queue, "--json")
    assert said.json == [{"queue": queue, "group": "g 1", "size": 2}]


# Changing


async def test_queues_are_paused_and_resumed(
    redis: Redis, redis_url: str, inspector: Inspector, queue: str
) -> None:
    await put(redis, queue, "pending", ["a"])
    said = await operated(redis_url, "queue", "pause", queue)
    assert said.out == f"queue '{queue}' is paused\n"
    assert (await inspector.queue_info(queue)).paused
    said = await operated(redis_url, "queue", "pause", queue, "--json")
    assert said.json == [{"queue": queue, "changed": False, "error": None}]
    said = await operated(redis_url, "queue", "unpause", queue)
    assert said.out == f"queue '{queue}' runs again\n"
    assert not (await inspector.queue_info(queue)).paused
    said = await operated(redis_url, "queue", "resume", queue)
    assert said.out == f"queue '{queue}' was not paused\n"


async def test_queue_that_is_not_there_is_not_paused(
    redis: Any, redis_url: str, queue: str
) -> None:
    said = await operate(redis_url, "queue", "pause", queue)
    assert (said.status, said.out) == (1, "")
    assert not await redis.exists(keys.paused(queue))


async def test_queue_is_deleted_only_when_told_twice(
    redis: Redis, redis_url: str, inspector: Inspector, queue: str
) -> None:
    await put(redis, queue, "pending", ["a"])
    said = await operate(redis_url, "queue", "rm", queue, "--force")
    assert (said.status, said.out) == (2, "")
    assert f"whether to delete queue '{queue}' with its 1 task, which cannot be undone" in said.err
    assert "add --yes" in said.err

    said = await operate(redis_url, "queue", "remove", queue, "--yes")
    assert said.status == 1
    assert said.err == (
        f"error: queue '{queue}' is not deleted: it has 1 task; --force deletes all with it\n"
    )
    said = await operated(redis_url, "queue", "delete", queue, "-f", "--yes")
    assert said.out == f"queue '{queue}' is deleted\n"
    with pytest.raises(QueueNotFoundError):
        await inspector.queue_info(queue)


async def test_queue_with_running_tasks_is_not_deleted(
    redis: Redis, redis_url: str, queue: str
) -> None:
    await put(redis, queue, "active", ["a"])
    said = await operate(redis_url, "queue", "rm", queue, "--force", "--yes", "--json")
    assert said.status == 1
    (record,) = said.json
    assert "1 tasks of it are running" in record["error"]
