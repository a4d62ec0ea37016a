"""Tasks where they stand: looking at one or at a state's, in order, and moving them by hand.

Wire format, 10.5 to 10.13. Whole states are never read or moved by one script: callers go through
them in slices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Literal

from .._clock import Clock
from ..errors import RedisReplyError, TaskNotFoundError, TaskStateError
from ..info import TaskInfo
from ..task import TaskState
from . import keys, scripts
from .codec import UndecodableError, decode_task, encode_task, task_info
from .connection import Call, Connection, Reply
from .message import TaskMessage
from .scripts import Script

SLICE = 100
"""How many tasks one script call looks at or moves: about a millisecond of Redis's time."""

Action = Literal["run", "archive", "delete"]

GONE, NOT_THERE, _NOT_NEAR = 0, -3, -4

_SCRIPTS: dict[Action, Script] = {
    "run": scripts.RUN_TASKS,
    "archive": scripts.ARCHIVE_TASKS,
    "delete": scripts.DELETE_TASKS,
}
_LISTS = (TaskState.PENDING, TaskState.ACTIVE)
_STATES = {state.value.encode(): state for state in TaskState}
_SEARCH = 5000
_KEPT_BEFORE = 32
# Up to how far from an end of `pending` a gap is closed: once for all of a slice of many, and
# at most this far for a single task. A step along the list takes some 15 ns.
_NEAR_MANY, _NEAR_ONE = 100_000, 300_000
# Deep in a list every single place takes a walk along its blocks of entries: fewer at once.
_DEEP, _FEW = 10_000, 30


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a scan stands. Opaque: made by a scan, and good for going on with it."""

    rank: int = 0
    looked: tuple[bytes, ...] = ()
    """Ids looked at last, each followed by its stay in the list; of a zset one, and its score."""

    def after(self, gone: Set[bytes], filling: Mapping[bytes, bytes]) -> Cursor:
        """This one of a list, when these have been taken out of what was looked at, and others,
        which have been looked at since, fill gaps (with their stays)."""
        pairs = zip(self.looked[::2], self.looked[1::2], strict=True)
        left = [part for pair in pairs if pair[0] not in gone for part in pair]
        left += [part for pair in filling.items() for part in pair]
        return Cursor(max(0, self.rank - len(gone) + len(filling)), tuple(left))


@dataclass(frozen=True, slots=True)
class Place:
    """One state of a queue; of aggregating tasks one group."""

    queue: str
    state: TaskState
    group: str = ""

    @property
    def key(self) -> str:
        """The list or zset."""
        if self.state is TaskState.AGGREGATING:
            return keys.group(self.queue, self.group)
        return keys.queue_prefix(self.queue) + self.state.value

    @property
    def is_list(self) -> bool:
        return self.state in _LISTS


@dataclass(frozen=True, slots=True)
class Part:
    """Part of a scan."""

    tasks: list[tuple[bytes, TaskInfo]]
    """With the ids under which they stand there."""
    ids: list[bytes]
    """All that was looked at, ids without a task included."""
    rank: int
    """That of the first."""
    cursor: Cursor | None
    """Where to go on; None at the end."""


class TaskLists:
    """Operations over one connection. Errors of Redis are raised."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock

    async def task_info(self, queue: str, task_id: str) -> TaskInfo:
        """Raises `TaskNotFoundError`, or `TaskStateError` where it stands in no known state."""
        try:
            found = await self._connection.run_one(self._task_info(queue, task_id.encode()))
        except RedisReplyError as error:
            if "WRONGTYPE" in error.text:
                raise TaskStateError(queue, task_id, "its key in Redis is no hash") from error
            raise
        if found is None:
            raise TaskNotFoundError(queue, task_id)
        name, entry = found
        if name not in _STATES:
            shown = name.decode("utf-8", "replace")
            raise TaskStateError(queue, task_id, f"its state is {shown!r}, which asynq has not")
        return self._entry(queue, _STATES[name], entry)

    async def scan(
        self, place: Place, cursor: Cursor, count: int, *, ids_only: bool = False
    ) -> Part:
        """The next tasks of a state, at most `count`, fewer where messages are long."""
        while True:
            part = await self._scan(place, cursor, count, ids_only=ids_only)
            if part is not None:
                return part
            # What was looked at last is not where it was. When all of it is gone, workers have
            # taken it, and what was to run before it.
            rank = await self._find(place, cursor.looked, cursor.rank, everywhere=False)
            cursor = Cursor() if rank is None else Cursor(rank + 1, cursor.looked)

    async def size(self, place: Place) -> int:
        """How many tasks are in a state."""
        call = Call.command("LLEN" if place.is_list else "ZCARD", place.key)
        return int(await self._connection.run_one(call))

    async def act_on_one(self, action: Action, queue: str, task_id: str) -> int:
        """Run, archive or delete a task in whatever state. The script's code."""
        (code,), _ = await self._act(action, queue, None, [task_id.encode()], 0)
        return code

    async def act_on_all(
        self,
        action: Action,
        place: Place,
        matches: Callable[[TaskInfo], bool] | None,
        progress: Callable[[int], None],
    ) -> int:
        """Act on tasks that match, slice by slice; how many were.

        As many are looked at as there were at the start, besides those that fill gaps: what
        comes back meanwhile is not ours to chase.
        """
        left = await self.size(place)
        done = 0

        def acted(count: int) -> None:
            nonlocal done
            done += count
            progress(done)

        cursor: Cursor | None = Cursor()
        while left > 0 and cursor is not None:
            count = min(SLICE, left)
            part = await self.scan(place, cursor, count, ids_only=matches is None)
            left -= len(part.ids)
            ids = part.ids
            if matches is not None:
                ids = [task_id for task_id, task in part.tasks if matches(task)]
            gone, filled = await self._act_on_part(action, place, ids, part.rank, matches, acted)
            cursor = part.cursor
            if cursor is not None and place.is_list:
                cursor = cursor.after(gone, filled)
        return done

    async def _act_on_part(
        self,
        action: Action,
        place: Place,
        ids: Sequence[bytes],
        rank: int,
        matches: Callable[[TaskInfo], bool] | None,
        acted: Callable[[int], None],
    ) -> tuple[set[bytes], dict[bytes, bytes]]:
        """Act on what was found, and on what then fills its gaps and matches too.

        Returns the ids that are gone, and those that fill gaps now, with their stays.
        """
        gone: set[bytes] = set()
        filling: dict[bytes, bytes] = {}
        at_once = _FEW if place.is_list and rank > _DEEP else SLICE
        left = list(ids)
        if not left:
            acted(0)
        while left:
            now, left = left[:at_once], left[at_once:]
            codes, moved = await self._act(action, place.queue, place, now, rank)
            taken = [task_id for task_id, code in zip(now, codes, strict=True) if code == 1]
            acted(len(taken))
            for task_id in taken:
                if filling.pop(task_id, None) is None:
                    gone.add(task_id)
            filling |= zip(moved[::2], moved[1::2], strict=True)
            new = moved[::2]
            if matches is not None:
                new = [task_id for task_id, task in await self._read(place, new) if matches(task)]
            left += new
        return gone, filling

    async def _read(self, place: Place, ids: Sequence[bytes]) -> list[tuple[bytes, TaskInfo]]:
        """Those of some tasks that are still there, and can be read."""
        replies = await self._connection.run([self._task_info(place.queue, i) for i in ids])
        return [
            (task_id, self._entry(place.queue, place.state, found[1]))
            for task_id, found in zip(ids, replies, strict=True)
            if found is not None and not isinstance(found, RedisReplyError)
        ]

    async def read_message(self, queue: str, task_id: str) -> tuple[bytes, TaskMessage]:
        """The message as it stands, and decoded. Raises `TaskNotFoundError`, `TaskStateError`."""
        call = Call.command("HGET", keys.task(queue, task_id), "msg")
        data = await self._connection.run_one(call)
        if data is None:
            raise TaskNotFoundError(queue, task_id)
        try:
            return data, decode_task(data)
        except UndecodableError as error:
            raise TaskStateError(queue, task_id, f"it cannot be read: {error}") from error

    async def replace_payload(
        self, queue: str, task_id: str, data: bytes, message: TaskMessage, payload: bytes
    ) -> int:
        """A code as in the script: 1 replaced, -2 changed since it was read."""
        call = Call.of(
            scripts.REPLACE_MESSAGE,
            (keys.task(queue, task_id),),
            (
                data,
                encode_task(message._replace(payload=payload)),
                task_id,
                keys.group_prefix(queue),
            ),
        )
        return int(await self._connection.run_one(call))

    async def _scan(
        self, place: Place, cursor: Cursor, count: int, *, ids_only: bool
    ) -> Part | None:
        """None if nothing of what was looked at before is near its rank."""
        call = Call.of(
            scripts.SCAN_TASKS,
            (place.key, keys.lease(place.queue)),
            (
                keys.task_prefix(place.queue),
                "list" if place.is_list else "zset",
                count,
                int(ids_only),
                self._clock.skew_ms,
                cursor.rank,
                *cursor.looked,
            ),
        )
        rank, looked, entries, before, is_end = await self._connection.run_one(call)
        if rank < 0:
            return None
        tasks = [(entry[0], self._entry(place.queue, place.state, entry)) for entry in entries]
        ids = looked[::2]
        if is_end or not ids:
            return Part(tasks, ids, rank, None)
        if not place.is_list:
            return Part(tasks, ids, rank, Cursor(0, tuple(looked[-2:])))
        # Some of those before, too: the whole slice may be taken out before we go on.
        stays = dict(zip(cursor.looked[::2], cursor.looked[1::2], strict=True))
        kept = [part for task_id in before[-_KEPT_BEFORE:] for part in (task_id, stays[task_id])]
        return Part(tasks, ids, rank, Cursor(rank + len(ids), (*kept, *looked)))

    async def _find(
        self, place: Place, looked: Sequence[bytes], near: int, *, everywhere: bool
    ) -> int | None:
        """The rank of the last of these that is still in a list; None if there is none.

        First towards the right end, where workers take: tasks move there. Towards the other only
        as many come back from stopped workers, so whoever is looked for far there may be missed
        unless `everywhere` is to be looked.
        """
        above = start = near + 2 * _SEARCH
        while start > 0:
            start = max(0, start - _SEARCH)
            rank, _ = await self._find_from(place, looked, start)
            if rank >= 0:
                return rank
            if start == 0 and not everywhere:
                return None
        length = above + 1
        while above < length:
            rank, length = await self._find_from(place, looked, above)
            if rank >= 0:
                return rank
            above += _SEARCH
        return None

    async def _find_from(self, place: Place, looked: Sequence[bytes], rank: int) -> tuple[int, int]:
        call = Call.of(
            scripts.FIND_IN_LIST,
            (place.key,),
            (keys.task_prefix(place.queue), rank, _SEARCH, *looked),
        )
        found, length = await self._connection.run_one(call)
        return found, length

    async def _act(
        self, action: Action, queue: str, place: Place | None, ids: Sequence[bytes], rank: int
    ) -> tuple[list[int], list[bytes]]:
        """A code for each, and what filled gaps, as in the scripts; pending tasks are found
        wherever they are."""
        codes, moved = await self._act_near(action, queue, place, ids, rank)
        pending = Place(queue, TaskState.PENDING)
        for n, task_id in enumerate(ids):
            while codes[n] == _NOT_NEAR:
                found = await self._find(pending, (task_id, b"*"), rank, everywhere=not place)
                if found is None:
                    codes[n] = NOT_THERE
                else:
                    (codes[n],), more = await self._act_near(action, queue, place, [task_id], found)
                    moved += more
        return codes, moved

    async def _act_near(
        self, action: Action, queue: str, place: Place | None, ids: Sequence[bytes], rank: int
    ) -> tuple[list[int], list[bytes]]:
        found_in = place.key if place else keys.pending(queue)
        names = [keys.pending(queue), keys.groups(queue), found_in]
        if action == "archive":
            names.append(keys.archived(queue))
        call = Call.of(
            _SCRIPTS[action],
            names,
            (
                keys.queue_prefix(queue),
                self._clock.skew_ms,
                place.state.value if place else "",
                rank,
                _NEAR_MANY if place else _NEAR_ONE,
                *ids,
            ),
        )
        codes, moved = await self._connection.run_one(call)
        return codes, moved

    def _task_info(self, queue: str, task_id: bytes) -> Call:
        return Call.of(
            scripts.TASK_INFO,
            (keys.task_prefix(queue).encode() + task_id, keys.lease(queue)),
            (task_id, keys.queue_prefix(queue), self._clock.skew_ms),
        )

    def _entry(self, queue: str, state: TaskState, entry: Reply) -> TaskInfo:
        raw_id, data, result, score, orphaned, parked = entry
        due = float(score) if score and state in (TaskState.SCHEDULED, TaskState.RETRY) else None
        if state is TaskState.PENDING:
            due = self._clock.now()
        try:
            message = decode_task(data)
        except UndecodableError as error:
            # It is somewhere, so it is shown: with the reason where its last error would be.
            reason = parked.decode("utf-8", "replace") if parked else str(error)
            message = TaskMessage(
                type="", id=raw_id.decode("utf-8", "replace"), queue=queue, error_msg=reason
            )
        return task_info(
            message, state, next_process_at=due, result=result, is_orphaned=bool(orphaned)
        )
