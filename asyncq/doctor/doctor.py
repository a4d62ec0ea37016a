"""`Doctor`: looks at all that a Redis keeps for queues, and puts right what can be."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .. import errors
from .._broker import keys
from .._broker.connection import Connection
from .._broker.examination import Examination
from .._broker.vitals import Master, masters, may_not, read_vitals
from .._clock import Clock
from .._closing import Closing
from ..client import RedisSource, connection_source
from . import acl, presence, settings
from .finding import Finding, Findings
from .names import Name, Names
from .queue import QueueCheck, check_types
from .tasks import shown

OnProgress = Callable[[int], None]
"""Told on the way how many keys were looked at."""

_CLOCKS_S = 5


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What a doctor found, the worst first."""

    where: str
    """The address of Redis, without secrets."""
    findings: Sequence[Finding]
    """The worst first; empty if all is well."""
    keys: int
    """How many keys of queues were looked at."""
    seconds: float
    """How long it took."""

    @property
    def is_healthy(self) -> bool:
        """Whether nobody has to see to anything: there are only notes, and what was fixed."""
        return not any(finding.is_open for finding in self.findings)


class Doctor(Closing):
    """Checks a live Redis: settings that endanger tasks, keys that break an invariant, servers
    that only seem to be there.

    `redis` is what `Client` takes. Use it as `async with Doctor(url) as doctor:`, or call `aclose`.
    Redis is asked in slices of about a millisecond, however many tasks it has; workers, producers
    and other doctors may be at work meanwhile. Memory grows with the number of pending tasks, by
    some 60 bytes for each.

    Raises what `Client` raises.
    """

    def __init__(self, redis: RedisSource | None = None, *, _clock: Clock | None = None) -> None:
        self._connection = Connection.open(connection_source(redis))
        self._clock = _clock or Clock()
        self._examination = Examination(self._connection, self._clock)

    @property
    def where(self) -> str:
        """The address of Redis, without secrets."""
        return self._connection.where

    async def examine(
        self, *, fix: bool = False, on_progress: OnProgress | None = None
    ) -> Diagnosis:
        """Look at everything. With `fix` put right what can be: each task in a step of Redis's
        own that looks at it again, so that what has changed meanwhile is left alone. No task that
        could still run is deleted.

        Raises `RedisUnavailableError`, and `RedisReplyError` if Redis refuses to be looked at.
        """
        start = time.monotonic()
        found = Findings()
        nodes = await masters(self._connection)
        for node in nodes:
            settings.judge(await read_vitals(self._connection, node), found)
        await self._check_rights(nodes[0], found)
        await self._check_clock(found)
        count = await self._look_at_keys(nodes, found, fix, on_progress or _nobody)
        return Diagnosis(self.where, found.list(), count, time.monotonic() - start)

    async def aclose(self) -> None:
        """Close the connections. Safe to call again; connections that are shared stay open."""
        await self._connection.aclose()

    def __repr__(self) -> str:
        return f"<Doctor of {self.where}>"

    async def _check_rights(self, node: Master, found: Findings) -> None:
        try:
            user, refused = await may_not(self._connection, node, acl.tried(acl.Role.WORKER))
        except errors.RedisReplyError:
            return  # before Redis 7 there is no way to ask, and a user may be forbidden to
        if refused:
            found.say("rights", self.where, user=user, commands=", ".join(refused))

    async def _check_clock(self, found: Findings) -> None:
        before = self._clock.now()
        theirs = await self._examination.redis_now()
        after = self._clock.now()
        apart = max(before - theirs, theirs - after)
        if apart > _CLOCKS_S:
            found.say("clocks", self.where, seconds=round(apart))

    async def _look_at_keys(
        self, nodes: Sequence[Master], found: Findings, fix: bool, progress: OnProgress
    ) -> int:
        fixed_names = [Name(key.encode(), None, False, b"") for key in _LISTS]
        await check_types(self._examination, fixed_names, found, "all queues", fix=fix)
        listed = await self._listed(found)
        names = Names(listed)
        checks: dict[str, QueueCheck] = {}
        count = 0
        for node in nodes:
            async for page in self._examination.keys(node.key):
                await self._look_at_page(page, names, checks, found, fix)
                count += len(page)
                progress(count)
        now = await self._examination.redis_now()
        worked_on = await presence.queues_worked_on(self._examination, found, now)
        await presence.look_at_stale(self._examination, found, now, fix=fix)
        for queue, check in sorted(checks.items()):
            await check.finish(queue in listed, queue in worked_on)
        return count

    async def _listed(self, found: Findings) -> set[str]:
        try:
            members = await self._examination.members(keys.QUEUES)
        except errors.RedisReplyError as error:
            if "WRONGTYPE" not in error.text:
                raise
            return set()  # said already
        listed = set()
        for name in members:
            try:
                listed.add(name.decode())
            except UnicodeDecodeError:
                found.add("name", "all queues", [shown(name)])
        return listed

    async def _look_at_page(
        self,
        page: Sequence[bytes],
        names: Names,
        checks: dict[str, QueueCheck],
        found: Findings,
        fix: bool,
    ) -> None:
        by_queue: dict[str | None, list[Name]] = {}
        for key in dict.fromkeys(page):
            name = names.read(key)
            if name is None:
                found.add("name", "all queues", [shown(key)])
            else:
                by_queue.setdefault(name.queue, []).append(name)
        for queue, some in by_queue.items():
            if queue is None:
                typed = [n for n in some if n.right_type and n.key.decode() not in _LISTS]
                await check_types(self._examination, typed, found, "all queues", fix=fix)
                for name in some:
                    if name.is_aside:
                        found.add("aside", "all queues", [shown(name.key)])
                continue
            if queue not in checks:
                checks[queue] = QueueCheck(self._examination, queue, found, fix=fix)
                await checks[queue].look_at_fixed()
            await checks[queue].look(some)


_LISTS = (keys.QUEUES, keys.SERVERS, keys.WORKERS, keys.SCHEDULERS)


def _nobody(count: int) -> None:
    """Who is told of progress when nobody asked for it."""
