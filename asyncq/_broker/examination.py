"""What a doctor asks of Redis, and what it has put right: in slices, each a moment of Redis's.

Lists and zsets are read in parts while others change them, so what looks wrong is only a
suspicion until `tasks(..., deep=True)` has looked at it in one step.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from hashlib import sha1
from typing import Literal

from .._clock import Clock
from ..errors import RedisError, RedisReplyError
from . import keys, scripts
from .arguments import Arg
from .broker import LEASE_S
from .codec import UndecodableError, decode_task, id_text
from .connection import Call, Connection, Reply
from .message import TaskMessage

SLICE = 200
"""How many entries, keys or tasks one script call looks at: about a millisecond."""
_SCANNED = 1000
_PAGE = 2000
# To look for a task in `pending` takes some 15 ns for each entry there, twice for a repair.
_STEPS = 300_000
_LONGEST_MESSAGE = 1 << 16
# Whoever is overdue for less may still be forwarded or recovered in time.
OVERDUE_S = 60


@dataclass(frozen=True, slots=True)
class Seen:
    """The group, or aggregation set of it, in which tasks were seen."""

    key: bytes
    group: bytes


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a task stands, and what is wrong with it: as in include/standing.lua."""

    id: bytes
    trouble: str
    state: str
    places: str
    message: TaskMessage | None
    unreadable: str
    """Why its message cannot be read; '' if it can, or if it was too long to be looked at."""
    sha: str
    parked: str


@dataclass(frozen=True, slots=True)
class GroupStanding:
    """What a zset under the prefix of groups is: as in inspect_group.lua."""

    kind: Literal["group", "set", "hidden", "forgotten"]
    group: bytes
    size: int
    deadline: float | None


