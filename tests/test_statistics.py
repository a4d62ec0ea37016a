"""`Statistics` as numbers: labels, sums, what remains, and health."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

import pytest

from asyncq import ServerConfig, Statistics
from asyncq.statistics import (
    ATTEMPTS,
    BLOCKED,
    BUSY,
    CALL_ERRORS,
    CALLS,
    DURATION,
    ENDED,
    FAMILIES,
    OTHER,
    Histogram,
    lasting,
    merged,
)


@dataclass
class FakeServer:
    state: str = "active"
    concurrency: int = 10
    busy: int = 3
    unwritten: int = 1


def numbers(statistics: Statistics, name: str) -> dict[tuple[str, ...], object]:
    return {tuple(labels): value for labels, value in statistics.snapshot()[name]}


def test_a_value_falls_into_the_bucket_with_the_next_greater_bound() -> None:
    histogram = Histogram((1, 2))
    for value in (0.5, 1, 1.5, 2, 3):
        histogram.observe(value)
    assert histogram.value == [2, 2, 1, 8.0]


def test_types_beyond_the_limit_are_counted_together() -> None:
    statistics = Statistics(type_limit=2)
    statistics.attach(FakeServer(), ["registered"])
    for n in range(1000):
        statistics.of_type("q", f"noise{n}").succeeded += 1
    statistics.of_type("q", "registered").succeeded += 1
    counted = {labels[1]: value for labels, value in numbers(statistics, ATTEMPTS.name).items()}
    assert counted == {"noise0": 1, "noise1": 1, OTHER: 998, "registered": 1}


def test_the_type_that_blocks_the_loop_is_limited_as_well() -> None:
    statistics = Statistics(type_limit=0)
    statistics.blocked("a")
    statistics.blocked("b")
    statistics.blocked("")
    assert numbers(statistics, BLOCKED.name) == {(OTHER,): 2, ("",): 1}


def test_a_negative_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="type_limit= must be 0 or more, got -1"):
        Statistics(type_limit=-1)


def test_config_takes_only_statistics() -> None:
    assert ServerConfig().statistics is None
    with pytest.raises(TypeError, match="statistics= takes a Statistics, got True"):
        ServerConfig(statistics=True)  # type: ignore[arg-type]


def test_a_snapshot_has_every_family_and_survives_json() -> None:
    statistics = Statistics()
    statistics.of_type("q", "t").duration.observe(0.2)
    snapshot = statistics.snapshot()
    assert snapshot.keys() == {family.name for family in FAMILIES}
    read = json.loads(json.dumps(snapshot))
    assert merged([read]) == merged([snapshot])


def test_numbers_of_several_servers_add_up() -> None:
    one, other = Statistics(), Statistics()
    for statistics, count in ((one, 2), (other, 3)):
        statistics.attach(FakeServer(), [])
        statistics.of_type("q", "both").succeeded += count
        statistics.of_type("q", "both").duration.observe(count)
    other.of_type("q", "only").succeeded += 1
    total = merged([one.snapshot(), other.snapshot()])
    assert dict(total[ATTEMPTS.name]) == {
        ("q", "both", "succeeded"): 5,
        ("q", "only", "succeeded"): 1,
    }
    ((_, duration),) = total[DURATION.name]
    assert isinstance(duration, list)
    assert (sum(duration[:-1]), duration[-1]) == (2, 5.0)
    assert total[BUSY.name] == [((), 6)]


def test_what_was_counted_remains_of_a_server_that_is_gone_but_nothing_of_the_moment() -> None:
    statistics = Statistics()
    statistics.attach(FakeServer(), [])
    statistics.of_type("q", "t").succeeded += 1
    remains = lasting(statistics.snapshot())
    assert dict(remains[ATTEMPTS.name]) == {("q", "t", "succeeded"): 1}
    assert ENDED.name in remains
    assert BUSY.name not in remains


def test_a_histogram_and_a_number_are_not_added() -> None:
    with pytest.raises(TypeError, match="have no sum"):
        merged([{"x": [((), 1)]}, {"x": [((), [1, 2])]}])


def test_calls_to_redis_are_counted_by_operation_with_their_errors() -> None:
    statistics = Statistics()
    statistics.called("dequeue", 0.002, "")
    heard = statistics.last_reply
    statistics.called("dequeue", 5.5, "unavailable")
    assert statistics.last_reply == heard > 0
    assert numbers(statistics, CALL_ERRORS.name) == {("dequeue", "unavailable"): 1}
    (value,) = numbers(statistics, CALLS.name).values()
    assert isinstance(value, list)
    assert sum(value[:-1]) == 2


# Health


def working_one(**server: str) -> Statistics:
    statistics = Statistics()
    statistics.attach(FakeServer(**server), [])  # type: ignore[arg-type]
    statistics.turned(0)
    statistics.called("ping", 0.001, "")
    return statistics


def test_a_server_at_work_is_alive_and_ready() -> None:
    health = working_one().health()
    assert (health.alive, health.ready) == ("", "")


def test_before_the_server_starts_the_process_is_alive_but_not_ready() -> None:
    health = Statistics().health()
    assert (health.alive, health.ready) == ("", "it is starting")


def test_a_server_that_takes_no_tasks_is_alive_but_not_ready() -> None:
    health = working_one(state="stopped").health()
    assert (health.alive, health.ready) == ("", "it takes no new tasks")


def test_a_server_without_redis_is_alive_but_not_ready() -> None:
    statistics = working_one()
    statistics.last_reply = time.monotonic() - 100
    health = statistics.health()
    assert health.alive == ""
    assert health.ready.startswith("Redis has not answered for 10")


def test_a_blocked_event_loop_is_neither_alive_nor_ready() -> None:
    statistics = working_one()
    statistics.last_turn = time.monotonic() - 100
    health = statistics.health()
    assert health.alive.startswith("the event loop has been blocked for 10")
    assert health.ready == health.alive


def test_a_server_that_is_gone_does_not_count_as_blocked() -> None:
    statistics = Statistics()
    server = FakeServer()
    statistics.attach(server, [])
    statistics.turned(0)
    statistics.detach(server)
    statistics.last_turn = time.monotonic() - 100
    health = statistics.health()
    assert (health.alive, health.ready) == ("", "it is closed")


def test_of_several_servers_one_that_is_not_at_work_makes_it_unready() -> None:
    statistics = working_one()
    statistics.attach(FakeServer(state="stopped"), [])
    assert statistics.state == "stopped"
