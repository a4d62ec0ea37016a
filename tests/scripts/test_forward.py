"""forward.lua: from scheduled and retry to pending or to a group, when the time has come."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Redis
from stored import a_message, moment, new, now_us, snapshot, take, travel_to

from asyncq._broker import keys
from asyncq._broker.broker import Broker
from asyncq._broker.codec import encode_task
from asyncq._broker.maintenance import Forwarded, Maintenance
from asyncq._broker.outcome import Retried
from asyncq._clock import Clock

pytestmark = pytest.mark.every_redis

LEAD_S = 5.0


async def forward(maintenance: Maintenance, queue: str, server: str = "server") -> Forwarded:
    return await maintenance.forward(queue, server, LEAD_S)


async def put_waiting(
    redis: Redis, queue: str, where: str, task_id: str, score: float, **fields: Any
) -> None:
    """A task as asynq schedules or retries it: no entry in `due`."""
    message = encode_task(a_message(queue, task_id))
    stored: dict[Any, Any] = {"msg": message, "state": where, **fields}
    await redis.hset(keys.task(queue, task_id), mapping=stored)
    await redis.zadd(keys.queue_prefix(queue) + where, {task_id: score})


def without_forwarder(left: dict[str, Any]) -> dict[str, Any]:
    assert left.pop("asyncq:forwarder") == "server"
    return left


@pytest.mark.parametrize("where", ["scheduled", "retry"])
async def test_what_go_put_there_moves_by_its_score(
    redis: Redis, queue: str, maintenance: Maintenance, where: str
) -> None:
    now_s = await now_us(redis) // 10**6
    await put_waiting(redis, queue, where, "past", now_s - 100)
    await put_waiting(redis, queue, where, "now", now_s)
    await put_waiting(redis, queue, where, "later", now_s + 1000)
    async with moment(redis) as then:
        done = await forward(maintenance, queue)
    assert done.moved == 2
    left = without_forwarder(await snapshot(redis, queue))
    assert left["pending"] == ["now", "past"]
    assert left[where] == {"later": now_s + 1000}
    assert left["t:past"] == {
        "msg": a_message(queue, "past"),
        "state": "pending",
        "pending_since": then.ns(),
    }
    assert left["t:later"]["state"] == where


async def test_an_empty_queue_has_nothing_to_do_and_no_next_time(
    redis: Redis, queue: str, maintenance: Maintenance
) -> None:
    assert await forward(maintenance, queue) == Forwarded(0, True, None)
    assert without_forwarder(await snapshot(redis, queue)) == {}


async def test_scheduled_goes_before_retry_the_earliest_first_a_hundred_at_a_time(
    redis: Redis, queue: str, maintenance: Maintenance
) -> None:
    for n in range(70):
        await put_waiting(redis, queue, "retry", f"r{n:02}", n)
        await put_waiting(redis, queue, "scheduled", f"s{n:02}", n)
    moved = [(await forward(maintenance, queue)).moved for _ in range(3)]
    assert moved == [100, 40, 0]
    order = (await snapshot(redis, queue))["pending"]
    assert order[::-1] == [f"s{n:02}" for n in range(70)] + [f"r{n:02}" for n in range(70)]


@pytest.mark.parametrize("field", ["group", "asyncq_group"])
@pytest.mark.parametrize("where", ["scheduled", "retry"])
async def test_a_task_of_a_group_joins_it_and_the_group_is_registered(
    redis: Redis, queue: str, maintenance: Maintenance, where: str, field: str
) -> None:
    await put_waiting(redis, queue, where, "a", 1, **{field: "g:1"})
    async with moment(redis) as then:
        assert (await forward(maintenance, queue)).moved == 1
    assert without_forwarder(await snapshot(redis, queue)) == {
        "groups": {"g:1"},
        "g:g:1": {"a": then.s()},
        "t:a": {"msg": a_message(queue), "state": "aggregating", "group": "g:1"},
    }


async def test_a_grouped_task_for_later_is_aggregated_when_its_time_comes(
    redis: Redis, queue: str, broker: Broker, maintenance: Maintenance, clock: Clock
) -> None:
    task = a_message(queue, group_key="g")
    await broker.enqueue([new(task, process_in_ms=10_000)])
    clock.skew += 11
    async with moment(redis, clock) as then:
        await forward(maintenance, queue)
    assert without_forwarder(await snapshot(redis, queue)) == {
        "groups": {"g"},
        "g:g": {"a": then.s()},
        "t:a": {"msg": task, "state": "aggregating", "group": "g"},
    }


async def test_a_group_that_cannot_be_joined_does_not_stop_the_queue(
    redis: Redis, queue: str, maintenance: Maintenance
) -> None:
    await redis.set(keys.group(queue, "broken"), "?")
    await put_waiting(redis, queue, "scheduled", "a", 1, group="broken")
    await put_waiting(redis, queue, "scheduled", "b", 2)
    assert (await forward(maintenance, queue)).moved == 2
    assert await redis.lrange(keys.pending(queue), 0, -1) == [b"b", b"a"]  # it runs alone
    assert await redis.exists(keys.groups(queue)) == 0


@pytest.mark.parametrize("where", ["scheduled", "retry"])
async def test_an_id_without_a_message_is_dropped_with_what_is_left_of_it(
    redis: Redis, queue: str, maintenance: Maintenance, where: str
) -> None:
    await redis.zadd(keys.queue_prefix(queue) + where, {"gone": 1, "stub": 2})
    await redis.hset(keys.task(queue, "stub"), "state", where)
    await put_waiting(redis, queue, where, "a", 3)
    assert (await forward(maintenance, queue)).moved == 3
    assert set(without_forwarder(await snapshot(redis, queue))) == {"pending", "t:a"}
    assert await redis.lrange(keys.pending(queue), 0, -1) == [b"a"]


async def test_a_task_key_that_is_no_hash_is_set_aside(
    redis: Redis, queue: str, maintenance: Maintenance
) -> None:
    await redis.set(keys.task(queue, "bad"), "?")
    await redis.zadd(keys.scheduled(queue), {"bad": 1})
    await put_waiting(redis, queue, "scheduled", "a", 3)
    await forward(maintenance, queue)
    left = without_forwarder(await snapshot(redis, queue))
    assert left["pending"] == ["a"]
    assert "WRONGTYPE" in left["asyncq:parked"]["bad"]
    assert set(left) == {"pending", "t:a", "t:bad", "asyncq:parked"}


# To the millisecond, by `due`.


@pytest.mark.parametrize("how", ["scheduled", "retry"])
async def test_a_task_soon_due_moves_within_its_second_and_never_before(
    redis: Redis, queue: str, broker: Broker, maintenance: Maintenance, clock: Clock, how: str
) -> None:
    due_ms = await now_us(redis) // 10**6 * 1000 + 30_001  # its score is 999 ms later
    if how == "scheduled":
        await broker.enqueue([new(a_message(queue), process_at_ms=due_ms)])
    else:
        (leased,) = await take(broker, a_message(queue))
        delay_s = (due_ms - await now_us(redis) / 1000) / 1000
        await broker.settle([Retried.after(leased, "boom", 0, delay_s, is_failure=True)])
        due_ms = (await snapshot(redis, queue))["asyncq:due"]["a"]
    await travel_to(redis, clock, due_ms - 10_000)
    async with moment(redis, clock) as then:
        waiting = await forward(maintenance, queue)
    assert (waiting.moved, await redis.exists(keys.pending(queue))) == (0, 0)
    assert waiting.next_in_s is not None
    next_ms = waiting.next_in_s * 1000
    assert due_ms - then.end_us / 1000 <= next_ms <= due_ms - then.start_us / 1000 + 1
    await travel_to(redis, clock, due_ms)
    assert (await forward(maintenance, queue)).moved == 1
    left = without_forwarder(await snapshot(redis, queue))
    assert left["pending"] == ["a"]
    assert {"asyncq:due", "scheduled", "retry"}.isdisjoint(left)


@pytest.mark.parametrize("where", ["scheduled", "retry"])
async def test_an_entry_that_agrees_with_the_score_moves_before_the_score(
    redis: Redis, queue: str, maintenance: Maintenance, clock: Clock, where: str
) -> None:
    """The clock stands 1 ms into a second, so that a slow machine has time until the next."""
    await travel_to(redis, clock, 2_000_000_000_001)
    await put_waiting(redis, queue, where, "a", 2_000_000_001)
    await redis.zadd(keys.due(queue), {"a": 2_000_000_000_001})
    assert (await forward(maintenance, queue)).moved == 1


async def test_due_is_stale_once_the_task_waits_for_another_time(
    redis: Redis, queue: str, maintenance: Maintenance
) -> None:
    later = await now_us(redis) // 10**6 + 1000
    await put_waiting(redis, queue, "retry", "waits again", later)
    await put_waiting(redis, queue, "scheduled", "elsewhere", later)
    await redis.zadd(keys.due(queue), {"waits again": 1000, "elsewhere": 2000, "deleted": 3000})
    done = await forward(maintenance, queue)
    assert done.moved == 0
    assert done.next_in_s is not None
    assert done.next_in_s > 900
    left = await snapshot(redis, queue)
    assert "asyncq:due" not in left
    assert left["retry"] == {"waits again": later}
    assert left["scheduled"] == {"elsewhere": later}


async def test_a_task_that_moved_by_its_score_leaves_no_entry_in_due(
    redis: Redis, queue: str, maintenance: Maintenance
) -> None:
    await put_waiting(redis, queue, "scheduled", "a", 1)
    await redis.zadd(keys.due(queue), {"a": 9e15})
    assert (await forward(maintenance, queue)).moved == 1
    assert await redis.exists(keys.due(queue)) == 0


@pytest.mark.parametrize("where", ["scheduled", "retry", "due"])
async def test_the_next_time_is_the_earliest_of_all(
    redis: Redis, queue: str, maintenance: Maintenance, where: str
) -> None:
    now_s = await now_us(redis) // 10**6
    times = {"scheduled": 9000, "retry": 9000, "due": 9000} | {where: 500}
    await put_waiting(redis, queue, "scheduled", "s", now_s + times["scheduled"])
    await put_waiting(redis, queue, "retry", "r", now_s + times["retry"])
    await redis.zadd(keys.due(queue), {"s": (now_s + times["due"]) * 1000})
    async with moment(redis) as then:
        next_in_s = (await forward(maintenance, queue)).next_in_s
    assert next_in_s is not None
    at_ms = (now_s + 500) * 1000
    assert at_ms - then.end_us / 1000 <= next_in_s * 1000 <= at_ms - then.start_us / 1000 + 1


# Who leads.


async def test_the_first_server_leads_and_the_others_only_help(
    redis: Redis, queue: str, maintenance: Maintenance
) -> None:
    assert (await forward(maintenance, queue, "first")).leads
    await put_waiting(redis, queue, "scheduled", "a", 1)
    assert await forward(maintenance, queue, "second") == Forwarded(1, False, None)
    assert (await forward(maintenance, queue, "first")).leads
    assert await redis.get(keys.forwarder(queue)) == b"first"


async def test_a_leader_that_comes_back_leads_on_for_its_whole_time(
    redis: Redis, queue: str, maintenance: Maintenance
) -> None:
    await forward(maintenance, queue)
    await redis.pexpire(keys.forwarder(queue), 60_000)
    await forward(maintenance, queue)
    assert 0 < await redis.pttl(keys.forwarder(queue)) <= LEAD_S * 1000


async def test_another_leads_once_the_leader_stayed_away(
    redis: Redis, queue: str, maintenance: Maintenance
) -> None:
    await forward(maintenance, queue, "first")
    assert 0 < await redis.pttl(keys.forwarder(queue)) <= LEAD_S * 1000
    await redis.delete(keys.forwarder(queue))  # as its expiry does
    assert (await forward(maintenance, queue, "second")).leads
    assert not (await forward(maintenance, queue, "first")).leads