class Examination:
    """Operations over one connection. Errors of Redis are raised unless it says otherwise."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock

    # Keys

    async def keys(self, node_key: str) -> AsyncIterator[list[bytes]]:
        """All keys of asynq's and ours of the node that has `node_key`, some more than once."""
        cursor = b"0"
        while True:
            args = ("SCAN", cursor, "MATCH", "asyn*q:*", "COUNT", _SCANNED)
            cursor, found = await self._connection.run_one(Call(None, (node_key,), args))
            names = [name for name in found if name.startswith((b"asynq:", b"asyncq:"))]
            if names:
                yield names
            if cursor == b"0":
                return

    async def types(self, names: Sequence[bytes]) -> list[str]:
        """The type of each key, as TYPE names it."""
        replies = await self._run([Call.command("TYPE", name) for name in names])
        return [reply.decode() for reply in replies]

    async def set_aside(self, name: bytes, aside: bytes, right: str) -> int:
        """Rename a key that is of none of the types `right`: 1 done, 0 it is right, -1 taken."""
        call = Call.of(scripts.SET_ASIDE, (name, aside), right.split())
        return int(await self._connection.run_one(call))

    # Places

    async def page(self, key: str | bytes, kind: str, first: int) -> list[bytes]:
        """Some entries of a list (from its left end) or a zset, from a rank on."""
        command = "LRANGE" if kind == "list" else "ZRANGE"
        call = Call.command(command, key, first, first + _PAGE - 1)
        found: list[bytes] = await self._connection.run_one(call)
        return found

    async def pages(self, key: str | bytes, kind: str) -> AsyncIterator[list[bytes]]:
        """All entries of a list or zset. Those that others move meanwhile may be missed."""
        first = 0
        while found := await self.page(key, kind, first):
            yield found
            first += len(found)

    async def wrong_entries(
        self,
        queue: str,
        key: str | bytes,
        state: str,
        ids: Sequence[bytes],
        group: bytes | None = None,
    ) -> list[bytes]:
        """The ids that are not of tasks in that state (and group), or of none."""
        expected = b"" if group is None else b"=" + group
        calls = [
            Call.of(
                scripts.CHECK_ENTRIES,
                (key,),
                (keys.task_prefix(queue), state, expected, *ids[first : first + SLICE]),
            )
            for first in range(0, len(ids), SLICE)
        ]
        return [id_ for found in await self._run(calls) for id_ in found]

    async def names_gone(
        self, key: str, prefix: str, names: Sequence[bytes], *, forget: bool
    ) -> list[bytes]:
        """Of a set or zset of names of keys those whose key does not exist."""
        found: list[bytes] = []
        for first in range(0, len(names), SLICE):
            args: list[Arg] = [prefix, int(forget), *names[first : first + SLICE]]
            found += await self._connection.run_one(Call.of(scripts.FORGET_EMPTY, (key,), args))
        return found

    # Tasks

    async def tasks(
        self, queue: str, ids: Sequence[bytes], *, deep: bool, seen: Seen | None = None
    ) -> list[Standing]:
        """Where tasks stand. Without `deep` nobody looks in `pending`."""
        at_once = await self._at_once(queue) if deep else SLICE
        found: list[Standing] = []
        for first in range(0, len(ids), at_once):
            args: list[Arg] = [
                *self._prefixes(queue),
                int(deep),
                *_seen(seen),
                _LONGEST_MESSAGE,
                *ids[first : first + at_once],
            ]
            call = Call.of(scripts.CHECK_TASKS, _places(queue), args)
            found += [_standing(queue, entry) for entry in await self._connection.run_one(call)]
        return found

    async def repair(
        self, queue: str, wrong: Sequence[Standing], seen: Seen | None = None
    ) -> list[str]:
        """Put tasks where they belong: for each what was done, as in repair_tasks.lua; what Redis
        refused begins with '!'."""
        at_once = max(1, await self._at_once(queue) // 2)
        done: list[str] = []
        for first in range(0, len(wrong), at_once):
            args: list[Arg] = [
                *self._prefixes(queue),
                *_seen(seen),
                self._clock.skew_ms,
                LEASE_S,
            ]
            for task in wrong[first : first + at_once]:
                args += self._repair_args(task)
            call = Call.of(scripts.REPAIR_TASKS, _places(queue), args)
            answers = await self._connection.run_one(call)
            done += [answer.decode("utf-8", "replace") for answer in answers]
        return done

    def _repair_args(self, task: Standing) -> Sequence[Arg]:
        message = task.message
        expires = max(
            int(self._clock.now()), message.completed_at + message.retention if message else 0
        )
        why = f"{task.sha} {task.unreadable}" if task.unreadable else ""
        return (task.id, message.group_key if message else "", expires, why)

    async def _at_once(self, queue: str) -> int:
        """How many tasks may be looked for in `pending` in one step."""
        length = await self._run([Call.command("LLEN", keys.pending(queue))], raises=False)
        entries = length[0] if isinstance(length[0], int) else 0
        return max(1, min(SLICE, _STEPS // max(1, entries)))

    # Groups, locks, times

    async def group(
        self, queue: str, zset: bytes, name: bytes, *, repair: bool
    ) -> GroupStanding | None:
        """What a zset under the prefix of groups is; None if it is gone, or no zset."""
        call = Call.of(
            scripts.INSPECT_GROUP,
            (zset, keys.groups(queue), keys.aggregation_sets(queue)),
            (name, keys.task_prefix(queue), int(repair)),
        )
        try:
            kind, group, size, deadline = await self._connection.run_one(call)
        except RedisReplyError as error:
            if "WRONGTYPE" in error.text:
                return None  # that of a key is looked at by itself
            raise
        if not size:
            return None
        return GroupStanding(kind.decode(), group, size, float(deadline) if deadline else None)

    async def locks(
        self, queue: str, names: Sequence[bytes], *, give_up: bool
    ) -> list[tuple[str, bytes, int]]:
        """For each lock what is wrong, as in check_locks.lua, its holder and its seconds left."""
        found: list[tuple[str, bytes, int]] = []
        for first in range(0, len(names), SLICE):
            args: list[Arg] = [keys.task_prefix(queue), int(give_up)]
            call = Call.of(scripts.CHECK_LOCKS, names[first : first + SLICE], args)
            for what, holder, left in await self._connection.run_one(call):
                found.append((what.decode(), holder, int(left)))
            # In a cluster each call names a key that is never there, and here that has an answer.
            del found[first + SLICE :]
        return found[: len(names)]

    async def stale_due(self, queue: str, *, drop: bool) -> int:
        """How many entries of `due` are over by minutes: nobody needs them any more."""
        command = "ZREMRANGEBYSCORE" if drop else "ZCOUNT"
        until_ms = round((await self.redis_now() - 2 * OVERDUE_S) * 1000)
        call = Call.command(command, keys.due(queue), "-inf", until_ms)
        return int(await self._connection.run_one(call))

    async def overdue(self, queue: str) -> tuple[int, int]:
        """How many tasks should have been forwarded, and how many recovered, a while ago."""
        until = int(await self.redis_now()) - OVERDUE_S
        places = (keys.scheduled(queue), keys.retry(queue), keys.lease(queue))
        found = await self._run(
            [Call.command("ZCOUNT", place, "-inf", until) for place in places], raises=False
        )
        waiting, retrying, leases = (n if isinstance(n, int) else 0 for n in found)
        return waiting + retrying, leases

    async def redis_now(self) -> float:
        """Redis's time, Unix seconds, as scripts have it."""
        seconds, micros = await self._connection.run_one(Call.command("TIME"))
        return int(seconds) + int(micros) / 1e6 + self._clock.skew

    # Small things

    async def command(self, *args: Arg) -> Reply:
        """A plain command on a key, its first argument."""
        name, *rest = args
        return await self._connection.run_one(Call.command(str(name), *rest))

    async def members(self, key: str) -> list[bytes]:
        """A set, in slices."""
        found: set[bytes] = set()
        cursor = b"0"
        while True:
            call = Call.command("SSCAN", key, cursor, "COUNT", _SCANNED)
            cursor, some = await self._connection.run_one(call)
            found.update(some)
            if cursor == b"0":
                return sorted(found)

    def _prefixes(self, queue: str) -> tuple[str, str]:
        return keys.task_prefix(queue), keys.group_prefix(queue)

    async def _run(self, calls: Sequence[Call], *, raises: bool = True) -> list[Reply]:
        replies = await self._connection.run(calls)
        for reply in replies:
            if raises and isinstance(reply, RedisError):
                raise reply
        return replies


def _places(queue: str) -> tuple[str, ...]:
    """The keys of include/standing.lua."""
    return (
        keys.pending(queue),
        keys.active(queue),
        keys.lease(queue),
        keys.scheduled(queue),
        keys.retry(queue),
        keys.archived(queue),
        keys.completed(queue),
        keys.groups(queue),
        keys.aggregation_sets(queue),
        keys.parked(queue),
    )


def _seen(seen: Seen | None) -> tuple[bytes, bytes]:
    return (seen.key, seen.group) if seen else (b"", b"")


def _standing(queue: str, entry: Reply) -> Standing:
    id_, trouble, state, places, data, parked = entry
    message, why, sha = None, "", ""
    if data is not None:
        try:
            message = decode_task(data)
        except UndecodableError as error:
            why = str(error)
        else:
            if message.id != id_text(id_) or message.queue != queue:
                why = f"the message says it is task {message.id!r} of queue {message.queue!r}"
        sha = sha1(data, usedforsecurity=False).hexdigest()
    return Standing(
        id=id_,
        trouble=trouble.decode(),
        state=state.decode("utf-8", "replace"),
        places=places.decode(),
        message=message,
        unreadable=why,
        sha=sha,
        parked=parked.decode("utf-8", "replace"),
    )
