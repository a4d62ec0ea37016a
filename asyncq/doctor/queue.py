"""One queue: its keys as they are met, and what is only seen when all have been."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from .._broker import keys
from .._broker.examination import SLICE, Examination
from ..errors import RedisReplyError
from .finding import EXAMPLES, Findings
from .names import Name
from .tasks import PLACES, TaskCheck, shown


class QueueCheck:
    """What a doctor knows of one queue. While its slot moves to another node of a cluster, key by
    key, it is left alone: half of it would look as if it were gone."""

    def __init__(self, examination: Examination, queue: str, found: Findings, *, fix: bool) -> None:
        self.queue = queue
        self._examination = examination
        self._found = found
        self._fix = fix
        self._tasks = TaskCheck(examination, queue, found, fix=fix)
        prefix = keys.queue_prefix(queue).encode()
        fixed = (*PLACES, "groups", "aggregation_sets")
        self._fixed = [Name(prefix + n.encode(), queue, False, n.encode()) for n in fixed]
        self._moves = False
        self._types: dict[str, str] = {}
        """Of its keys without a name of their own: `pending`, `asyncq:due`."""

    async def look_at_fixed(self) -> None:
        """The places of its tasks, before anything else: nothing can be put right while
        something else stands there."""
        await self._unless_moving(lambda: self._look_at_types(self._fixed))

    async def look(self, names: Sequence[Name]) -> None:
        """Some of its keys."""
        await self._unless_moving(lambda: self._look(names))

    async def finish(self, listed: bool, worked_on: bool) -> None:
        """When all keys have been met."""
        await self._unless_moving(lambda: self._finish(listed, worked_on))

    async def _unless_moving(self, step: Callable[[], Awaitable[None]]) -> None:
        if self._moves:
            return
        try:
            await step()
        except RedisReplyError as error:
            if error.code != "TRYAGAIN":
                raise
            self._moves = True
            self._found.add("moving", self.queue, [], count=1)

    async def _look(self, names: Sequence[Name]) -> None:
        tasks = [name.rest[2:] for name in names if not name.ours and name.rest.startswith(b"t:")]
        locks = [n.key for n in names if not n.ours and n.rest.startswith(b"unique:")]
        aside = [shown(name.key) for name in names if name.is_aside]
        if aside:
            self._found.add("aside", self.queue, aside)
        if tasks:
            await self._tasks.look_at_hashes(tasks, self._types)
        if locks:
            await self._look_at_locks(locks)
        others = [name for name in names if name.right_type and name not in self._fixed]
        if others:
            await self._look_at_types(others)
        for name in others:
            if not name.ours and name.rest.startswith(b"g:"):
                await self._look_at_group(name)

    async def _finish(self, listed: bool, worked_on: bool) -> None:
        types = await self._examination.types([name.key for name in self._fixed])
        for name, kind in zip(self._fixed, types, strict=True):
            self._types.pop(shown(name.rest), None)
            if kind == name.right_type:
                self._types[shown(name.rest)] = kind
        if self._types.keys() & set(PLACES) or self._tasks.count:
            await self._check_listed(listed)
        await self._tasks.look_at_places(self._types)
        await self._look_at_lists_of_groups()
        await self._look_at_ours()
        await self._look_at_work(worked_on)

    async def _check_listed(self, listed: bool) -> None:
        if listed:
            return
        if self._fix:
            await self._examination.command("SADD", keys.QUEUES, self.queue)
        self._found.add("unlisted", self.queue, [], count=1, fixed=int(self._fix))

    async def _look_at_types(self, names: Sequence[Name]) -> None:
        found = await check_types(self._examination, names, self._found, self.queue, fix=self._fix)
        for name in names:
            if name.key in found:
                rest = ("asyncq:" if name.ours else "") + shown(name.rest)
                if b":" not in name.rest:
                    self._types[rest] = found[name.key]

    async def _look_at_locks(self, locks: Sequence[bytes]) -> None:
        said = await self._examination.locks(self.queue, locks, give_up=self._fix)
        for lock, (what, holder, left) in zip(locks, said, strict=True):
            if what == "stale":
                example = f"{shown(lock)} (of task {shown(holder)}, {_for_how_long(left)})"
                self._found.add("stale-locks", self.queue, [example], fixed=int(self._fix))
            elif what == "type":
                name = Name(lock, self.queue, False, lock[len(keys.queue_prefix(self.queue)) :])
                await _aside(self._examination, name, "string", self._found, self.queue, self._fix)

    async def _look_at_group(self, name: Name) -> None:
        group = await self._examination.group(self.queue, name.key, name.rest[2:], repair=self._fix)
        if group is None:
            return
        await self._tasks.look_at_group(name.key, group.group)
        kind = {"hidden": "hidden-groups", "forgotten": "forgotten-sets"}.get(group.kind)
        example = f"{shown(group.group)} ({group.size} tasks)"
        if kind:
            self._found.add(kind, self.queue, [example], fixed=int(self._fix))
        if not _is_name(group.group):
            self._found.add("nameless-groups", self.queue, [example])

    async def _look_at_lists_of_groups(self) -> None:
        for place, kind in (("groups", "set"), ("aggregation_sets", "zset")):
            if self._types.get(place) != kind:
                continue
            key = keys.queue_prefix(self.queue) + place
            prefix = keys.group_prefix(self.queue) if kind == "set" else ""
            names = await self._examination.members(key) if kind == "set" else None
            if names is None:
                names = [n async for page in self._examination.pages(key, "zset") for n in page]
            gone = await self._examination.names_gone(key, prefix, names, forget=self._fix)
            if gone:
                examples = [shown(name) for name in gone[:EXAMPLES]]
                fixed = len(gone) if self._fix else 0
                self._found.add("empty-groups", self.queue, examples, count=len(gone), fixed=fixed)

    async def _look_at_ours(self) -> None:
        if self._types.get("asyncq:due") == "zset":
            stale = await self._examination.stale_due(self.queue, drop=self._fix)
            if stale:
                fixed = stale if self._fix else 0
                self._found.add("stale-due", self.queue, [], count=stale, fixed=fixed)
        if self._types.get("asyncq:parked") == "hash":
            ids = await self._examination.command("HKEYS", keys.parked(self.queue))
            self._found.add("parked", self.queue, [shown(id_) for id_ in ids])

    async def _look_at_work(self, worked_on: bool) -> None:
        late, unrecovered = await self._examination.overdue(self.queue)
        if late:
            self._found.add("overdue", self.queue, [], count=late)
        if unrecovered:
            self._found.add("unrecovered", self.queue, [], count=unrecovered)
        if self._types.get("pending") != "list":
            return
        waiting = await self._examination.command("LLEN", keys.pending(self.queue))
        if waiting and await self._examination.command("EXISTS", keys.paused(self.queue)):
            self._found.add("paused", self.queue, [], count=waiting)
        elif waiting and not worked_on:
            self._found.add("nobody", self.queue, [], count=waiting)


async def check_types(
    examination: Examination, names: Sequence[Name], found: Findings, where: str, *, fix: bool
) -> Mapping[bytes, str]:
    """The types of keys that are of the right one; the others are said, and set aside."""
    right: dict[bytes, str] = {}
    for first in range(0, len(names), SLICE):
        some = names[first : first + SLICE]
        types = await examination.types([name.key for name in some])
        for name, kind in zip(some, types, strict=True):
            if kind == name.right_type:
                right[name.key] = kind
            elif kind != "none":
                await _aside(examination, name, kind, found, where, fix)
    return right


async def _aside(
    examination: Examination, name: Name, kind: str, found: Findings, where: str, fix: bool
) -> None:
    wanted = name.right_type or "string"
    fixed = fix and await examination.set_aside(name.key, name.aside, wanted) == 1
    example = shown(name.key)
    if kind != wanted:
        example += f" (a {kind}; it must be a {wanted})"
    found.add("type", where, [example], fixed=int(fixed))


def _is_name(group: bytes) -> bool:
    """Whether a message can name it."""
    try:
        group.decode()
    except UnicodeDecodeError:
        return False
    return True


def _for_how_long(seconds: int) -> str:
    return "for ever" if seconds < 0 else f"for another {seconds} s"
