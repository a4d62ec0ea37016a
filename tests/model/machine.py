"""The actors on one queue, their calls, and what befalls them; hypothesis plays with it.

Every call to Redis has a fate. Whoever made a call and heard nothing may make the very same call
again, do something else, or be gone. Calls that are late are executed long after they were made.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from asyncq import TaskState
from asyncq._broker import keys, scripts
from asyncq._broker.aggregation import Aggregation, AggregationSet
from asyncq._broker.arguments import NewTask, answers_of
from asyncq._broker.broker import LEASE_S, Broker, Fetched
from asyncq._broker.inspection import Inspection
from asyncq._broker.maintenance import FORWARD_LIMIT, Expired, Maintenance, Recovery
from asyncq._broker.message import Leased, TaskMessage, Unreadable
from asyncq._broker.outcome import (
    Archived,
    Completed,
    Done,
    Outcome,
    Parked,
    Requeued,
    Retried,
)
from asyncq._broker.producer import Enqueued, enqueued
from asyncq._broker.queue_removal import QueueRemoval
from asyncq._broker.scheduling import REMEMBERED_MS, CronPlace, DueAnswer, Scheduling
from asyncq._broker.slices import Slice
from asyncq._broker.task_lists import Action, Place, TaskLists
from asyncq._worker.recoverer import Recoverer
from asyncq._worker.verdict import Policy
from asyncq.errors import (
    DuplicateTaskError,
    RedisUnavailableError,
    TaskIdConflictError,
)

from . import by_hand, care, life
from .wire import Skewed, Wire, drive
from .world import World

R = TypeVar("R")
QUEUE = "q"
NAMES = ("a", "b", "c")
GROUPS = ("g", "g:h")
SPEC = "@every 30s"
GRACE_S, DEADLINE_S, LEAD_S = 10, 120, 60
ARCHIVE_AGE_S, ARCHIVE_SIZE, BATCH = 24 * 3600, 3, 2

Fate = Literal["answered", "reply lost", "late", "never sent"]
fates = st.sampled_from(["answered"] * 5 + ["reply lost", "late", "never sent"])
which = st.integers(0, 99)
"""One of whatever there is to choose from."""
who = st.integers(0, 1)


class Silence:
    """What is heard when a reply does not come."""


SILENCE = Silence()


@dataclass(frozen=True)
class Wish:
    """What a producer wants to enqueue; a task still without an id."""

    name: str
    """The caller's id; '' for one made by asyncq."""
    unique: bool
    group: str
    wait_s: float | None
    by_own_clock: bool
    retention: int
    retry: int


wishes = st.builds(
    Wish,
    name=st.sampled_from(["", "", *NAMES]),
    unique=st.booleans(),
    group=st.sampled_from(["", "", *GROUPS]),
    wait_s=st.sampled_from([None, None, 0.5, 30.4, 59.999, 300]),
    by_own_clock=st.booleans(),
    retention=st.sampled_from([0, 60]),
    retry=st.sampled_from([0, 2]),
)
OUTCOMES = ("done", "completed", "retried", "no failure", "archived", "requeued", "parked")


@dataclass
class Sender:
    """A producer or a scheduler."""

    clock: Skewed
    open: list[tuple[Slice[NewTask], str]] = field(default_factory=list)
    """Calls of which nothing was heard."""
    last_due: int = 0
    attempt: tuple[NewTask, int, str] | None = None


@dataclass
class Worker:
    clock: Skewed
    claims: int = 0
    asked: tuple[str, int] | None = None
    """The claim of a dequeue of which nothing was heard, and how often it was sent."""
    held: list[Leased] = field(default_factory=list)
    ends: list[Outcome] = field(default_factory=list)
    """Not known to be written."""


@dataclass
class Server:
    """The periodic parts, and what they have read and not acted on yet."""

    name: str
    clock: Skewed
    maintenance: Maintenance
    aggregation: Aggregation
    expired: list[Expired] = field(default_factory=list)
    sets: list[AggregationSet] = field(default_factory=list)


