"""What stands in Redis for one queue, as plain values, to compare whole states with.

async with moment(redis) as then:
    await broker.dequeue([(queue, 1)], "claim")
assert await snapshot(redis, queue) == {"lease": {"a": then.s(30)}, ...}
"""

from __future__ import annotations

import math
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis

from asyncq._broker import keys
from asyncq._broker.arguments import NewTask
from asyncq._broker.broker import Broker
from asyncq._broker.codec import UndecodableError, decode_task, encode_task
from asyncq._broker.message import Leased, TaskMessage
from asyncq._clock import Clock


async def snapshot(redis: Redis, queue: str) -> dict[str, Any]:
    """Every key of a queue, without its prefix, and what it holds.

    asynq's keys are named as in `pending` and `t:<id>`, ours as in `asyncq:due`. Daily counters
    are added up; their day is `<day>`. Scores are numbers, messages are `TaskMessage`, all else
    is text.
    """
    found: dict[str, Any] = {}
    for pattern in (f"asynq:{{{queue}}}:*", f"asyncq:{{{queue}}}:*"):
        async for key in redis.scan_iter(pattern, count=1000):
            if value := await _value(redis, key):  # else it was deleted or ran out meanwhile
                short = _short(key, queue)
                if short in found:  # a counter of two days, around midnight
                    value = str(int(found[short]) + int(value))
                found[short] = value
    return found


def _short(key: Any, queue: str) -> str:
    short = key.decode().removeprefix(f"asynq:{{{queue}}}:").replace(f"{{{queue}}}:", "")
    return re.sub(r":\d{4}-\d\d-\d\d$", ":<day>", short)


async def _value(redis: Any, key: bytes) -> Any:
    match await redis.type(key):
        case b"list":
            return [entry.decode() for entry in await redis.lrange(key, 0, -1)]
        case b"zset":
            return {
                m.decode(): score for m, score in await redis.zrange(key, 0, -1, withscores=True)
            }
        case b"set":
            return {member.decode() for member in await redis.smembers(key)}
        case b"hash":
            fields = await redis.hgetall(key)
            return {name.decode(): _field(name, value) for name, value in fields.items()}
        case b"string":
            return (await redis.get(key) or b"").decode()
        case b"none":
            return None
        case kind:
            raise AssertionError(f"nobody writes a {kind}")


def _field(name: bytes, value: bytes) -> object:
    if name == b"msg":
        try:
            return decode_task(value)
        except UndecodableError:
            return value
    return value.decode()


class Moment:
    """A stretch of time by Redis's clock; what was written in it equals `s()`, `ms()` or `ns()`."""

    def __init__(self, start_us: int, end_us: int) -> None:
        self.start_us = start_us
        self.end_us = end_us

    def s(self, offset: int = 0) -> _Within:
        """Whole seconds, cut."""
        return _Within(self.start_us // 10**6 + offset, self.end_us // 10**6 + offset)

    def s_up(self, offset_ms: int = 0) -> _Within:
        """Whole seconds, rounded up."""
        ms = self.ms(offset_ms)
        return _Within(math.ceil(ms.low / 1000), math.ceil(ms.high / 1000))

    def ms(self, offset: int = 0) -> _Within:
        """Whole milliseconds."""
        return _Within(self.start_us // 1000 + offset, self.end_us // 1000 + offset)

    def meets(self, other: Moment, *, later_s: int = 0) -> bool:
        """Whether it may be the same time as another, so much later; a second is no difference."""
        low, high = other.start_us + later_s * 10**6, other.end_us + later_s * 10**6
        return self.start_us <= high + 10**6 and self.end_us >= low - 10**6

    def ns(self) -> _Within:
        """Nanoseconds; a time of 19 digits."""
        return _Within(self.start_us * 1000, self.end_us * 1000)


class _Within:
    def __init__(self, low: int, high: int) -> None:
        self.low = low
        self.high = high

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str):
            other = int(other)
        if not isinstance(other, int | float):
            return NotImplemented
        return other == int(other) and self.low <= other <= self.high

    __hash__ = None  # type: ignore[assignment]  # equal to a whole range

    def __repr__(self) -> str:
        return f"<{self.low} to {self.high}>"


async def now_us(redis: Redis, clock: Clock | None = None) -> int:
    """Redis's time in microseconds, moved as scripts move it."""
    seconds, micros = await redis.time()
    return int(seconds) * 10**6 + int(micros) + (clock.skew_ms * 1000 if clock else 0)


@asynccontextmanager
async def moment(redis: Redis, clock: Clock | None = None) -> AsyncGenerator[Moment]:
    """The time that the body takes."""
    start = await now_us(redis, clock)
    stretch = Moment(start, start)
    yield stretch
    stretch.end_us = await now_us(redis, clock)


async def expiry(redis: Redis, key: str) -> Moment:
    """When a key expires. (EXPIRETIME would need Redis 7.)"""
    async with moment(redis) as now:
        left_us = await redis.pttl(key) * 1000
    return Moment(now.start_us + left_us, now.end_us + left_us)


async def travel_to(redis: Redis, clock: Clock, unix_ms: float) -> None:
    """Move the clock so that scripts read this time now, or a little later, but not before."""
    clock.skew = math.ceil(unix_ms - await now_us(redis) / 1000) / 1000


def a_message(queue: str, task_id: str = "a", **changes: Any) -> TaskMessage:
    fields: dict[str, Any] = {"type": "t", "payload": b"p", "retry": 25, "timeout": 1800}
    return TaskMessage(id=task_id, queue=queue, **(fields | changes))


def a_lock(queue: str) -> str:
    """The lock that `a_message` takes if it is unique."""
    return keys.unique(queue, "t", b"p")


def new(message: TaskMessage, **how: Any) -> NewTask:
    """To enqueue under an id that asyncq made, if `how` does not say otherwise."""
    return NewTask(message, **({"own_id": True} | how))


async def take(broker: Broker, *messages: TaskMessage, claim: str = "claim") -> list[Leased]:
    """Enqueue tasks of one queue and take them; nothing else may be pending there."""
    unique_s = {message.id: 60 if message.unique_key else 0 for message in messages}
    await broker.enqueue([new(message, unique_s=unique_s[message.id]) for message in messages])
    (fetched,) = await broker.dequeue([(messages[0].queue, len(messages))], claim)
    assert not isinstance(fetched, Exception), fetched
    leased = [task for task in fetched.tasks if isinstance(task, Leased)]
    assert [task.message for task in leased] == list(messages)
    return leased


async def put_active(
    redis: Redis, message: TaskMessage, lease_end_s: float, *, claim: str | None = None
) -> None:
    """A running task as asynq's dequeue leaves it, or (with a claim) ours."""
    queue, task_id = message.queue, message.id
    fields: dict[Any, Any] = {"msg": encode_task(message), "state": "active"}
    if claim is not None:
        fields["asyncq_claim"] = claim
    await redis.hset(keys.task(queue, task_id), mapping=fields)
    await redis.lpush(keys.active(queue), task_id)
    await redis.zadd(keys.lease(queue), {task_id: lease_end_s})
