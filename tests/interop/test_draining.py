"""Workers of both sides on one queue at once: every task is handled, none twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from redis.asyncio import Redis
from standing import Standing, nothing_left, standing, until

from .conftest import StartPeer
from .peers import Peer, new_task

EACH = 10_000


async def test_two_workers_drain_a_queue_without_loss_or_double(
    start_peer: StartPeer,
    go: Peer,
    python: Peer,
    queue: str,
    redis: Redis,
    record_property: Callable[[str, object], None],
) -> None:
    task = new_task("count", b'{"n": 1}', queue=queue)
    await go.inspect("pause_queue", queue=queue)
    enqueued: set[str] = set()
    for producer in (go, python):
        enqueued |= set(await producer.call("enqueue_many", count=EACH, task=task))
    assert len(enqueued) == 2 * EACH
    workers = {language: start_peer(language) for language in ("go", "python")}
    for worker in workers.values():
        await worker.start_worker(queues={queue: 1}, concurrency=20)
    await python.inspect("unpause_queue", queue=queue)

    left: Standing = await standing(redis, queue)

    async def drained() -> bool:
        nonlocal left
        left = await standing(redis, queue)
        return left.at_rest

    await until(drained, lambda: left, every_s=0.1)
    assert left == nothing_left(processed=2 * EACH)
    handled = {
        language: Counter(await worker.call("counts")) for language, worker in workers.items()
    }
    record_property(
        "summary",
        f"one queue, {2 * EACH} tasks of both sides: Go handled {handled['go'].total()},"
        f" Python {handled['python'].total()}",
    )
    assert handled["go"].total() > 0
    assert handled["python"].total() > 0
    assert handled["go"] + handled["python"] == dict.fromkeys(enqueued, 1)
