"""All actors on one queue, the races between them, and what must always hold."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from .actors import (
    GROUPS,
    Wish,
    fates,
    which,
    who,
    who_all,
    wishes,
)
from .caring import Caring
from .inspecting import Inspecting
from .working import Working


class Life(Caring, Working, Inspecting):
    """For hypothesis to play with: every step is compared with the model."""

    @initialize(
        running=st.lists(wishes, min_size=3, max_size=4),
        grouped=st.lists(wishes, min_size=1, max_size=2),
        waiting=st.lists(wishes, min_size=1, max_size=3),
        marked=st.booleans(),
    )
    def there_is_something_to_go_wrong(
        self, running: list[Wish], grouped: list[Wish], waiting: list[Wish], marked: bool
    ) -> None:
        self.tasks_are_taken(0, running)
        self.enqueue(0, [replace(wish, wait_s=None, group="g") for wish in grouped], "answered")
        self.enqueue(1, waiting, "answered")
        if marked:
            self.mark_entry(0, "answered")

    # Races

    @rule(n=who, wanted=st.lists(wishes, min_size=2, max_size=4))
    def tasks_are_taken(self, n: int, wanted: list[Wish]) -> None:
        """So that there is something running to go wrong."""
        now = [replace(wish, wait_s=None, group="") for wish in wanted]
        self.enqueue(n, now, "answered")
        self.dequeue(n, 3, "answered")

    @precondition(lambda self: self.q.lease)
    @rule(n=who, limit=st.integers(0, 3), then=st.sampled_from(["settle", "extend", "write", ""]))
    def tasks_are_recovered_from_a_worker_that_lives(self, n: int, limit: int, then: str) -> None:
        """It believes that it holds them; the other worker may do so."""
        self.time_passes(33)
        self.list_expired(n)
        if self.servers[n].expired:
            self.recover(n, "answered")
        if limit:
            self.dequeue(1 - n, limit, "answered")
        if then == "extend":
            self.extend_leases(n, "answered")
        if then == "write":
            for task in self.workers[n].held:
                self.write_one(self.workers[n], task, "answered")
        if then == "settle" and (self.workers[n].held or self.workers[n].ends):
            self.settle(n, ["retried"], 0, "answered")

    @precondition(lambda self: any(worker.held for worker in self.workers))
    @rule(n=who, again=st.booleans(), fate=fates)
    def leases_are_renewed_just_in_time(self, n: int, again: bool, fate: str) -> None:
        """After a server saw that they were over; or the tasks are taken again meanwhile."""
        self.time_passes(33)
        self.list_expired(n)
        for m in who_all():
            if again and self.workers[m].held:
                self.settle(m, ["requeued"] * len(self.workers[m].held), 0, "answered")
                self.dequeue(m, 3, "answered")
                self.time_passes(33)
            self.extend_leases(m, fate)
        if self.servers[n].expired:
            self.recover(n, "answered")

    @precondition(lambda self: self.q.tasks)
    @rule(n=which, fate=fates)
    def two_edit_the_same(self, n: int, fate: str) -> None:
        self.read_message(n)
        self.replace_payload(b"edited", fate)
        self.replace_payload(b"again", fate)

    @precondition(lambda self: self.q.listed)
    @rule(n=who, group=st.sampled_from(GROUPS), reclaimed=st.booleans(), fate=fates)
    def group_is_aggregated(self, n: int, group: str, reclaimed: bool, fate: str) -> None:
        """Perhaps too slowly: its tasks are back in the group."""
        self.time_passes(11)
        self.take_set(n, group, None, None, False, "answered")
        if reclaimed:
            self.time_passes(125)
            self.reclaim(1 - n, "answered")
        if self.servers[n].sets:
            self.finish_set(n, False, fate)

    @precondition(lambda self: any(scheduler.last_due for scheduler in self.schedulers))
    @rule(n=who, wish=wishes, fate=fates)
    def entry_comes_due(self, n: int, wish: Wish, fate: str) -> None:
        self.time_passes(31)
        for _ in range(2):  # again, if nothing was heard
            self.enqueue_due(n, wish, 1, fate)

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
