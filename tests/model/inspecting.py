"""A person with an inspector, who moves, edits and deletes."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from asyncq import TaskState
from asyncq._broker import scripts
from asyncq._broker.queue_removal import QueueRemoval
from asyncq._broker.task_lists import Action, Place
from asyncq.errors import (
    RedisUnavailableError,
)

from . import by_hand, care
from .actors import (
    GROUPS,
    QUEUE,
    fates,
    which,
)
from .play import Play
from .wire import drive


class Inspecting(Play):
    """One inspector."""

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
    @rule(payload=st.sampled_from([b"p", b"edited", b"again"]), fate=fates)
    def replace_payload(self, payload: bytes, fate: str) -> None:
        """Perhaps changed since it was read."""
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