class Life(RuleBasedStateMachine):
    """One queue, two producers, two workers, two servers, two schedulers, one inspector."""

    wire: Wire
    """To a database of its own; of a subclass."""
    lives = steps = 0
    """How much the subclass has played."""

    def __init__(self) -> None:
        super().__init__()
        type(self).lives += 1
        wire = self.wire
        self.world = World(wire, QUEUE)
        self.q = self.world.model
        self.made = 0
        self.late: list[Callable[[], object]] = []
        clocks = [self.world.clock(skew) for skew in (0.0, 1.5, -0.7)]
        self.producers = [Sender(clocks[0]), Sender(clocks[1])]
        self.schedulers = [Sender(clocks[0]), Sender(clocks[2])]
        self.workers = [Worker(clocks[2], 0), Worker(clocks[0], 1000)]
        self.servers = [
            Server(f"s{n}", c, Maintenance(wire, c), Aggregation(wire, c, deadline_s=DEADLINE_S))
            for n, c in enumerate((clocks[1], clocks[0]))
        ]
        self.clock = clocks[0]
        self.lists = TaskLists(wire, self.clock)
        self.inspection = Inspection(wire, self.clock)
        self.read: tuple[str, bytes, TaskMessage] | None = None

    # What befalls a call

    def say(
        self, fate: str, call: Callable[[], Coroutine[Any, Any, R]], expected: Callable[[], R]
    ) -> R | Silence:
        """Make a call; what is heard of it."""
        if fate == "late":
            self.late.append(lambda: self.world.both(call, expected))
        if fate in ("late", "never sent"):
            return SILENCE
        answer = self.world.both(call, expected)
        return answer if fate == "answered" else SILENCE

    @precondition(lambda self: self.late)
    @rule(n=which)
    def late_call_arrives(self, n: int) -> None:
        self.late.pop(n % len(self.late))()

    @rule(seconds=st.sampled_from([0.3, 1, 5, 11, 33, 61, 125, -2]))
    def time_passes(self, seconds: float) -> None:
        self.world.travel(seconds)

    @rule(n=who, wanted=st.lists(wishes, min_size=2, max_size=4))
    def tasks_are_taken(self, n: int, wanted: list[Wish]) -> None:
        """So that there is something running to go wrong."""
        now = [replace(wish, wait_s=None, group="") for wish in wanted]
        self.enqueue(n, now, "answered")
        self.dequeue(n, 3, "answered")

    @precondition(lambda self: self.q.lease)
    @rule(n=who)
    def leases_run_out(self, n: int) -> None:
        self.time_passes(33)
        self.list_expired(n)

    # Producers

    @rule(n=who, wanted=st.lists(wishes, min_size=1, max_size=3), fate=fates)
    def enqueue(self, n: int, wanted: list[Wish], fate: str) -> None:
        producer = self.producers[n]
        self.made += 1
        items = [self.new_task(wish, producer.clock) for wish in wanted]
        self.send(producer, Slice(QUEUE, list(enumerate(items))), f"call{self.made}", fate)

    @precondition(lambda self: any(producer.open for producer in self.producers))
    @rule(n=which, fate=fates)
    def enqueue_again(self, n: int, fate: str) -> None:
        waiting = [(p, sent) for p in self.producers for sent in p.open]
        producer, sent = waiting[n % len(waiting)]
        producer.open.remove(sent)
        self.send(producer, *sent, fate)

    def new_task(self, wish: Wish, clock: Skewed) -> NewTask:
        self.made += 1
        message = TaskMessage(
            type="t",
            id=wish.name or f"t{self.made}",
            queue=QUEUE,
            payload=b"p",
            retry=wish.retry,
            timeout=1800,
            unique_key=keys.unique(QUEUE, "t", b"p") if wish.unique else "",
            group_key=wish.group,
            retention=wish.retention,
        )
        at_ms = in_ms = None
        if wish.wait_s is not None and wish.by_own_clock:
            at_ms = round((clock.now() + wish.wait_s) * 1000)
        elif wish.wait_s is not None:
            in_ms = round(wish.wait_s * 1000)
        unique_s = 600 if wish.unique else 0
        return NewTask(message, not wish.name, unique_s, at_ms, in_ms)

    def send(self, producer: Sender, slice_: Slice[NewTask], token: str, fate: str) -> None:
        broker = Broker(self.wire, producer.clock)

        async def call() -> list[tuple[str, int]]:
            (reply,) = await broker.enqueue_once([slice_], token)
            answers = zip(slice_.items, answers_of(reply, len(slice_.items)), strict=True)
            return [shown(enqueued(answer, item.message)) for (_, item), answer in answers]

        def expected() -> list[tuple[str, int]]:
            now_us = producer.clock.now_us()
            items = slice_.items
            return [life.enqueue(self.q, now_us, item, f"{token}.{n}") for n, item in items]

        heard = self.say(fate, call, expected)
        if isinstance(heard, Silence):
            producer.open.append((slice_, token))
            return
        for (_, item), (state, _) in zip(slice_.items, heard, strict=True):
            if state not in (life.ID_TAKEN, life.LOCK_TAKEN):
                self.world.acknowledged.add(item.message.id)

    # Workers

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
        worker, task = held[n % len(held)]
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

    # The periodic parts of servers

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

    # Schedulers

    @precondition(lambda self: any(not scheduler.last_due for scheduler in self.schedulers))
    @rule(n=who, fate=fates)
    def mark_entry(self, n: int, fate: str) -> None:
        scheduler = self.schedulers[n]

        async def call() -> int:
            (mark,) = await Scheduling(self.wire, scheduler.clock).marks([(place(), False)])
            assert not isinstance(mark, Exception), mark
            return mark.due_ms

        def expected() -> int:
            now_us = scheduler.clock.now_us()
            return life.mark_entry(self.q, now_us, place().identity, SPEC, REMEMBERED_MS)

        heard = self.say(fate, call, expected)
        if not isinstance(heard, Silence):
            scheduler.last_due = heard

    @precondition(lambda self: any(scheduler.last_due for scheduler in self.schedulers))
    @rule(n=who, wish=wishes, skipped=st.integers(1, 2), fate=fates)
    def enqueue_due(self, n: int, wish: Wish, skipped: int, fate: str) -> None:
        """The next due time; the very same attempt again, if nothing was heard of it."""
        scheduler = self.schedulers[n] if self.schedulers[n].last_due else self.schedulers[1 - n]
        if scheduler.attempt is None:
            new = self.new_task(wish, scheduler.clock)
            due_ms = scheduler.last_due + 30_000 * skipped
            scheduler.attempt = (new, due_ms, f"attempt{self.made}")
        new, due_ms, token = scheduler.attempt
        answers: list[DueAnswer] = []

        async def call() -> str:
            scheduling = Scheduling(self.wire, scheduler.clock)
            answers.append(await scheduling.enqueue_due(place(), new, due_ms, token, None))
            return answers[-1].verdict

        def expected() -> str:
            return life.enqueue_due(
                self.q,
                scheduler.clock.now_us(),
                place().identity,
                SPEC,
                due_ms,
                token,
                new,
                REMEMBERED_MS,
            )

        if isinstance(self.say(fate, call, expected), Silence):
            return
        scheduler.attempt, answer = None, answers[-1]
        scheduler.last_due = answer.last_due_ms or scheduler.last_due
        if isinstance(answer.result, Enqueued):
            self.world.acknowledged.add(new.message.id)

    # A person with an inspector

    @precondition(lambda self: self.q.tasks)
    @rule(action=st.sampled_from(["run", "archive", "delete"]), n=which, fate=fates)
    def act_on_one(self, action: Action, n: int, fate: str) -> None:
        ids = sorted(self.q.tasks)
        task_id = ids[n % len(ids)]
        self.say(
            fate,
            lambda: self.lists.act_on_one(action, QUEUE, task_id),
            lambda: by_hand.act(self.q, self.clock.now_us(), action, task_id),
        )

    @precondition(lambda self: self.q.tasks)
    @rule(
        action=st.sampled_from(["run", "archive", "delete"]),
        state=st.sampled_from([s for s in TaskState if s is not TaskState.ACTIVE]),
        group=st.sampled_from(GROUPS),
        fate=fates,
    )
    def act_on_all(self, action: Action, state: TaskState, group: str, fate: str) -> None:
        there = Place(QUEUE, state, group if state is TaskState.AGGREGATING else "")

        def expected() -> int:
            if state is TaskState.PENDING:
                ids = list(self.q.pending)
            elif state is TaskState.AGGREGATING:
                ids = care.in_order(self.q.groups.get(group, {}))
            else:
                ids = care.in_order(self.q.zset(state.value))
            now_us = self.clock.now_us()
            return [by_hand.act(self.q, now_us, action, id_) for id_ in ids].count(by_hand.MOVED)

        self.say(
            fate, lambda: self.lists.act_on_all(action, there, None, lambda done: None), expected
        )

    @precondition(lambda self: self.q.tasks)
    @rule(n=which)
    def read_message(self, n: int) -> None:
        """To edit it later."""
        task_id = sorted(self.q.tasks)[n % len(self.q.tasks)]
        data, message = drive(self.lists.read_message(QUEUE, task_id))
        assert message == self.q.tasks[task_id].message
        self.read = (task_id, data, message)

    @precondition(lambda self: self.read)
    @rule(payload=st.sampled_from([b"p", b"edited"]), fate=fates)
    def replace_payload(self, payload: bytes, fate: str) -> None:
        assert self.read is not None
        task_id, data, message = self.read
        self.say(
            fate,
            lambda: self.lists.replace_payload(QUEUE, task_id, data, message, payload),
            lambda: by_hand.edit(self.q, task_id, message, payload),
        )

    @precondition(lambda self: not self.q.paused and self.q.pending)
    @rule(fate=fates)
    def pause(self, fate: str) -> None:
        self.say(
            fate,
            lambda: self.inspection.pause(QUEUE),
            lambda: by_hand.pause(self.q, int(self.clock.now())),
        )

    @precondition(lambda self: self.q.paused)
    @rule(fate=fates)
    def unpause(self, fate: str) -> None:
        self.say(
            fate,
            lambda: self.inspection.unpause(QUEUE),
            lambda: by_hand.unpause(self.q),
        )

    @precondition(lambda self: self.q.tasks)
    @rule()
    def look(self) -> None:
        """The counts and states that an inspector shows are those of the model."""
        info = drive(self.inspection.queue_info(QUEUE))
        for state in ("pending", "active", "scheduled", "retry", "archived", "completed"):
            assert getattr(info, state) == len(getattr(self.q, state)), state
        assert info.paused == bool(self.q.paused)
        assert info.processed_total == self.q.counters.get("processed", 0)
        assert info.failed_total == self.q.counters.get("failed", 0)
        for task_id, task in self.q.tasks.items():
            assert drive(self.lists.task_info(QUEUE, task_id)).state.value == task.state

    @precondition(lambda self: self.q.ended or self.q.tasks)
    @rule(force=st.booleans(), cut=st.sampled_from([None, None, 1, 2, 3, 4, 5, 6, 7]), n=which)
    def delete_queue(self, force: bool, cut: int | None, n: int) -> None:
        """Rarely, or little else would happen; it may be cut short after any call."""
        if n < 20:
            self.remove_queue(force=force, cut=cut)

    def remove_queue(self, *, force: bool, cut: int | None) -> bool | None:
        first = len(self.wire.said)
        removal = QueueRemoval(self.wire, QUEUE)
        self.wire.cut_after = cut
        try:
            removed = drive(removal.remove(force=force, progress=lambda count: None))
        except RedisUnavailableError:
            removed = None
        finally:
            self.wire.cut_after = None
        for call, reply in self.wire.said[first:]:
            if call.script is scripts.DROP_QUEUE:
                assert by_hand.drop(self.q, force=force) == bool(reply)
            if call.script is scripts.SWEEP_QUEUE:
                by_hand.sweep(self.q)
        return removed

    # What must always hold

    @invariant()
    def redis_is_as_the_model_says(self) -> None:
        type(self).steps += 1
        self.world.check()

    def teardown(self) -> None:
        """When all troubles are over, everything comes to its end."""
        while self.late:
            self.late_call_arrives(0)
        self.unpause("answered")
        for n in who_all():
            self.worker_is_killed(n)
        for _ in range(40):
            if self.comes_to_rest():
                break
        else:
            raise AssertionError(f"stuck: {self.world.model}")
        kept = self.q.archived.keys() | self.q.completed.keys()
        assert not self.world.acknowledged - self.q.ended.keys() - kept
        assert self.remove_queue(force=True, cut=None)
        assert self.world.wire.contents()[0] == {}

    def comes_to_rest(self) -> bool:
        """One round of everything that a server does. Whether nothing is left to do."""
        q = self.q
        self.world.travel(100)
        self.list_expired(0)
        self.recover(0, "answered")
        self.reclaim(0, "answered")
        self.forward(0, "answered")
        self.servers[0].sets = []
        for group in sorted(q.listed):
            self.take_set(0, group, None, None, False, "answered")
        while self.servers[0].sets:
            self.finish_set(0, False, "answered")
        self.servers[1].sets = []
        self.dequeue(0, 100, "answered")
        self.settle(0, ["done"] * len(self.workers[0].held), 0, "answered")
        self.world.check()
        waiting = q.pending or q.active or q.scheduled or q.retry or q.listed or q.set_deadlines
        return not waiting


