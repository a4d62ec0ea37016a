"""When nothing fails: each task is handled once, and queues get their shares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from redis.asyncio import Redis
from standing import at_rest, nothing_left
from worker_processes import Note, Workers

from asyncq import Client, Task

WEIGHTS = (6, 3, 1)
CONCURRENCY = 50
TAKEN = 2 * 2 * CONCURRENCY
"""More than both workers have in their hands at any time."""


@pytest.mark.parametrize("tasks", [10_000, pytest.param(100_000, marks=pytest.mark.campaign)])
async def test_two_workers_handle_each_task_once_and_share_by_weight(
    tasks: int,
    redis: Redis,
    redis_url: str,
    queue: str,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    names = [f"{queue}-{weight}" for weight in WEIGHTS]
    counts = dict(zip(names, (tasks * 4 // 10, tasks * 3 // 10, tasks * 3 // 10), strict=True))
    async with Client(redis_url) as client:
        for name, count in counts.items():
            await client.enqueue_many([Task("quick", queue=name)] * count)

    config = {"queues": dict(zip(names, WEIGHTS, strict=True)), "concurrency": CONCURRENCY}
    async with Workers(redis_url, tmp_path, config=config) as workers:
        await workers.start()
        await workers.start()
        for name, count in counts.items():
            assert await at_rest(redis, name) == nothing_left(processed=count)
        notes = workers.notes("done")

    assert len(notes) == len({note.task_id for note in notes}) == tasks
    assert {note.retry_count for note in notes} == {0}
    shares = _shares_while_all_had_tasks(notes, names, counts)
    exact = [100 * weight / sum(WEIGHTS) for weight in WEIGHTS]
    assert shares == pytest.approx(exact, abs=2)
    took_s = (notes[-1].at_ns - notes[0].at_ns) / 1e9
    record_property(
        "summary",
        f"{tasks} tasks, two worker processes, weights {WEIGHTS}: each handled once; shares"
        f" {', '.join(f'{share:.2f}' for share in shares)} %; {tasks / took_s:.0f} tasks/s",
    )


def _shares_while_all_had_tasks(
    notes: Sequence[Note], names: Sequence[str], counts: dict[str, int]
) -> list[float]:
    """Per cent of all tasks handled until the first queue had no more to fetch: the last that
    were handled had been taken before, and may have waited in a worker that was not given time."""
    handled: Counter[str] = Counter()
    for note in notes:
        handled[note.queue] += 1
        if handled[note.queue] == counts[note.queue] - TAKEN:
            break
    return [100 * handled[name] / handled.total() for name in names]
