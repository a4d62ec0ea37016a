"""What Client and Server say to Redis about tasks, in lists: one is a list of one.

`enqueue` (in `producer`) is sent again after a lost connection, since it recognises itself. Of
everything else the caller decides when to send it again; each operation says what that means.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

from .._clock import Clock
from ..errors import RedisError, RedisUnavailableError
from . import keys, scripts
from .arguments import Arg, answers_of, finish_keys, passing, reply_error
from .codec import UndecodableError, decode_task, encode_task, id_bytes, id_text, valid_text
from .connection import Call, Connection, Reply
from .message import Leased, Unreadable
from .outcome import Archived, Completed, Done, Outcome, Parked, Requeued, Retried
from .producer import Enqueued, Producer
from .slices import Slice, rounds

__all__ = [
    "DEQUEUE_LIMIT",
    "LEASE_S",
    "Broker",
    "Enqueued",
    "Fetched",
    "answered",
    "extend_calls",
    "leased_from",
    "passing",
]

LEASE_S = 30
DEQUEUE_LIMIT = 1000
"""The most one script call takes: Lua can pass on only so many values at a time."""

_log = logging.getLogger("asyncq")


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a dequeue took from one queue."""

    queue: str
    paused: bool
    tasks: Sequence[Leased | Unreadable]
    dropped: Sequence[tuple[str, str]]
    """Entries that could not be run and were removed: id and why."""
    left: int
    """How many are still pending."""
    waited: Sequence[tuple[int, int]] = ()
    """Of some of the tasks, if the broker asks: the index, and for how many us it was pending."""


class Broker(Producer):
    """Producer and consumer operations over one connection."""

    def __init__(
        self,
        connection: Connection,
        clock: Clock,
        *,
        lease_s: int = LEASE_S,
        asks_waits: int = 0,
    ) -> None:
        super().__init__(connection, clock)
        self.lease_s = lease_s
        self._asks: Sequence[Arg] = (asks_waits,) if asks_waits else ()

    async def dequeue(
        self, asks: Sequence[tuple[str, int]], claim: str, *, again: int = 0
    ) -> list[Fetched | RedisError]:
        """Take up to so many tasks of each queue, under one claim, in one round trip.

        After a `RedisUnavailableError` call it once more with the same claim, and with `again`
        as how often it was called before: what the earlier calls took comes back, and one that
        Redis executes only later takes nothing. A message that does not decode comes back
        `Unreadable`.
        """
        # Measured from before the call, and Redis cuts to whole seconds: the safe side.
        lease_until = time.monotonic() + self.lease_s - 1
        replies = await self.connection.run(
            [self._dequeue_call(queue, limit, claim, again) for queue, limit in asks]
        )
        return [
            reply if isinstance(reply, RedisError) else _fetched(q, reply, claim, lease_until)
            for (q, _), reply in zip(asks, replies, strict=True)
        ]

    def _dequeue_call(self, queue: str, limit: int, claim: str, again: int) -> Call:
        return Call.of(
            scripts.DEQUEUE,
            (
                keys.pending(queue),
                keys.paused(queue),
                keys.active(queue),
                keys.lease(queue),
                keys.parked(queue),
                keys.fetch(queue, claim),
            ),
            (
                keys.task_prefix(queue),
                min(limit, DEQUEUE_LIMIT),
                claim,
                again,
                self.lease_s,
                self.clock.skew_ms,
                *self._asks,
            ),
        )

    async def settle(self, outcomes: Sequence[Outcome]) -> list[bool | RedisError]:
        """Write how attempts ended; the results line up with `outcomes`.

        True: written. False: gone, the task is no longer active under its claim; for an outcome
        that is sent again after a lost connection this means that it was written. An error is
        the item's own, or says that its call was lost: then send it again.
        """
        results: list[bool | RedisError] = [False] * len(outcomes)
        lost: RedisUnavailableError | None = None
        for round_ in rounds(outcomes, attrgetter("queue"), _size_of):
            replies: Sequence[Reply]
            if lost is not None:
                replies = [RedisUnavailableError(lost.where, lost.reason, sent=False)] * len(round_)
            else:
                try:
                    calls = [self._settle_call(slice_) for slice_ in round_]
                    replies = await self.connection.run(calls)
                except RedisUnavailableError as error:
                    lost = error
                    replies = [error] * len(round_)
            for slice_, reply in zip(round_, replies, strict=True):
                *answers, counters = answers_of(reply, len(slice_.items) + 1)
                for (place, _), answer in zip(slice_.items, answers, strict=True):
                    results[place] = True if answer == 1 else answered(answer)
                if counters and not isinstance(reply, RedisError):
                    _log.error(
                        "counters or leases of queue %r: %s", slice_.queue, reply_error(counters)
                    )
        return results

    def _settle_call(self, slice_: Slice[Outcome]) -> Call:
        args: list[Arg] = [
            keys.task_prefix(slice_.queue),
            keys.due_channel(slice_.queue),
            self.clock.skew_ms,
        ]
        claim = ""
        for _, outcome in slice_.items:
            if outcome.claim != claim:
                claim = outcome.claim
                args += ("claim", claim)
            args += _outcome_args(outcome)
        return Call.of(scripts.SETTLE, finish_keys(slice_.queue, self.clock), args)

    async def extend_leases(self, queue: str, held: Sequence[tuple[str, str]]) -> list[bool]:
        """Renew leases, given as (id, claim). False: the task is no longer ours."""
        return [
            answer == 1
            for call in extend_calls(queue, held, self.lease_s, self.clock)
            for answer in await self.connection.run_one(call)
        ]

    async def write_result(self, leased: Leased, result: bytes) -> bool:
        """Store a result now. False: the task is no longer active under this claim."""
        key = keys.task(leased.message.queue, leased.message.id)
        call = Call.of(scripts.WRITE_RESULT, (key,), (leased.claim, result))
        return bool(await self.connection.run_one(call))


