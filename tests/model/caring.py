"""The periodic parts of servers: what they read and do, perhaps long after."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from asyncq import TaskState
from asyncq._broker import scripts
from asyncq._broker.maintenance import FORWARD_LIMIT, Recovery
from asyncq._worker.recoverer import Recoverer
from asyncq._worker.verdict import Policy
from asyncq.errors import (
    RedisUnavailableError,
)

from . import care
from .actors import (
    ARCHIVE_AGE_S,
    ARCHIVE_SIZE,
    BATCH,
    DEADLINE_S,
    GRACE_S,
    GROUPS,
    LEAD_S,
    QUEUE,
    Server,
    Wish,
    day,
    fates,
    id_of,
    shown,
    which,
    who,
)
from .producing import Producing
from .wire import drive


class Caring(Producing):
    """Two servers; an aggregator is a producer, too."""

    @precondition(lambda self: self.q.scheduled or self.q.retry or self.q.due)
    @rule(n=who, fate=fates)
    def forward(self, n: int, fate: str) -> None:
        server = self.servers[n]

        async def call() -> care.Forwarded:
            done = await server.maintenance.forward(QUEUE, server.name, LEAD_S)
            next_ms = -1 if done.next_in_s is None else round(done.next_in_s * 1000)
            return care.Forwarded(done.moved, done.leads, next_ms)

        def expected() -> care.Forwarded:
            now_us = server.clock.now_us()
            return care.forward(self.q, now_us, server.name, LEAD_S * 1000, FORWARD_LIMIT)

        self.say(fate, call, expected)

    @precondition(lambda self: self.q.lease)
    @rule(n=who)
    def list_expired(self, n: int) -> None:
        server = self.servers[n]

        async def call() -> tuple[list[tuple[str, str, int]], int]:
            server.expired, next_s = await server.maintenance.list_expired(QUEUE)
            next_ms = -1 if next_s is None else round(next_s * 1000)
            return [
                (id_of(item.held), item.held.claim, item.times_recovered) for item in server.expired
            ], next_ms

        def expected() -> tuple[list[tuple[str, str, int]], int]:
            now_us, tasks = server.clock.now_us(), self.q.tasks
            ids = care.expired(self.q, now_us)
            found = [(id_, tasks[id_].claim, tasks[id_].recovered) for id_ in ids]
            return found, care.next_expiry_ms(self.q, now_us)

        self.world.both(call, expected)

    @precondition(lambda self: any(server.expired for server in self.servers))
    @rule(n=who, fate=fates)
    def recover(self, n: int, fate: str) -> None:
        """What was listed, some time ago."""
        server = self.servers[n]
        policy = Policy(lambda *_: 40.0, lambda error: True)
        recoverer = Recoverer(
            server.maintenance, server.aggregation, (), policy, clock=server.clock, orphan_s=60
        )
        items = [recoverer._decide(QUEUE, item) for item in server.expired]
        if items:
            self.say(fate, lambda: self.recovered(server, items), lambda: self.moved(server, items))

    async def recovered(self, server: Server, items: Sequence[Recovery]) -> list[bool]:
        answers = await server.maintenance.recover(QUEUE, items)
        assert all(isinstance(answer, bool) for answer in answers), answers
        return [answer is True for answer in answers]

    def moved(self, server: Server, items: Sequence[Recovery]) -> list[bool]:
        now_us, today = server.clock.now_us(), day(server.clock)
        return [care.recover(self.q, now_us, today, item) for item in items]

    @precondition(lambda self: self.q.set_deadlines)
    @rule(n=who, fate=fates)
    def reclaim(self, n: int, fate: str) -> None:
        server = self.servers[n]
        self.say(
            fate,
            lambda: server.aggregation.reclaim(QUEUE),
            lambda: care.reclaim(self.q, server.clock.now_us()),
        )

    @precondition(lambda self: self.q.active)
    @rule(n=who)
    def no_task_is_an_orphan(self, n: int) -> None:
        found = drive(self.servers[n].maintenance.list_orphans(QUEUE, ()))
        assert found == []

    @precondition(lambda self: self.q.completed)
    @rule(n=who, fate=fates)
    def delete_expired(self, n: int, fate: str) -> None:
        server = self.servers[n]
        self.say(
            fate,
            lambda: server.maintenance.delete_expired(QUEUE, BATCH),
            lambda: care.delete_expired(self.q, server.clock.now_us(), BATCH),
        )

    @precondition(lambda self: self.q.archived)
    @rule(n=who, fate=fates)
    def trim_archive(self, n: int, fate: str) -> None:
        server = self.servers[n]
        self.say(
            fate,
            lambda: server.maintenance.trim_archive(
                QUEUE, max_age_s=ARCHIVE_AGE_S, max_size=ARCHIVE_SIZE, limit=BATCH
            ),
            lambda: care.trim_archive(
                self.q, server.clock.now_us(), ARCHIVE_AGE_S, ARCHIVE_SIZE, BATCH
            ),
        )

    @precondition(lambda self: self.q.listed)
    @rule(
        n=who,
        group=st.sampled_from(GROUPS),
        max_size=st.sampled_from([None, 2]),
        max_delay_s=st.sampled_from([None, 20]),
        killed_between=st.booleans(),
        fate=fates,
    )
    def take_set(
        self,
        n: int,
        group: str,
        max_size: int | None,
        max_delay_s: int | None,
        killed_between: bool,
        fate: str,
    ) -> None:
        server = self.servers[n]

        async def call() -> list[str] | None:
            self.wire.cut_after = 1 if killed_between else None
            try:
                taken = await server.aggregation.take_set(
                    QUEUE, group, grace_s=GRACE_S, max_delay_s=max_delay_s, max_size=max_size
                )
            except RedisUnavailableError:
                return []
            finally:
                self.wire.cut_after = None
            if taken is None:
                return None
            if fate != "reply lost":
                server.sets.append(taken)
            return [message.id for message in taken.messages]

        def expected() -> list[str] | None:
            check = next(c for c, _ in reversed(self.wire.said) if c.script is scripts.CHECK_GROUP)
            taken = care.take_set(
                self.q,
                server.clock.now_us(),
                group,
                str(check.keys[1]),
                grace_s=GRACE_S,
                max_delay_s=max_delay_s or 0,
                max_size=max_size or 0,
                deadline_s=DEADLINE_S,
            )
            return [] if taken and killed_between else taken

        self.say(fate, call, expected)

    @precondition(lambda self: any(server.sets for server in self.servers))
    @rule(n=which, unique=st.booleans(), fate=fates)
    def finish_set(self, n: int, unique: bool, fate: str) -> None:
        sets = [(server, taken) for server in self.servers for taken in server.sets]
        server, taken = sets[n % len(sets)]
        new = self.new_task(Wish("", unique, "", None, False, 0, 0), server.clock)

        async def call() -> str:
            answer = await server.aggregation.finish(taken, new)
            return "gone" if answer is None else shown(answer)[0]

        def expected() -> str:
            return care.finish_set(self.q, server.clock.now_us(), taken.key, new)

        heard = self.say(fate, call, expected)
        if heard == TaskState.PENDING.value:
            self.world.acknowledged.add(new.message.id)
        if heard in ("gone", TaskState.PENDING.value):
            server.sets.remove(taken)
