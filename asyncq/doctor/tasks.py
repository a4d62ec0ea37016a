"""The tasks of one queue: from their hashes to the places where they stand, and back.

What looks wrong in passing is a suspect, and suspects are looked at once more, each in one step
of Redis's: others work on the queue all the while.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

from .._broker import keys
from .._broker.examination import Examination, Seen, Standing
from .finding import Findings

_MOST_SUSPECTS = 500
# How many ids that should be pending are kept in memory before `pending` is gone through.
_MOST_CLAIMS = 200_000
_ROUNDS = 3

PLACES = ("pending", "active", "lease", "scheduled", "retry", "archived", "completed")
_STATE = {place: "active" if place == "lease" else place for place in PLACES}


class TaskCheck:
    """Looks at the tasks of one queue, and puts them right if it is to."""

    def __init__(self, examination: Examination, queue: str, found: Findings, *, fix: bool) -> None:
        self._examination = examination
        self._queue = queue
        self._found = found
        self._fix = fix
        self._claims: set[bytes] = set()
        self._suspects: dict[Seen | None, set[bytes]] = {}
        self._reported: set[bytes] = set()
        self._fixed = 0
        self.count = 0

    async def look_at_hashes(self, ids: Sequence[bytes], types: Mapping[str, str]) -> None:
        """Tasks by their hashes: is each where it says?"""
        self.count += len(ids)
        for task in await self._examination.tasks(self._queue, ids, deep=False):
            if task.parked and not task.trouble and task.id not in self._reported:
                self._reported.add(task.id)
                self._found.add("parked", self._queue, [shown(task.id)])
            if task.trouble == "unknown" and task.state == "pending":
                self._claims.add(task.id)
            elif task.trouble:
                await self._suspect([task.id])
            if _to_be_parked(task):
                await self._suspect([task.id])
        if len(self._claims) >= _MOST_CLAIMS:
            await self._settle_claims(types)

    async def look_at_places(self, types: Mapping[str, str]) -> None:
        """Entries of the queue's places: is each of a task that says so? `types` are those of
        the queue's keys."""
        await self._settle_claims(types)
        for place in PLACES:
            kind = types.get(place, "")
            if kind == ("list" if place in ("pending", "active") else "zset"):
                await self._look_at(place, kind)
        await self._confirm()

    async def look_at_group(self, zset: bytes, group: bytes) -> None:
        """The entries of a group, or of an aggregation set of it."""
        seen = Seen(zset, group)
        async for ids, _ in self._pages(zset, "zset", seen):
            wrong = await self._examination.wrong_entries(
                self._queue, zset, "aggregating", ids, group
            )
            await self._suspect(wrong, seen)

    async def _look_at(self, place: str, kind: str) -> None:
        key = keys.queue_prefix(self._queue) + place
        met: set[int] = set()  # hashes of ids: a quarter of their memory
        async for ids, new in self._pages(key, kind):
            await self._suspect(
                await self._examination.wrong_entries(self._queue, key, _STATE[place], ids)
            )
            if kind == "list":
                await self._suspect(_again(new, met))
            elif place == "lease":
                await self._suspect(await self._not_active(ids))

    async def _pages(
        self, key: str | bytes, kind: str, seen: Seen | None = None
    ) -> AsyncIterator[tuple[Sequence[bytes], Sequence[bytes]]]:
        """The entries of a place, and which of them are seen for the first time: where something
        was put right the same ranks come once more, since others have moved up to them."""
        first, known = 0, Counter[bytes]()
        while ids := await self._examination.page(key, kind, first):
            before = self._fixed
            yield ids, list((Counter(ids) - known).elements()) if known else ids
            if self._fix:
                await self._confirm_of(seen, self._suspects.pop(seen, set()))
            if self._fixed == before:
                first += len(ids)
                known.clear()
            else:
                known = Counter(ids)

    async def _not_active(self, ids: Sequence[bytes]) -> list[bytes]:
        standings = await self._examination.tasks(self._queue, ids, deep=False)
        return [task.id for task in standings if task.trouble]

    async def _settle_claims(self, types: Mapping[str, str]) -> None:
        """Look for those that say that they are pending. On the way workers take some."""
        claims, self._claims = self._claims, set()
        key = keys.pending(self._queue)
        for _ in range(_ROUNDS):
            if claims and types.get("pending") == "list":
                async for ids in self._examination.pages(key, "list"):
                    claims.difference_update(ids)
            if not claims:
                return
            again = await self._examination.tasks(self._queue, list(claims), deep=False)
            claims = {task.id for task in again if task.trouble}
        await self._suspect(claims)

    async def _suspect(self, ids: Iterable[bytes], seen: Seen | None = None) -> None:
        suspects = self._suspects.setdefault(seen, set())
        suspects.update(id_ for id_ in ids if id_ not in self._reported)
        if len(suspects) >= _MOST_SUSPECTS:
            await self._confirm()

    async def _confirm(self) -> None:
        """Say what is wrong with those that are wrong indeed, and put them right."""
        suspects, self._suspects = self._suspects, {}
        for seen, ids in suspects.items():
            await self._confirm_of(seen, ids)

    async def _confirm_of(self, seen: Seen | None, ids: set[bytes]) -> None:
        standings = await self._examination.tasks(
            self._queue, sorted(ids - self._reported), deep=True, seen=seen
        )
        wrong = [task for task in standings if task.trouble or _to_be_parked(task)]
        if not wrong:
            return
        self._reported.update(task.id for task in wrong)
        answers = [""] * len(wrong)
        if self._fix:
            answers = await self._examination.repair(self._queue, wrong, seen)
        for task, answer in zip(wrong, answers, strict=True):
            self._report(task, answer)

    def _report(self, task: Standing, answer: str) -> None:
        example = shown(task.id)
        if task.trouble in ("astray", "doubled"):
            example += f" (it says {task.state or 'nothing'}, it is in {task.places})"
        elif task.trouble == "lost":
            example += f" ({task.state or 'no state'})"
        if answer.startswith("!"):
            example += f": {answer[1:]}"
        fixed = int(answer != "" and not answer.startswith("!"))
        self._fixed += fixed
        if task.trouble:
            self._found.add(task.trouble, self._queue, [example], fixed=fixed)
        if _to_be_parked(task):
            why = f"{shown(task.id)}: {task.unreadable}"
            parked = int(answer == "parked")
            self._found.add("unreadable", self._queue, [why], fixed=parked)


def shown(raw: bytes) -> str:
    """An id or a key for people."""
    return raw.decode("utf-8", "backslashreplace")


def _to_be_parked(task: Standing) -> bool:
    return bool(task.unreadable) and not task.parked


def _again(ids: Sequence[bytes], met: set[int]) -> list[bytes]:
    """Those that were met before."""
    twice = []
    for id_ in ids:
        number = hash(id_)
        if number in met:
            twice.append(id_)
        met.add(number)
    return twice
