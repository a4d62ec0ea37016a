"""How long nothing flows when a master fails over under a steady load, and that nothing is lost.

python -m chaos.failover [TIMES]

Every enqueue waits for a replica. What detects a dead master is Redis's own, and set short here:
Sentinel's down-after-milliseconds is 300, a cluster's node time-out 2 s.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from waiting import until

from asyncq import Client, Task

from .fleet import Sizes, make_fleet
from .journal import Note, notes
from .places import InCluster, Place, WithSentinel, place
from .roles import Told, journal, told, word

_RATE_PER_S = 1000
_BATCH = 20
_BEFORE_S, _AFTER_S = 5.0, 8.0
_QUEUES = ("a",)
"""One, so that all of it is on the master that fails."""


def produce() -> None:
    """Enqueue at a steady rate until killed, whatever becomes of earlier enqueues."""
    asyncio.run(_produce())


async def _produce() -> None:
    notebook, numbers = journal(), itertools.count()
    async with Client() as client, asyncio.TaskGroup() as sending:
        loop = asyncio.get_running_loop()
        next_s = loop.time()
        notebook.note("up", "-")

        async def send(tasks: list[Task]) -> None:
            tokens = [task.payload.decode() for task in tasks]
            notebook.note("sent", *tokens)
            results = await client.enqueue_many(tasks, return_exceptions=True, wait_replicas=1)
            for token, result in zip(tokens, results, strict=True):
                notebook.note(word(result), token)

        while True:
            (queue,) = told().queues
            tokens = [f"{told().name}-{next(numbers)}" for _ in range(_BATCH)]
            sending.create_task(send([Task("noop", token, queue=queue) for token in tokens]))
            next_s += _BATCH / _RATE_PER_S
            await asyncio.sleep(next_s - loop.time())


@dataclass(frozen=True, slots=True)
class Found:
    """One failover."""

    longest_ack_s: float
    """The longest time in which no enqueue was acknowledged."""
    longest_done_s: float
    """The longest time in which no task was done."""
    acknowledged: int
    lost: int
    other: int
    """Tasks that were not acknowledged, for whatever reason."""


def _fail(where: Place, how: str) -> None:
    queue = _QUEUES[0]
    match where, how:
        case WithSentinel(), "asked":
            where.fail_over()
        case WithSentinel(), _:
            where.lose_master(1)
        case InCluster(), "asked":
            where.fail_over(queue)
        case InCluster(), _:
            where.lose_master(queue, 1)
        case _:
            raise AssertionError(where)


async def measure(topology: str, how: str) -> Found:
    directory = Path(tempfile.mkdtemp(prefix="asyncq-chaos-failover-"))
    with place(topology, "redis") as where:
        said = Told(directory=str(directory), name="", queues=_QUEUES, seed=0, concurrency=100)
        sizes = Sizes(workers=2, producers=1, schedulers=0)
        fleet = make_fleet(said, where.url, sizes, producer=("call", "chaos.failover:produce"))
        try:
            for member in fleet:
                member.start()
                await member.up()
            await asyncio.sleep(_BEFORE_S)
            begun_ns = time.monotonic_ns()
            await asyncio.to_thread(_fail, where, how)
            await asyncio.sleep(_AFTER_S)
            ended_ns = time.monotonic_ns()
            for member in fleet.producers:
                member.close()
            await until(lambda: not _waiting(where), "all is done", every_s=0.2)
        finally:
            for member in fleet:
                member.close()
    return _judge(list(notes(directory)), begun_ns, ended_ns)


def _waiting(where: Place) -> bool:
    return any(where.waiting(queue) for queue in _QUEUES)


def _judge(noted: list[Note], begun_ns: int, ended_ns: int) -> Found:
    acknowledged = {note.token for note in noted if note.event == "acked"}
    done = {note.token for note in noted if note.event == "done"}
    sent = {note.token for note in noted if note.event == "sent"}

    def longest(event: str) -> float:
        times = sorted(n.at_ns for n in noted if n.event == event)
        inside = [t for t in times if begun_ns <= t <= ended_ns]
        pairs = itertools.pairwise([begun_ns, *inside, ended_ns])
        return max(later - earlier for earlier, later in pairs) / 1e9

    return Found(
        longest("acked"),
        longest("done"),
        len(acknowledged),
        len(acknowledged - done),
        len(sent - acknowledged),
    )


async def main(times: int) -> None:
    for topology, how in itertools.product(("sentinel", "cluster"), ("asked", "killed")):
        found = [await measure(topology, how) for _ in range(times)]

        what = "asked to" if how == "asked" else "kill -9 of the master"
        _say(
            f"{topology}, {what}, {times} times at {_RATE_PER_S}/s:"
            f" no enqueue acknowledged for {_shown([one.longest_ack_s for one in found])};"
            f" no task done for {_shown([one.longest_done_s for one in found])};"
            f" {sum(one.acknowledged for one in found)} acknowledged by a replica,"
            f" {sum(one.lost for one in found)} lost,"
            f" {sum(one.other for one in found)} not acknowledged"
        )


def _shown(seconds: list[float]) -> str:
    return f"p50 {statistics.median(seconds):.2f} s, max {max(seconds):.2f} s"


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - what this is run for


if __name__ == "__main__":
    asyncio.run(main(*[int(arg) for arg in sys.argv[1:]] or (3,)))
