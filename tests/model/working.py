"""Workers: tasks are taken, held and settled, perhaps by one that lost them."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from asyncq._broker.broker import LEASE_S, Broker, Fetched
from asyncq._broker.message import Leased, TaskMessage

from . import life
from .actors import (
    OUTCOMES,
    QUEUE,
    Silence,
    Worker,
    day,
    fates,
    outcome,
    which,
    who,
)
from .play import Play


class Working(Play):
    """Two workers."""

    @precondition(lambda self: self.q.pending or any(worker.asked for worker in self.workers))
    @rule(n=who, limit=st.integers(1, 4), fate=fates)
    def dequeue(self, n: int, limit: int, fate: str) -> None:
        """With the same claim as before, if nothing was heard then."""
        worker = self.workers[n]
        if worker.asked is None:
            worker.claims += 1
            worker.asked = (f"claim{worker.claims}", 0)
        claim, again = worker.asked
        worker.asked = (claim, again + 1)
        broker = Broker(self.wire, worker.clock)
        taken: list[Leased] = []

        async def call() -> tuple[list[TaskMessage], bool, int]:
            (fetched,) = await broker.dequeue([(QUEUE, limit)], claim, again=again)
            assert isinstance(fetched, Fetched), fetched
            assert not fetched.dropped
            taken[:] = [task for task in fetched.tasks if isinstance(task, Leased)]
            return [task.message for task in taken], fetched.paused, fetched.left

        def expected() -> tuple[list[TaskMessage], bool, int]:
            got = life.dequeue(self.q, worker.clock.now_us(), limit, claim, again, LEASE_S)
            return [self.q.tasks[id_].message for id_ in got.ids], got.paused, got.left

        if not isinstance(self.say(fate, call, expected), Silence):
            worker.asked = None
            worker.held += taken

    @precondition(lambda self: any(worker.held for worker in self.workers))
    @rule(n=who, fate=fates)
    def extend_leases(self, n: int, fate: str) -> None:
        worker = self.workers[n]
        held = [(task.message.id, task.claim) for task in worker.held]
        heard = self.say(
            fate,
            lambda: Broker(self.wire, worker.clock).extend_leases(QUEUE, held),
            lambda: life.extend(self.q, worker.clock.now_us(), held, LEASE_S),
        )
        if not isinstance(heard, Silence):
            kept = zip(worker.held, heard, strict=True)
            worker.held = [task for task, ours in kept if ours]

    @precondition(lambda self: any(worker.held for worker in self.workers))
    @rule(n=which, fate=fates)
    def write_result(self, n: int, fate: str) -> None:
        held = [(worker, task) for worker in self.workers for task in worker.held]
        self.write_one(*held[n % len(held)], fate)

    def write_one(self, worker: Worker, task: Leased, fate: str) -> None:
        self.say(
            fate,
            lambda: Broker(self.wire, worker.clock).write_result(task, b"r"),
            lambda: life.write_result(self.q, task, b"r"),
        )

    @precondition(lambda self: any(worker.held or worker.ends for worker in self.workers))
    @rule(
        n=who,
        ends=st.lists(st.sampled_from(OUTCOMES), min_size=1, max_size=3),
        delay_s=st.sampled_from([0, 0.7, 30, 90]),
        fate=fates,
    )
    def settle(self, n: int, ends: list[str], delay_s: float, fate: str) -> None:
        """Write how attempts ended, and again those of which nothing was heard."""
        worker = self.workers[n] if self.workers[n].held or self.workers[n].ends else None
        worker = worker or self.workers[1 - n]
        for kind in ends[: len(worker.held)]:
            worker.ends.append(outcome(kind, worker.held.pop(0), worker.clock.now(), delay_s))
        outcomes = list(worker.ends)

        def expected() -> list[bool]:
            now_us = worker.clock.now_us()
            return [life.settle(self.q, now_us, day(worker.clock), end) for end in outcomes]

        async def call() -> list[bool]:
            answers = await Broker(self.wire, worker.clock).settle(outcomes)
            assert all(isinstance(answer, bool) for answer in answers), answers
            return [answer is True for answer in answers]

        if not isinstance(self.say(fate, call, expected), Silence):
            worker.ends = []

    @precondition(lambda self: any(worker.held or worker.asked for worker in self.workers))
    @rule(n=who)
    def worker_is_killed(self, n: int) -> None:
        claims = self.workers[n].claims
        self.workers[n] = Worker(self.workers[n].clock, claims)
