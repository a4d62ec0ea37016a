"""One queue of the model: its tasks, where each stands, and how that looks in Redis."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from asyncq._broker import keys
from asyncq._broker.message import TaskMessage

ZSETS = ("scheduled", "retry", "archived", "completed")


@dataclass
class Task:
    """A task's hash."""

    message: TaskMessage
    state: str
    pending_since: str = ""
    group: str = ""
    """asynq's field: the group it is in or was in."""
    joins: str = ""
    """The group it joins once its time has come."""
    lock: str = ""
    call: str = ""
    """Of a task with a caller's id: the call that stored it."""
    claim: str = ""
    """Of an active task: the dequeue that holds it."""
    result: bytes = b""
    recovered: int = 0
    parked: str = ""

    def hash(self) -> dict[str, Any]:
        fields = {
            "msg": self.message,
            "state": self.state,
            "pending_since": self.pending_since,
            "group": self.group,
            "asyncq_group": self.joins,
            "unique_key": self.lock,
            "asyncq_call": self.call,
            "asyncq_claim": self.claim,
            "result": self.result.decode(),
            "asyncq_recovered": str(self.recovered or ""),
            "asyncq_parked": self.parked,
        }
        return {name: value for name, value in fields.items() if value != ""}


@dataclass
class Queue:
    """All that stands in Redis of one queue. Lists are in the order in which they are served."""

    name: str
    redis_ms: int = 0
    tasks: dict[str, Task] = field(default_factory=dict)
    pending: list[str] = field(default_factory=list)
    active: list[str] = field(default_factory=list)
    lease: dict[str, int] = field(default_factory=dict)
    scheduled: dict[str, int] = field(default_factory=dict)
    retry: dict[str, int] = field(default_factory=dict)
    archived: dict[str, int] = field(default_factory=dict)
    completed: dict[str, int] = field(default_factory=dict)
    due: dict[str, int] = field(default_factory=dict)
    """Milliseconds, of what is due within a minute. Entries may be stale."""
    groups: dict[str, dict[str, int]] = field(default_factory=dict)
    listed: set[str] = field(default_factory=set)
    """Names of groups that aggregators look at."""
    sets: dict[str, dict[str, int]] = field(default_factory=dict)
    """Aggregation sets, by key."""
    set_deadlines: dict[str, int] = field(default_factory=dict)
    locks: dict[str, str] = field(default_factory=dict)
    """Key of a lock -> the task that holds it."""
    fetches: dict[str, int] = field(default_factory=dict)
    """Claim -> the latest sending of its dequeue that was executed, after a lost reply."""
    forwarder: str = ""
    paused: str = ""
    cron: dict[str, dict[str, str]] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    expiry_ms: dict[str, int] = field(default_factory=dict)
    """Key in Redis -> when it expires, by Redis's own clock."""
    ended: dict[str, str] = field(default_factory=dict)
    """Every task that is gone, and why: nothing else may ever be missing."""
    rubble: dict[str, Task] = field(default_factory=dict)
    """Hashes that a deletion of the queue, cut short, left behind."""
    half_deleted: bool = False
    """Whether there was such a deletion, and nobody has repeated it yet."""

    # Places

    def zset(self, state: str) -> dict[str, int]:
        place: dict[str, int] = getattr(self, state)
        return place

    def waits_in(self, task_id: str, task: Task) -> dict[str, int] | list[str] | None:
        """The place of a task that is not active; None if it is not where its state says."""
        place: dict[str, int] | list[str]
        match task.state:
            case "pending":
                place = self.pending
            case "aggregating":
                place = self.groups.get(task.group, {})
            case state:
                place = self.zset(state)
        return place if task_id in place else None

    def take_out(self, task_id: str, task: Task) -> None:
        """Out of where it waits."""
        place = self.waits_in(task_id, task)
        if isinstance(place, list):
            place.remove(task_id)
        elif place is not None:
            del place[task_id]
            if task.state == "aggregating" and not place:
                del self.groups[task.group]
                self.listed.discard(task.group)

    def end(self, task_id: str, why: str) -> None:
        """Delete the hash: the task is no more."""
        del self.tasks[task_id]
        self.ended[task_id] = why

    def join(self, group: str, task_id: str, score: int) -> None:
        self.groups.setdefault(group, {})[task_id] = score
        self.listed.add(group)

    def put_due(self, state: str, task_id: str, due_ms: int, now_ms: int) -> None:
        """Into scheduled or retry. Scores are whole seconds, never early."""
        if due_ms - now_ms < 60_000:
            self.due = {id_: ms for id_, ms in self.due.items() if ms > now_ms - 120_000}
            self.due[task_id] = due_ms
            self.expires(keys.due(self.name), 180_000)
        self.zset(state)[task_id] = math.ceil(due_ms / 1000)

    # Locks, counters, time

    def unlock(self, lock: str, task_id: str) -> None:
        if self.locks.get(lock) == task_id:
            del self.locks[lock]

    def count(self, day: str, *, failed: bool = False) -> None:
        """One more was processed; failures count twice."""
        for what in ("processed", "failed") if failed else ("processed",):
            for name in (what, f"{what}:{day}"):
                self.counters[name] = self.counters.get(name, 0) + 1

    def expires(self, key: str, ttl_ms: int) -> None:
        self.expiry_ms[key] = self.redis_ms + ttl_ms

    def expire(self) -> list[str]:
        """What has expired by now goes. Returns the keys."""
        gone = [key for key, until in self.expiry_ms.items() if until <= self.redis_ms]
        for key in gone:
            del self.expiry_ms[key]
            self.locks.pop(key, None)
            fetch, cron = keys.fetch(self.name, ""), keys.cron(self.name, "")
            self.fetches.pop(key.removeprefix(fetch), None)
            self.cron.pop(key.removeprefix(cron), None)
            if key == keys.due(self.name):
                self.due = {}
            if key == keys.forwarder(self.name):
                self.forwarder = ""
        return gone

    # How it looks in Redis

    def contents(self) -> dict[str, Any]:
        """Every key with what it holds, as `wire.contents` reads it from Redis."""
        name = self.name
        found: dict[str, Any] = {
            keys.pending(name): self.pending[::-1],
            keys.active(name): self.active[::-1],
            keys.lease(name): self.lease,
            **{keys.queue_prefix(name) + state: self.zset(state) for state in ZSETS},
            keys.due(name): self.due,
            keys.groups(name): self.listed,
            keys.aggregation_sets(name): self.set_deadlines,
            keys.forwarder(name): self.forwarder,
            keys.paused(name): self.paused,
            **{keys.group(name, group): members for group, members in self.groups.items()},
            **self.sets,
            **self.locks,
            **{keys.fetch(name, claim): str(again) for claim, again in self.fetches.items()},
            **{keys.cron(name, identity): entry for identity, entry in self.cron.items()},
            **{keys.queue_prefix(name) + what: str(n) for what, n in self.counters.items()},
        }
        for task_id, task in (self.tasks | self.rubble).items():
            found[keys.task(name, task_id)] = task.hash()
        return {key: value for key, value in found.items() if value}
