"""`asyncq cron`: what schedulers will enqueue, and what they did."""

from __future__ import annotations

from typing import Any

from operating import operate, operated
from redis.asyncio import Redis
from waiting import until

from asyncq import Inspector, Scheduler, Task
from asyncq._broker import keys


async def test_entries_are_listed_with_their_next_time(redis_url: str, queue: str) -> None:
    scheduler = Scheduler(redis_url)
    first = scheduler.register(
        "@every 1h", Task("report\x1b", {"n": 1}), name=f"n-{queue}", queue=queue, timeout=60
    )
    second = scheduler.register("0 0 30 2 *", Task("never"), queue=queue)
    async with scheduler:
        rows: Any = (await operated(redis_url, "cron", "ls")).rows
        assert rows[0] == ["Entry ID", "Name", "Spec", "Type", "Next", "Prev", "Options", "Payload"]
        found = {row[0]: row for row in rows[1:]}
        assert found[first][1:4] == [f"n-{queue}", "@every 1h", r"report\x1b"]
        assert found[first][4].startswith(("in 1h", "in 59m"))
        assert found[first][5:] == ["-", f'Queue("{queue}"), Timeout(1m0s)', '{"n":1}']
        assert found[second][4] == "-"

        records = (await operated(redis_url, "cron", "list", "--json")).json
        (record,) = [record for record in records if record["id"] == first]
        assert record["task"]["payload"] == '{"n":1}'
        assert record["options"] == {"queue": queue, "timeout": 60}
        assert record["next"].endswith("Z")

        said = await operated(redis_url, "cron", "history", f"n-{queue}")
        assert said.rows == [[f"Entry: n-{queue}"], ["Task ID", "Enqueued"]]
        said = await operated(redis_url, "cron", "history", first[:8], "--json")
        assert said.json == [{"entry": first[:8], "events": [], "error": None}]
        said = await operate(redis_url, "cron", "history", first[:7])
        assert said.status == 1
        said = await operate(redis_url, "cron", "history", f"n-{queue[:-1]}")
        assert said.status == 1
        assert f"did you mean 'n-{queue}'?" in said.err


async def test_history_of_an_entry_is_shown(
    redis: Redis, redis_url: str, inspector: Inspector, queue: str
) -> None:
    scheduler = Scheduler(redis_url)
    entry = scheduler.register("@every 1s", Task("tick"), name=f"n-{queue}", queue=queue)
    async with scheduler:
        await until(lambda: redis.exists(keys.scheduler_history(entry)), "something was enqueued")
        said = await operated(redis_url, "cron", "history", entry, "--size", "1")
        assert said.rows[:2] == [[f"Entry: {entry}"], ["Task ID", "Enqueued"]]
        assert len(said.rows) == 3
        (record,) = (
            await operated(redis_url, "cron", "history", f"n-{queue}", "--size", "1", "--json")
        ).json
        (event,) = record["events"]
        assert (record["entry"], set(event)) == (f"n-{queue}", {"task_id", "enqueued_at"})
        tasks = [task.id async for task in inspector.iter_tasks(queue, "pending")]
        assert event["task_id"] in tasks
