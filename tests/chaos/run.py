"""One seed: the fleet, its faults, and the account of its tasks.

python -m chaos.run SEED [LENGTH_S [TOPOLOGY]]
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path

import redis
from redis_topologies import wait_until

from asyncq.doctor import Doctor, Severity

from .account import Account, World, account, history
from .faults import KINDS, Scene
from .fleet import QUEUES, TIMING, Fleet, make_fleet
from .journal import Note, notes
from .places import Place, Single, place
from .roles import TICK_S, Told
from .schedule import Planned, Schedule

_REST_S = 90
"""How long tasks may take to come to rest after the last fault; a Go worker's lease is 30 s."""
_AT_LAST_S = 1.0


@dataclass(slots=True)
class Result:
    """What one seed showed."""

    seed: int
    topology: str
    seconds: float
    account: Account
    faults: Counter[str] = field(default_factory=Counter[str])
    stuck: list[str] = field(default_factory=list[str])
    problems: list[str] = field(default_factory=list[str])
    """Those of the account, too; empty for a seed that shows nothing wrong."""
    story: str = ""
    """The schedule, and the history of tasks that went wrong."""

    def to_json(self) -> str:
        return json.dumps(
            self,
            default=lambda made: {field.name: getattr(made, field.name) for field in fields(made)},
        )


class Run:
    """One seed under way."""

    def __init__(self, schedule: Schedule, directory: Path) -> None:
        self._schedule = schedule
        self._directory = directory
        self._start_ns = time.monotonic_ns()
        self._told_of: dict[int, str] = {}
        self._happened: Counter[str] = Counter()
        self._problems: list[str] = []
        self._stuck: list[str] = []

    async def run(self) -> Result:
        schedule = self._schedule
        with contextlib.ExitStack() as stack:
            where = await asyncio.to_thread(
                stack.enter_context, place(schedule.topology, schedule.variant)
            )
            async with _proxied(where):
                fleet = self._fleet(where)
                try:
                    base = await self._begin(fleet, where)
                    await self._disturb(fleet, where)
                    await self._finish(fleet, where, base)
                    return self._judge(fleet, await asyncio.to_thread(_archived, where), where)
                finally:
                    for member in fleet:
                        member.close()

    def _fleet(self, where: Place) -> Fleet:
        told = Told(
            directory=str(self._directory),
            name="",
            queues=QUEUES,
            seed=self._schedule.seed,
            timing=TIMING,
            clock_steps_s=self._schedule.clock_steps_s,
            replicas=1 if where.forgets else 0,
            pause_s=0.02,
        )
        port = where.proxy_port if isinstance(where, Single) else 0
        return make_fleet(told, where.url, self._schedule.sizes, go_port=port)

    async def _begin(self, fleet: Fleet, where: Place) -> int:
        """Start all. Returns the number of due times of the schedulers' entry before the first."""
        for member in fleet.schedulers:
            member.start()
        base = await asyncio.to_thread(_first_tick, where)
        others = fleet.workers + fleet.go_workers + fleet.producers
        for member in others:
            member.start()
        for member in fleet:
            await member.up()
        return base

    async def _disturb(self, fleet: Fleet, where: Place) -> None:
        scene = Scene(where, fleet, self._directory, asyncio.Lock())
        self._start_ns = time.monotonic_ns()
        async with asyncio.TaskGroup() as faults:
            for fault in self._schedule.faults:
                faults.create_task(self._befall(fault, scene))
        await asyncio.sleep(_AT_LAST_S)

    async def _befall(self, fault: Planned, scene: Scene) -> None:
        await asyncio.sleep(fault.at_s)
        self._told_of[time.monotonic_ns()] = f"{fault.kind} begins"
        try:
            happened = await KINDS[fault.kind].happens(scene, random.Random(fault.seed))
        except (AssertionError, redis.RedisError, OSError) as error:
            # Waited in vain, mostly. What the others did is still to be accounted for.
            happened = False
            self._problems.append(f"{fault.kind}: {error}")
        self._told_of[time.monotonic_ns()] = f"{fault.kind} {'ends' if happened else 'did not'}"
        self._happened[fault.kind] += happened

    async def _finish(self, fleet: Fleet, where: Place, base: int) -> None:
        """No more tasks; let those that are there come to rest."""
        for member in fleet:
            member.replace_dead()
        await asyncio.gather(*(member.leave() for member in fleet.producers + fleet.schedulers))
        self._told_of[time.monotonic_ns()] = "no more tasks"
        until = time.monotonic() + _REST_S
        while left := await asyncio.to_thread(_waiting, where):
            for member in fleet.workers + fleet.go_workers:
                member.replace_dead()
            if time.monotonic() > until:
                self._stuck = left
                break
            await asyncio.sleep(0.1)
        self._told_of[time.monotonic_ns()] = "at rest" if not self._stuck else "not at rest"
        await self._examine(where)
        await asyncio.gather(*(member.leave() for member in fleet.workers + fleet.go_workers))
        if not where.forgets:
            await asyncio.to_thread(self._check_ticks, where, base)

    async def _examine(self, where: Place) -> None:
        """What is wrong with keys, though all seems to be done."""
        async with Doctor(where.direct_url) as doctor:
            diagnosis = await doctor.examine()
        for finding in diagnosis.findings:
            if finding.count and finding.severity is not Severity.NOTE:
                self._problems.append(
                    f"doctor: {finding.kind} in {finding.where}: {finding.count},"
                    f" such as {', '.join(finding.examples)}"
                )

    def _check_ticks(self, where: Place, base: int) -> None:
        last = where.last_tick(QUEUES[-1])
        assert last is not None
        due = int(last[0] / TICK_S) - base
        ran = {note.token for note in notes(self._directory) if note.event == "tick"}
        if len(ran) != due and not self._stuck:
            self._problems.append(f"{due} due times of a scheduler's entry gave {len(ran)} tasks")

    def _judge(self, fleet: Fleet, archived: set[str], where: Place) -> Result:
        noted = list(notes(self._directory))
        world = World(fleet.fates.killed, fleet.fates.ended, archived, where.forgets)
        made = account(noted, world)
        stuck = [f"stuck: {left}" for left in self._stuck]
        problems = [*stuck, *made.problems, *self._problems, *fleet.fates.problems]
        return Result(
            self._schedule.seed,
            self._schedule.topology,
            (time.monotonic_ns() - self._start_ns) / 1e9,
            made,
            self._happened,
            self._stuck,
            problems,
            self._story(made, noted) if problems else "",
        )

    def _story(self, made: Account, noted: list[Note]) -> str:
        parts = [str(self._schedule)]
        for token in made.suspects[:5] or ["-"]:
            lines = history(token, noted, self._told_of, self._start_ns)
            parts.append("\n".join([f"task {token}:", *lines]))
        return "\n".join([*parts, f"journals and logs: {self._directory}"])