def extend_calls(
    queue: str, held: Sequence[tuple[str, str]], lease_s: int, clock: Clock
) -> Iterator[Call]:
    """The calls that renew leases; the guard thread sends them over a connection of its own."""
    for first in range(0, len(held), DEQUEUE_LIMIT):
        args: list[Arg] = [keys.task_prefix(queue), lease_s, clock.skew_ms]
        for task_id, claim in held[first : first + DEQUEUE_LIMIT]:
            args += (task_id, claim)
        yield Call.of(scripts.EXTEND_LEASES, (keys.lease(queue),), args)


def leased_from(
    queue: str, task_id: str, data: bytes, claim: str, lease_until: float
) -> Leased | Unreadable:
    """A stored message as one that is held, or why it cannot be read."""
    try:
        message = decode_task(data)
    except UndecodableError as error:
        return Unreadable(queue, task_id, claim, str(error))
    if message.id != task_id or message.queue != queue:
        # Whatever writes its outcome goes by the message: it would touch another task.
        reason = f"the message says it is task {message.id!r} of queue {message.queue!r}"
        return Unreadable(queue, task_id, claim, reason)
    return Leased(message, claim, lease_until)


def answered(answer: Reply) -> bool | RedisError:
    """One answer of settle.lua or recover.lua: 1, 0, or the text of an error."""
    if isinstance(answer, RedisError):
        return answer
    return reply_error(answer) if isinstance(answer, bytes) else answer == 1


def _fetched(queue: str, reply: Reply, claim: str, lease_until: float) -> Fetched:
    paused, taken, dropped, left, *asked = reply
    tasks = [
        leased_from(queue, id_text(task_id), data, claim, lease_until)
        for task_id, data in zip(taken[::2], taken[1::2], strict=True)
    ]
    removed = [
        (task_id.decode("utf-8", "replace"), why.decode("utf-8", "replace"))
        for task_id, why in zip(dropped[::2], dropped[1::2], strict=True)
    ]
    waits = asked[0] if asked else ()
    waited = tuple((place - 1, us) for place, us in zip(waits[::2], waits[1::2], strict=True))
    return Fetched(queue, bool(paused), tasks, removed, left, waited)


def _outcome_args(outcome: Outcome) -> Sequence[Arg]:
    """kind, id and what the kind needs: as settle.lua takes them."""
    if isinstance(outcome, Done):
        message = outcome.leased.message
        return ("done", message.id, message.unique_key)
    if isinstance(outcome, Parked):
        lost = outcome.unreadable
        return ("park", id_bytes(lost.id), valid_text(lost.reason), 0, 0, "", "")
    task_id = outcome.leased.message.id
    match outcome:
        case Completed(_, message, result):
            kept_ms, lock = message.retention * 1000, message.unique_key
            return ("complete", task_id, encode_task(message), kept_ms, 0, lock, result)
        case Retried(_, message, delay_s, is_failure):
            delay_ms = max(0, round(delay_s * 1000))
            return ("retry", task_id, encode_task(message), delay_ms, int(is_failure), "", "")
        case Archived(_, message):
            return ("archive", task_id, encode_task(message), 0, 1, "", "")
        case Requeued():
            return ("requeue", task_id, "", 0, 0, "", "")


def _size_of(outcome: Outcome) -> int:
    match outcome:
        case Done():
            return 0
        case Completed(_, message, result):
            return len(message.payload) + len(result)
        case Retried(_, message) | Archived(_, message):
            return len(message.payload) + len(message.error_msg)
        case _:
            return 0
