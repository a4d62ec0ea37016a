"""The kinds of faults, by name. Each lasts for some seconds and is over when it returns.

A fault's choices follow from the `Random` that it is given.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import proxy
from proxy import Command, CutReply, CutRequest, HoldBack, HoldReply
from redis_servers import RedisServer, free_port
from redis_topologies import say

from asyncq._broker import scripts
from asyncq._broker.scripts import Script

from .fleet import QUEUES, Fleet, Member
from .journal import count
from .places import InCluster, Place, Single, WithSentinel

_SOON_S = 3
"""How long a fault of one command waits for such a command."""
_HOT = (scripts.ENQUEUE, scripts.DEQUEUE, scripts.SETTLE, scripts.EXTEND_LEASES, scripts.FORWARD)


@dataclass(frozen=True)
class Scene:
    """What faults befall."""

    place: Place
    fleet: Fleet
    directory: Path
    servers: asyncio.Lock
    """Held by whoever does something to servers: one thing at a time."""


Happens = Callable[[Scene, random.Random], Awaitable[bool]]
"""Whether it happened."""


@dataclass(frozen=True)
class Kind:
    """One kind of fault."""

    happens: Happens
    topologies: frozenset[str]


KINDS: dict[str, Kind] = {}

_ANYWHERE = ("single", "mixed", "sentinel", "cluster")
_BEHIND_PROXY = ("single", "mixed")


def _fault(*topologies: str) -> Callable[[Happens], Happens]:
    def register(happens: Happens) -> Happens:
        name = happens.__name__.replace("_", " ")
        KINDS[name] = Kind(happens, frozenset(topologies))
        return happens

    return register


# Between the fleet and Redis


@_fault(*_BEHIND_PROXY)
async def all_connections_cut(scene: Scene, chance: random.Random) -> bool:
    for _ in range(chance.randint(1, 5)):
        _single(scene).proxy.cut_all()
        await asyncio.sleep(chance.uniform(0, 0.3))
    return True


@_fault(*_BEHIND_PROXY)
async def replies_cut_short(scene: Scene, chance: random.Random) -> bool:
    faults = [CutReply(_some_script(chance), at=chance.random()) for _ in range(5)]
    return await _befall(scene, faults)


@_fault(*_BEHIND_PROXY)
async def requests_cut_short(scene: Scene, chance: random.Random) -> bool:
    faults = [CutRequest(_some_script(chance), at=chance.random()) for _ in range(5)]
    return await _befall(scene, faults)


@_fault(*_BEHIND_PROXY)
async def replies_late(scene: Scene, chance: random.Random) -> bool:
    faults = [HoldReply(_any_script) for _ in range(chance.randint(1, 10))]
    return await _befall(scene, faults, then_s=chance.uniform(0.05, 2))


@_fault(*_BEHIND_PROXY)
async def replies_later_than_time_outs(scene: Scene, chance: random.Random) -> bool:
    faults = [HoldReply(_any_script) for _ in range(chance.randint(1, 6))]
    return await _befall(scene, faults, then_s=chance.uniform(5, 7))


@_fault(*_BEHIND_PROXY)
async def requests_executed_after_their_connection_ended(
    scene: Scene, chance: random.Random
) -> bool:
    faults = [HoldBack(_some_script(chance)) for _ in range(5)]
    return await _befall(scene, faults, then_s=chance.uniform(0.05, 3))


# Processes


@_fault(*_ANYWHERE)
async def worker_killed(scene: Scene, chance: random.Random) -> bool:
    return await chance.choice(scene.fleet.workers).kill(chance.uniform(0, 1))


@_fault(*_ANYWHERE)
async def all_workers_killed(scene: Scene, chance: random.Random) -> bool:
    kills = [member.kill(chance.uniform(0, 1)) for member in scene.fleet.workers]
    return any(await asyncio.gather(*kills))


@_fault(*_ANYWHERE)
async def worker_stopped_and_continued(scene: Scene, chance: random.Random) -> bool:
    return await chance.choice(scene.fleet.workers).freeze(chance.uniform(0.5, 7))


@_fault(*_ANYWHERE)
async def worker_told_to_leave(scene: Scene, chance: random.Random) -> bool:
    hurry_s = chance.choice([None, chance.uniform(0, 1)])
    return await chance.choice(scene.fleet.workers).end(hurry_s)


@_fault(*_ANYWHERE)
async def worker_killed_while_aggregating(scene: Scene, chance: random.Random) -> bool:
    member = chance.choice([m for n, m in enumerate(scene.fleet.workers) if n % 2 == 0])
    before = count(scene.directory, member.name, "aggregating")
    for _ in range(int(_SOON_S / 0.02)):
        if count(scene.directory, member.name, "aggregating") > before:
            await asyncio.sleep(chance.uniform(0, 0.35))
            return await member.kill(chance.uniform(0, 1))
        await asyncio.sleep(0.02)
    return False


@_fault(*_ANYWHERE)
async def producer_killed(scene: Scene, chance: random.Random) -> bool:
    return await chance.choice(scene.fleet.producers).kill(chance.uniform(0, 1))


@_fault(*_ANYWHERE)
async def producer_stopped_and_continued(scene: Scene, chance: random.Random) -> bool:
    return await chance.choice(scene.fleet.producers).freeze(chance.uniform(0.5, 7))


@_fault(*_ANYWHERE)
async def scheduler_killed(scene: Scene, chance: random.Random) -> bool:
    return await chance.choice(scene.fleet.schedulers).kill(chance.uniform(0, 1))


@_fault(*_ANYWHERE)
async def scheduler_stopped_and_continued(scene: Scene, chance: random.Random) -> bool:
    return await chance.choice(scene.fleet.schedulers).freeze(chance.uniform(0.5, 7))


@_fault(*_ANYWHERE)
async def clock_of_a_process_steps(scene: Scene, chance: random.Random) -> bool:
    members = scene.fleet.workers + scene.fleet.producers + scene.fleet.schedulers
    stepping: list[Member] = chance.sample(members, 2)
    stepped = [await member.step_clock() for member in stepping]
    return any(stepped)


@_fault("mixed")
async def go_worker_killed(scene: Scene, chance: random.Random) -> bool:
    return await chance.choice(scene.fleet.go_workers).kill(chance.uniform(0, 1))


@_fault("mixed")
async def go_worker_stopped_and_continued(scene: Scene, chance: random.Random) -> bool:
    return await chance.choice(scene.fleet.go_workers).freeze(chance.uniform(0.5, 7))


@_fault("mixed")
async def go_worker_told_to_leave(scene: Scene, chance: random.Random) -> bool:
    return await chance.choice(scene.fleet.go_workers).end(None)


# Redis


@_fault(*_BEHIND_PROXY)
async def redis_killed(scene: Scene, chance: random.Random) -> bool:
    async with scene.servers:
        away_s = chance.uniform(0, 2)
        await asyncio.to_thread(_single(scene).restart, kill=True, away_s=away_s)
    return True


@_fault(*_BEHIND_PROXY)
async def redis_restarted(scene: Scene, chance: random.Random) -> bool:
    async with scene.servers:
        away_s = chance.uniform(0, 2)
        await asyncio.to_thread(_single(scene).restart, kill=False, away_s=away_s)
    return True


@_fault(*_BEHIND_PROXY)
async def redis_loads_slowly(scene: Scene, chance: random.Random) -> bool:
    single = _single(scene)
    async with scene.servers:
        args = single.slow_loading(chance.uniform(0.5, 3))
        await asyncio.to_thread(single.restart, kill=True, away_s=0, args=args)
    return True


@_fault(*_BEHIND_PROXY)
async def redis_hangs(scene: Scene, chance: random.Random) -> bool:
    server = _single(scene).server
    async with scene.servers:
        server.pause()
        await asyncio.sleep(chance.uniform(0.5, 7))
        server.resume()
    return True


@_fault(*_BEHIND_PROXY)
async def redis_out_of_memory(scene: Scene, chance: random.Random) -> bool:
    server = _single(scene).server
    async with scene.servers:
        await _say(server, "CONFIG", "SET", "maxmemory", "1mb")
        await asyncio.sleep(chance.uniform(0.2, 2))
        await _say(server, "CONFIG", "SET", "maxmemory", "0")
    return True


@_fault(*_BEHIND_PROXY)
async def redis_read_only(scene: Scene, chance: random.Random) -> bool:
    server = _single(scene).server
    async with scene.servers:
        await _say(server, "REPLICAOF", "127.0.0.1", free_port())
        await asyncio.sleep(chance.uniform(0.2, 2))
        await _say(server, "REPLICAOF", "NO", "ONE")
    return True


@_fault(*_ANYWHERE)
async def scripts_flushed(scene: Scene, chance: random.Random) -> bool:
    async with scene.servers:
        for _ in range(chance.randint(1, 10)):
            await _say(await _master(scene, chance), "SCRIPT", "FLUSH")
    return True


@_fault(*_ANYWHERE)
async def clients_killed(scene: Scene, chance: random.Random) -> bool:
    async with scene.servers:
        for _ in range(chance.randint(1, 3)):
            server = await _master(scene, chance)
            for kind in ("NORMAL", "PUBSUB"):
                await _say(server, "CLIENT", "KILL", "TYPE", kind, "SKIPME", "YES")
            await asyncio.sleep(chance.uniform(0, 0.3))
    return True


# Failovers


@_fault("sentinel")
async def sentinel_fails_over(scene: Scene, chance: random.Random) -> bool:
    async with scene.servers:
        await asyncio.to_thread(_sentinel(scene).fail_over)
    return True


@_fault("sentinel")
async def master_dies(scene: Scene, chance: random.Random) -> bool:
    async with scene.servers:
        await asyncio.to_thread(_sentinel(scene).lose_master, chance.uniform(0, 1))
    return True


@_fault("sentinel")
async def master_frozen_until_replaced(scene: Scene, chance: random.Random) -> bool:
    async with scene.servers:
        await asyncio.to_thread(_sentinel(scene).freeze_master, chance.uniform(0, 2))
    return True


@_fault("cluster")
async def cluster_fails_over(scene: Scene, chance: random.Random) -> bool:
    async with scene.servers:
        await asyncio.to_thread(_cluster(scene).fail_over, chance.choice(QUEUES))
    return True


@_fault("cluster")
async def cluster_master_dies(scene: Scene, chance: random.Random) -> bool:
    queue, away_s = chance.choice(QUEUES), chance.uniform(0, 1)
    async with scene.servers:
        await asyncio.to_thread(_cluster(scene).lose_master, queue, away_s)
    return True


@_fault("cluster")
async def cluster_master_frozen_until_replaced(scene: Scene, chance: random.Random) -> bool:
    queue, longer_s = chance.choice(QUEUES), chance.uniform(0, 2)
    async with scene.servers:
        await asyncio.to_thread(_cluster(scene).freeze_master, queue, longer_s)
    return True


@_fault("cluster")
async def cluster_slot_moves(scene: Scene, chance: random.Random) -> bool:
    async with scene.servers:
        for _ in range(chance.randint(1, 3)):
            queue = chance.choice(QUEUES)
            await asyncio.to_thread(_cluster(scene).move_slot, queue, chance)
    return True


_AnyPlace = TypeVar("_AnyPlace", bound=Place)


def _as(kind: type[_AnyPlace], scene: Scene) -> _AnyPlace:
    assert isinstance(scene.place, kind)
    return scene.place


def _single(scene: Scene) -> Single:
    return _as(Single, scene)


def _sentinel(scene: Scene) -> WithSentinel:
    return _as(WithSentinel, scene)


def _cluster(scene: Scene) -> InCluster:
    return _as(InCluster, scene)


async def _master(scene: Scene, chance: random.Random) -> RedisServer:
    return await asyncio.to_thread(scene.place.master_of, chance.choice(QUEUES))


async def _say(server: RedisServer, *command: str | int) -> None:
    await asyncio.to_thread(say, server, *command)


def _any_script(command: Command) -> bool:
    return command[0] in (b"EVALSHA", b"EVAL")


def _some_script(chance: random.Random) -> proxy.Matches:
    """One of those that are run most, or any."""
    script: Script = chance.choice(_HOT)
    return chance.choice([proxy.runs(script), _any_script])


async def _befall(
    scene: Scene,
    faults: Sequence[proxy.Fault],
    then_s: float = 0,
) -> bool:
    """Plan faults, wait until they have happened, but not for ever, and release what is held."""
    through = _single(scene).proxy
    for fault in faults:
        through.plan(fault)
    happening = [asyncio.create_task(fault.happened.wait()) for fault in faults]
    await asyncio.wait(happening, timeout=_SOON_S)
    for fault, waiting in zip(faults, happening, strict=True):
        through.withdraw(fault)
        waiting.cancel()
    await asyncio.sleep(then_s)
    for fault in faults:
        if isinstance(fault, HoldReply | HoldBack):
            fault.release.set()
    return any(fault.happened.is_set() for fault in faults)
