"""Names of keys: those that asynq 0.26 was observed to write, and ours."""

from __future__ import annotations

import pytest

from asyncq._broker import keys


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (keys.QUEUES, "asynq:queues"),
        (keys.SERVERS, "asynq:servers"),
        (keys.WORKERS, "asynq:workers"),
        (keys.CANCEL_CHANNEL, "asynq:cancel"),
        (keys.server("h", 42, "sid"), "asynq:servers:{h:42:sid}"),
        (keys.workers("h", 42, "sid"), "asynq:workers:{h:42:sid}"),
        (keys.queue_prefix("default"), "asynq:{default}:"),
        (keys.pending("default"), "asynq:{default}:pending"),
        (keys.active("default"), "asynq:{default}:active"),
        (keys.lease("default"), "asynq:{default}:lease"),
        (keys.scheduled("default"), "asynq:{default}:scheduled"),
        (keys.retry("default"), "asynq:{default}:retry"),
        (keys.archived("default"), "asynq:{default}:archived"),
        (keys.completed("default"), "asynq:{default}:completed"),
        (keys.paused("default"), "asynq:{default}:paused"),
        (keys.task("default", "ret"), "asynq:{default}:t:ret"),
        (keys.task_prefix("default"), "asynq:{default}:t:"),
        (keys.processed("default"), "asynq:{default}:processed"),
        (keys.failed("default"), "asynq:{default}:failed"),
        (keys.processed_on("default", "2024-02-29"), "asynq:{default}:processed:2024-02-29"),
        (keys.failed_on("default", "2024-02-29"), "asynq:{default}:failed:2024-02-29"),
        (keys.groups("default"), "asynq:{default}:groups"),
        (keys.group("default", "g"), "asynq:{default}:g:g"),
        (keys.group_prefix("default"), "asynq:{default}:g:"),
        (keys.aggregation_set("default", "a:b", "id"), "asynq:{default}:g:a:b:id"),
        (keys.aggregation_sets("default"), "asynq:{default}:aggregation_sets"),
    ],
)
def test_names_are_those_of_asynq(name: str, expected: str) -> None:
    assert name == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (keys.due("q"), "asyncq:{q}:due"),
        (keys.due_channel("q"), "asyncq:{q}:due"),
        (keys.fetch("q", "claim"), "asyncq:{q}:fetch:claim"),
        (keys.forwarder("q"), "asyncq:{q}:forwarder"),
        (keys.parked("q"), "asyncq:{q}:parked"),
    ],
)
def test_names_of_ours_are_in_the_slot_of_their_queue(name: str, expected: str) -> None:
    assert name == expected


@pytest.mark.parametrize(
    ("what", "suffix"),
    [
        (None, ""),
        (b"", "d41d8cd98f00b204e9800998ecf8427e"),
        (b'{"a":1}', "bb6cb5c68df4652941caf652a366f2d8"),
    ],
)
def test_a_lock_is_named_after_the_payload_and_absent_is_not_empty(
    what: bytes | None, suffix: str
) -> None:
    assert keys.unique("default", "t", what) == f"asynq:{{default}}:unique:t:{suffix}"


def test_queue_names_are_taken_as_they_are() -> None:
    assert keys.pending(" Mixed Case ") == "asynq:{ Mixed Case }:pending"
