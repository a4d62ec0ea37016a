"""Producers and schedulers: what is enqueued, and enqueued again."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from asyncq._broker import keys
from asyncq._broker.arguments import NewTask, answers_of
from asyncq._broker.broker import Broker
from asyncq._broker.message import TaskMessage
from asyncq._broker.producer import Enqueued, enqueued
from asyncq._broker.scheduling import REMEMBERED_MS, DueAnswer, Scheduling
from asyncq._broker.slices import Slice

from . import life
from .actors import (
    QUEUE,
    SPEC,
    Sender,
    Silence,
    Wish,
    fates,
    place,
    shown,
    which,
    who,
    wishes,
)
from .play import Play
from .wire import Skewed


class Producing(Play):
    """Two producers, and two schedulers with the same entry."""

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
