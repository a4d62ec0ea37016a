"""Five schedulers, killed and with wrong clocks: each due time is enqueued once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from commands import Command
from redis.asyncio import Redis
from waiting import LONGEST_S, until

from asyncq._broker import keys

TESTS = Path(__file__).parent

Start = Callable[..., Command]


@pytest.fixture
def start(tmp_path: Path, redis_url: str, queue: str) -> Iterator[Start]:
    with ExitStack() as stack:

        def start(clock_off: float = 0) -> Command:
            env = {"ASYNCQ_REDIS_URL": redis_url, "QUEUE": queue, "PYTHONPATH": str(TESTS)}
            env["CLOCK_OFF"] = str(clock_off)
            command = Command("scheduler", "scheduler_targets:make", cwd=tmp_path, env=env)
            return stack.enter_context(command)

        yield start


class Row:
    """The due times of one entry: `step` seconds apart, from where all schedulers count."""

    def __init__(self, redis: Redis, queue: str, step: int) -> None:
        self.step = step
        self._redis = redis
        self._queue = queue
        self._base = 0

    async def begins(self) -> None:
        """Wait until an entry is known."""
        due, count = await until(self._known, f"the first of {self._queue}")
        # One scheduler is there so far; it may have enqueued before this looked.
        self._base = (due // self.step - count) * self.step

    async def counts(self) -> tuple[int, int]:
        """How many due times are done by now, and how many tasks there are."""
        known = await self._known()
        assert known is not None
        due, tasks = known
        return (due - self._base) // self.step, tasks

    async def reaches(self, count: int) -> None:
        async def reached() -> bool:
            return (await self.counts())[0] >= count

        await until(reached, f"{count} due times", every_s=0.02, longest_s=LONGEST_S + 2 * count)

    async def _known(self) -> tuple[int, int] | None:
        """The last due time, and the tasks there are at the same moment."""
        found: list[Any] = await self._redis.keys(keys.cron(self._queue, "*"))
        if not found:
            return None
        pipe: Any = self._redis.pipeline(transaction=True)
        due, tasks = await pipe.hget(found[0], "due").llen(keys.pending(self._queue)).execute()
        return int(due) // 1000, tasks


@pytest.mark.parametrize("due_times", [8, pytest.param(200, marks=pytest.mark.campaign)])
async def test_each_due_time_is_enqueued_once(
    redis: Redis,
    queue: str,
    start: Start,
    due_times: int,
    record_property: Callable[[str, object], None],
) -> None:
    tick, tock = Row(redis, f"{queue}:tick", 1), Row(redis, f"{queue}:tock", 1)
    cron = Row(redis, f"{queue}:cron", 60)
    schedulers = [start()]
    await asyncio.gather(tick.begins(), tock.begins(), cron.begins())
    for number, clock_off in enumerate([2, -2, 0, 0], 1):
        schedulers.append(start(clock_off))
        await tick.reaches(number)  # so that they start at different moments
    schedulers.pop(0).send(signal.SIGKILL)  # the one that most likely was the first each time
    await tick.reaches(due_times // 2)
    for scheduler in schedulers:  # an outage of them all
        scheduler.send(signal.SIGKILL)
    killed = 1 + len(schedulers)
    schedulers = [start(clock_off) for clock_off in (0, 2, -2, 0, 0)]
    while (await tick.counts())[0] < due_times:
        await tick.reaches(min(due_times, (await tick.counts())[0] + 20))
        schedulers.pop(0).send(signal.SIGKILL)
        schedulers.append(start())
        killed += 1
    for scheduler in schedulers:
        scheduler.send(signal.SIGTERM)
    assert {scheduler.exit_status() for scheduler in schedulers} <= {0, -signal.SIGTERM}
    counts = {row: await row.counts() for row in (tick, tock, cron)}
    record_property(
        "summary",
        f"five schedulers, two with clocks 2 s off, {killed} killed: "
        + "; ".join(
            f"{done} due times every {row.step} s, {tasks} tasks"
            for row, (done, tasks) in counts.items()
        ),
    )
    assert all(done == tasks for done, tasks in counts.values())
    assert counts[tick][0] >= due_times
