"""Connections cut at random places of random commands, under load."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable

import pytest
from load import Load
from proxy import Command, CutReply, CutRequest, HoldBack, Matches, Proxy
from redis.asyncio import Redis
from redis_servers import RedisServer
from waiting import soon


def any_of(chance: float, generator: random.Random) -> Matches:
    """Any command with so great a chance; not those of a connection's first moments only."""

    def matches(command: Command) -> bool:
        return command[0] in (b"EVALSHA", b"EVAL", b"BLMOVE") and generator.random() < chance

    return matches


@pytest.mark.parametrize("faults", [100, pytest.param(2000, marks=pytest.mark.campaign)])
async def test_random_cuts_and_late_commands_lose_nothing(
    faults: int,
    redis_server: RedisServer,
    redis: Redis,
    queue: str,
    record_property: Callable[[str, object], None],
) -> None:
    seed = random.randrange(10**6)
    generator = random.Random(seed)
    done: Counter[str] = Counter()
    async with Proxy(redis_server.socket) as proxy:
        load = Load(proxy.url, queue)
        async with load:
            await load.goes_on(100)
            for _ in range(faults):
                matches = any_of(0.3, generator)
                fault = proxy.plan(
                    generator.choice(
                        [
                            CutReply(matches, generator.random()),
                            CutRequest(matches, generator.random()),
                            HoldBack(matches),
                        ]
                    )
                )
                done[type(fault).__name__] += 1
                await soon(fault.happened.wait())
                if isinstance(fault, HoldBack):
                    asyncio.get_running_loop().call_later(generator.random(), fault.release.set)
            await load.goes_on(1000)
        account = await load.account(redis)
    counts = ", ".join(f"{count} {name}" for name, count in sorted(done.items()))
    record_property("summary", f"random faults ({counts}; seed {seed}): {account}")
    assert account.lost == account.handled_though_refused == 0, str(account)
    assert account.standing.failed == account.standing.archived == 0, str(account)
    assert account.standing.processed == account.attempts, str(account)
    assert account.twice == account.twice_sent_again, str(account)