def who_all() -> range:
    return range(2)


def place() -> CronPlace:
    return CronPlace(QUEUE, "entry", SPEC)


def day(clock: Skewed) -> str:
    return datetime.fromtimestamp(clock.now(), UTC).strftime("%Y-%m-%d")


def id_of(held: Leased | Unreadable) -> str:
    return held.message.id if isinstance(held, Leased) else held.id


def shown(answer: object) -> tuple[str, int]:
    """An answer to an enqueue, as the model gives it."""
    match answer:
        case Enqueued(state, due_ms):
            return state.value, due_ms
        case TaskIdConflictError():
            return life.ID_TAKEN, 0
        case DuplicateTaskError():
            return life.LOCK_TAKEN, 0
        case _:
            raise AssertionError(answer)


def outcome(kind: str, leased: Leased, now: float, delay_s: float) -> Outcome:
    match kind:
        case "done":
            return Done(leased)
        case "completed":
            return Completed.at(leased, b"result", now)
        case "retried" | "no failure":
            return Retried.after(leased, "why", now, delay_s, is_failure=kind == "retried")
        case "archived":
            return Archived.because(leased, "why", now)
        case "requeued":
            return Requeued(leased)
        case _:
            return Parked(Unreadable(QUEUE, leased.message.id, leased.claim, "why"))
