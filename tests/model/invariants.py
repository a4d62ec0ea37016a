"""What holds of a queue in Redis, whatever was done to it and by whom."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from asyncq._broker import keys

_ZSETS = ("scheduled", "retry", "archived", "completed")


def broken(queue: str, found: Mapping[str, Any]) -> list[str]:
    """What does not hold; nothing if all is well."""
    return list(_Look(queue, found).all())


class _Look:
    def __init__(self, queue: str, found: Mapping[str, Any]) -> None:
        self.queue, self.found = queue, found
        prefix, groups = keys.task_prefix(queue), keys.group_prefix(queue)
        self.tasks = {
            key.removeprefix(prefix): fields
            for key, fields in found.items()
            if key.startswith(prefix)
        }
        self.sets: Mapping[str, float] = found.get(keys.aggregation_sets(queue), {})
        self.group_keys = {key for key in found if key.startswith(groups)}
        self.places = [(state, self.place(state)) for state in ("pending", "active", *_ZSETS)]
        self.places += [("aggregating", list(found[key])) for key in sorted(self.group_keys)]

    def place(self, state: str) -> list[str]:
        return list(self.found.get(keys.queue_prefix(self.queue) + state, ()))

    def all(self) -> Iterator[str]:
        yield from self.each_task_in_one_place()
        yield from self.lease_and_active_agree()
        yield from self.hashes_agree()
        yield from self.groups_are_seen()
        yield from self.locks_belong_to_tasks()
        yield from self.times_are_whole()

    def each_task_in_one_place(self) -> Iterator[str]:
        stands = Counter[str]()
        for state, ids in self.places:
            for task_id in ids:
                stands[task_id] += 1
                if task_id not in self.tasks:
                    yield f"{task_id} stands in {state} and has no hash"
                elif self.tasks[task_id].get("state") != state:
                    yield f"{task_id} stands in {state}, it says {self.tasks[task_id].get('state')}"
        for task_id in self.tasks:
            if stands[task_id] != 1:
                yield f"{task_id} stands in {stands[task_id]} places"

    def lease_and_active_agree(self) -> Iterator[str]:
        active, leases = set(self.place("active")), set(self.place("lease"))
        if active != leases:
            yield f"without a lease: {active - leases}; leases of nobody: {leases - active}"

    def hashes_agree(self) -> Iterator[str]:
        for task_id, task in self.tasks.items():
            state = task.get("state")
            if "msg" not in task or getattr(task["msg"], "id", None) != task_id:
                yield f"{task_id} has not its message"
            if state == "pending" and "pending_since" not in task:
                yield f"{task_id} is pending, nobody knows since when"
            if state == "active" and "pending_since" in task:
                yield f"{task_id} is active and says that it is pending"
            if state != "active" and "asyncq_claim" in task:
                yield f"{task_id} is {state} and held under a claim"
            if state == "aggregating" and not task.get("group"):
                yield f"{task_id} is in a group that it does not name"

    def groups_are_seen(self) -> Iterator[str]:
        prefix = keys.group_prefix(self.queue)
        listed = {prefix + name for name in self.found.get(keys.groups(self.queue), ())}
        unseen = self.group_keys - listed - set(self.sets)
        if unseen:
            yield f"groups that nobody aggregates: {unseen}"

    def locks_belong_to_tasks(self) -> Iterator[str]:
        prefix = keys.queue_prefix(self.queue) + "unique:"
        for key, holder in self.found.items():
            if key.startswith(prefix):
                if holder not in self.tasks:
                    yield f"{key} is held by {holder}, which is gone"
                elif self.tasks[holder].get("unique_key") != key:
                    yield f"{key} is held by {holder}, which does not know it"

    def times_are_whole(self) -> Iterator[str]:
        """Older tools of asynq fail on fractions of a second."""
        for place in (*_ZSETS, "lease"):
            scores = self.found.get(keys.queue_prefix(self.queue) + place, {})
            if any(score != math.floor(score) for score in scores.values()):
                yield f"{place} has fractions of a second"
