"""include/count.lua: days that expire, totals that wrap as asynq's do."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from redis.asyncio import Redis
from stored import a_message, expiry, moment, snapshot, take, travel_to

from asyncq._broker import keys
from asyncq._broker.broker import Broker
from asyncq._broker.message import Leased
from asyncq._broker.outcome import Archived, Done, Outcome, Retried
from asyncq._clock import Clock

pytestmark = pytest.mark.every_redis

DAYS_90 = 90 * 24 * 3600
LARGEST = 2**63 - 1


def failure(leased: Leased) -> Outcome:
    return Archived.because(leased, "boom", 0)


async def settle(broker: Broker, queue: str, *ends: Callable[[Leased], Outcome]) -> None:
    held = await take(broker, *(a_message(queue, uuid4().hex) for _ in ends))
    outcomes = [end(leased) for end, leased in zip(ends, held, strict=True)]
    assert await broker.settle(outcomes) == [True] * len(ends)


async def totals(redis: Redis, queue: str) -> tuple[int, int]:
    counted = await redis.mget(keys.processed(queue), keys.failed(queue))
    return int(counted[0] or 0), int(counted[1] or 0)


async def test_failures_count_as_processed_too(redis: Redis, queue: str, broker: Broker) -> None:
    def no_failure(leased: Leased) -> Outcome:
        return Retried.after(leased, "boom", 0, 90, is_failure=False)

    await settle(broker, queue, Done, failure, no_failure, Done, failure)
    left = await snapshot(redis, queue)
    assert (left["processed"], left["failed"]) == ("4", "2")
    assert (left["processed:<day>"], left["failed:<day>"]) == ("4", "2")


async def test_success_alone_makes_no_counters_of_failure(
    redis: Redis, queue: str, broker: Broker
) -> None:
    await settle(broker, queue, Done)
    assert set(await snapshot(redis, queue)) == {"processed", "processed:<day>"}


async def test_days_are_utc_and_live_for_ninety_days_from_their_first_count(
    redis: Redis, queue: str, broker: Broker, clock: Clock
) -> None:
    in_the_morning = datetime(2033, 5, 18, 0, 0, 1, tzinfo=UTC)
    await travel_to(redis, clock, in_the_morning.timestamp() * 1000)
    async with moment(redis, clock) as then:
        await settle(broker, queue, failure, Done)
    clock.skew += 3600
    await settle(broker, queue, failure)
    for name, count in {"processed": b"3", "failed": b"2"}.items():
        key = f"asynq:{{{queue}}}:{name}:2033-05-18"
        assert await redis.get(key) == count
        assert (await expiry(redis, key)).meets(then, later_s=DAYS_90)


async def test_another_day_has_counters_of_its_own(
    redis: Redis, queue: str, broker: Broker, clock: Clock
) -> None:
    for day in (18, 19):
        noon = datetime(2033, 5, day, 12, tzinfo=UTC)
        await travel_to(redis, clock, noon.timestamp() * 1000)
        await settle(broker, queue, Done)
        assert await redis.get(keys.processed_on(queue, f"2033-05-{day}")) == b"1"
    assert await totals(redis, queue) == (2, 0)


async def test_totals_never_expire(redis: Redis, queue: str, broker: Broker) -> None:
    await settle(broker, queue, failure)
    assert await redis.ttl(keys.processed(queue)) == -1
    assert await redis.ttl(keys.failed(queue)) == -1


@pytest.mark.parametrize(
    ("processed", "failed", "ends", "after"),
    [
        pytest.param(41, 7, [Done, failure], (43, 8), id="far from the end"),
        pytest.param(LARGEST, 7, [Done], (1, 7), id="a success wraps processed alone"),
        pytest.param(LARGEST, 7, [failure], (1, 1), id="a failure wraps both"),
        pytest.param(7, LARGEST - 5, [failure], (8, LARGEST - 4), id="processed alone decides"),
        # As doubles all these are equal to the largest.
        pytest.param(9223372036854775300, 7, [failure], (1, 1), id="512 early, as asynq"),
        pytest.param(
            9223372036854775294, 7, [Done, failure], (9223372036854775296, 8), id="not earlier"
        ),
        pytest.param(LARGEST, 7, [Done, failure, Done], (3, 1), id="a batch, failures first"),
    ],
)
async def test_totals_wrap_where_asynq_wraps_them(
    redis: Redis,
    queue: str,
    broker: Broker,
    processed: int,
    failed: int,
    ends: list[Callable[[Leased], Outcome]],
    after: tuple[int, int],
) -> None:
    await redis.mset({keys.processed(queue): processed, keys.failed(queue): failed})
    await settle(broker, queue, *ends)
    assert await totals(redis, queue) == after


async def test_counters_that_cannot_be_written_are_logged_and_cost_no_task(
    redis: Redis, queue: str, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    await redis.lpush(keys.processed(queue), "no number")
    with caplog.at_level(logging.ERROR, "asyncq"):
        await settle(broker, queue, Done)
    assert f"counters or leases of queue {queue!r}" in caplog.text
    assert "WRONGTYPE" in caplog.text
    assert set(await snapshot(redis, queue)) == {"processed", "processed:<day>"}