@asynccontextmanager
async def _proxied(where: Place) -> AsyncGenerator[None]:
    if isinstance(where, Single):
        async with where.proxy:
            yield
    else:
        yield


def _waiting(where: Place) -> list[str]:
    """Where tasks stand that should not stay; also when nobody can tell."""
    try:
        return [
            f"{count} {name} in queue {queue}"
            for queue in QUEUES
            for name, count in where.waiting(queue).items()
        ]
    except (redis.RedisError, OSError) as error:
        return [f"Redis does not tell: {error}"]


def _archived(where: Place) -> set[str]:
    return {token for queue in QUEUES for token in where.archived(queue)}


def _first_tick(where: Place) -> int:
    wait_until("the entry is known", lambda: where.last_tick(QUEUES[-1]))
    found = where.last_tick(QUEUES[-1])
    assert found is not None
    due_s, pending = found
    return int(due_s / TICK_S) - pending


def run_seed(seed: int, length_s: float, topology: str | None) -> Result:
    """Run one seed in this process. Its journals and logs stay if something is wrong."""
    schedule = Schedule.of(seed, length_s=length_s, topology=topology)
    directory = Path(tempfile.mkdtemp(prefix=f"asyncq-chaos-{seed}-"))
    result = asyncio.run(Run(schedule, directory).run())
    if not result.problems:
        shutil.rmtree(directory, ignore_errors=True)
    return result


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    _, _seed, *_rest = sys.argv
    _result = run_seed(
        int(_seed), float(_rest[0]) if _rest else 6.0, _rest[1] if len(_rest) > 1 else None
    )
    print(_result.to_json(), flush=True)  # noqa: T201 - for the campaign
    os._exit(0)  # threads of a place that went wrong do not hold it up
