"""Scheduler entries and events as they stand in Redis: bytes that Go was observed to write."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from asyncq import EnqueueEvent, SchedulerEntry, Task
from asyncq._broker import keys
from asyncq._broker.codec import (
    UndecodableError,
    decode_enqueue_event,
    decode_scheduler_entry,
    encode_enqueue_event,
    encode_scheduler_entry,
)
from asyncq._broker.wire import SchedulerEntryPb

NEVER_RUN = SchedulerEntry(
    id="eid",
    spec="@every 1m",
    task=Task("t", b"p"),
    options={"queue": "x", "max_retry": 3},
    next=datetime(2023, 11, 14, 22, 14, 20, tzinfo=UTC),  # 1700000060
    prev=None,
)
NEVER_RUN_BYTES = bytes.fromhex(
    "0a03656964120940657665727920316d1a01742201702a0a517565756528227822292a0b4d61785265747279283329"
    "320608bce2cfaa063a0b088092b8c398feffffff01"
)


def test_an_entry_is_written_as_asynq_writes_it_and_read_back() -> None:
    assert encode_scheduler_entry(NEVER_RUN) == NEVER_RUN_BYTES
    assert decode_scheduler_entry(NEVER_RUN_BYTES) == NEVER_RUN


def test_an_entry_that_never_runs_again_says_so() -> None:
    entry = SchedulerEntry(
        id="e", spec="0 0 30 2 *", task=Task("t", b""), options={}, next=None, prev=None
    )
    assert decode_scheduler_entry(encode_scheduler_entry(entry)) == entry


def test_a_name_travels_in_a_field_that_asynq_skips() -> None:
    entry = SchedulerEntry(
        id="e", name="nightly", spec="@daily", task=Task("t", b""), options={}, next=None, prev=None
    )
    data = encode_scheduler_entry(entry)
    assert decode_scheduler_entry(data) == entry
    assert SchedulerEntryPb.DESCRIPTOR.fields_by_name["asyncq_name"].number == 1000


def test_an_event_is_written_as_asynq_writes_it_but_to_the_microsecond() -> None:
    event = EnqueueEvent(task_id="tid", enqueued_at=datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC))
    assert decode_enqueue_event(bytes.fromhex("0a0374696412080880e2cfaa061001")) == event
    later = EnqueueEvent(task_id="tid", enqueued_at=event.enqueued_at + timedelta(microseconds=1))
    assert encode_enqueue_event(later).hex() == "0a0374696412090880e2cfaa0610e807"


@pytest.mark.parametrize("data", [b"\xff", b"\x0a\x05x"])
def test_what_is_no_entry_or_event_is_undecodable(data: bytes) -> None:
    with pytest.raises(UndecodableError):
        decode_scheduler_entry(data)
    with pytest.raises(UndecodableError):
        decode_enqueue_event(data)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (keys.SCHEDULERS, "asynq:schedulers"),
        (keys.scheduler_entries("h:42:sid"), "asynq:schedulers:{h:42:sid}"),
        (keys.scheduler_history("eid"), "asynq:scheduler_history:eid"),
        (keys.cron("q", "identity"), "asyncq:{q}:cron:identity"),
    ],
)
def test_names_of_keys(name: str, expected: str) -> None:
    assert name == expected
