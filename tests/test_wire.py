"""Messages as they stand in Redis: bytes that the Go library was observed to write."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncq._broker import wire
from asyncq._broker.codec import (
    UndecodableError,
    decode_task,
    encode_server,
    encode_task,
    encode_worker,
)
from asyncq._broker.message import TaskMessage
from asyncq.info import ServerInfo, WorkerInfo

STARTED = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)  # 1700000000

FULL_TASK = TaskMessage(
    type="email:send",
    payload=b'{"a":1}',
    headers={"k": "v"},
    id="11111111-2222-4333-8444-555555555555",
    queue="default",
    retry=25,
    retried=3,
    error_msg="boom",
    last_failed_at=1700000000,
    timeout=1800,
    deadline=1700003600,
    unique_key="asynq:{default}:unique:email:send:abc",
    group_key="g",
    retention=60,
    completed_at=1700000001,
)
FULL_TASK_BYTES = bytes.fromhex(
    "0a0a656d61696c3a73656e6412077b2261223a317d1a2431313131313131312d323232322d343333332d383434342d"
    "353535353535353535353535220764656661756c74281930033a04626f6f6d40880e4890fecfaa0652256173796e71"
    "3a7b64656661756c747d3a756e697175653a656d61696c3a73656e643a6162635880e2cfaa06603c6881e2cfaa0672"
    "01677a060a016b120176"
)
SMALL_TASK = TaskMessage(type="t", id="x", queue="q", retry=25, timeout=1800)
SMALL_TASK_BYTES = bytes.fromhex("0a01741a0178220171281940880e")

SERVER = {
    "host": "h",
    "pid": 42,
    "server_id": "sid",
    "concurrency": 10,
    "queues": {"default": 1},
    "strict_priority": True,
    "status": "active",
    "start_time": {"seconds": 1700000000, "nanos": 123456789},
    "active_worker_count": 2,
}
SERVER_BYTES = bytes.fromhex(
    "0a0168102a1a03736964200a2a0b0a0764656661756c74100130013a06616374697665420b0880e2cfaa0610959aef3a"
    "4802"
)
WORKER = {
    "host": "h",
    "pid": 42,
    "server_id": "sid",
    "task_id": "tid",
    "task_type": "t",
    "task_payload": b"p",
    "queue": "default",
    "start_time": {"seconds": 1700000000},
    "deadline": {"seconds": 1700001800, "nanos": 5},
}
WORKER_BYTES = bytes.fromhex(
    "0a0168102a1a0373696422037469642a01743201703a0764656661756c7442060880e2cfaa064a080888f0cfaa061005"
)
ENTRY = {
    "id": "eid",
    "spec": "@every 1m",
    "task_type": "t",
    "task_payload": b"p",
    "enqueue_options": ['Queue("x")', "MaxRetry(3)"],
    "next_enqueue_time": {"seconds": 1700000060},
    "prev_enqueue_time": {"seconds": -62135596800},
}
ENTRY_BYTES = bytes.fromhex(
    "0a03656964120940657665727920316d1a01742201702a0a517565756528227822292a0b4d61785265747279283329"
    "320608bce2cfaa063a0b088092b8c398feffffff01"
)
EVENT = {"task_id": "tid", "enqueue_time": {"seconds": 1700000000, "nanos": 1}}
EVENT_BYTES = bytes.fromhex("0a0374696412080880e2cfaa061001")


@pytest.mark.parametrize(
    ("message", "data"), [(FULL_TASK, FULL_TASK_BYTES), (SMALL_TASK, SMALL_TASK_BYTES)]
)
def test_tasks_are_written_and_read_as_go_does(message: TaskMessage, data: bytes) -> None:
    assert encode_task(message) == data
    assert decode_task(data) == message


_TEXTS = st.sampled_from(["", "x", "y" * 127, "z" * 128, "ä" * 64]) | st.text(max_size=150)
_INTS = st.sampled_from([0, 1, 25, 2**31 - 1])


@given(
    st.builds(
        TaskMessage,
        type=_TEXTS,
        id=_TEXTS,
        queue=_TEXTS,
        payload=_TEXTS.map(str.encode),
        headers=st.sampled_from([{}, {"k": "v"}]),
        retry=_INTS,
        retried=_INTS,
        error_msg=st.sampled_from(["", "boom"]),
        last_failed_at=_INTS,
        timeout=_INTS,
        deadline=st.sampled_from([0, 1700003600]),
        unique_key=st.sampled_from(["", "lock"]),
        group_key=st.sampled_from(["", "g"]),
        retention=_INTS,
        completed_at=_INTS,
    )
)
def test_the_quick_way_to_write_a_new_task_has_the_same_bytes(message: TaskMessage) -> None:
    fields = {name: value for name, value in message._asdict().items() if value}
    assert encode_task(message) == wire.TaskMessagePb(**fields).SerializeToString()


@pytest.mark.parametrize(
    ("pb", "fields", "data"),
    [
        (wire.ServerInfoPb, SERVER, SERVER_BYTES),
        (wire.WorkerInfoPb, WORKER, WORKER_BYTES),
        (wire.SchedulerEntryPb, ENTRY, ENTRY_BYTES),
        (wire.SchedulerEnqueueEventPb, EVENT, EVENT_BYTES),
    ],
)
def test_all_other_messages_have_the_bytes_of_go(
    pb: Any, fields: dict[str, Any], data: bytes
) -> None:
    assert pb(**fields).SerializeToString() == data
    assert pb.FromString(data) == pb(**fields)


def test_a_server_is_written_as_go_does_to_the_microsecond() -> None:
    info = ServerInfo(
        id="sid",
        host="h",
        pid=42,
        concurrency=10,
        queues={"default": 1},
        strict_priority=True,
        status="active",
        started=STARTED + timedelta(microseconds=123456),
        active_worker_count=2,
    )
    to_the_microsecond = SERVER | {"start_time": {"seconds": 1700000000, "nanos": 123456000}}
    assert encode_server(info) == wire.ServerInfoPb(**to_the_microsecond).SerializeToString()


def test_a_worker_is_written_as_go_does() -> None:
    info = WorkerInfo(
        host="h",
        pid=42,
        server_id="sid",
        task_id="tid",
        task_type="t",
        task_payload=b"p",
        queue="default",
        started=STARTED,
        deadline=STARTED + timedelta(minutes=30),
    )
    without_nanos = WORKER | {"deadline": {"seconds": 1700001800}}
    assert encode_worker(info) == wire.WorkerInfoPb(**without_nanos).SerializeToString()


@pytest.mark.parametrize(
    ("at", "seconds", "nanos"),
    [
        (datetime(1969, 12, 31, 23, 59, 59, 500_000, tzinfo=UTC), -1, 500_000_000),
        (datetime(2286, 11, 20, 17, 46, 40, 999_999, tzinfo=UTC), 10**10, 999_999_000),
    ],
)
def test_times_keep_every_microsecond(at: datetime, seconds: int, nanos: int) -> None:
    info = WorkerInfo(
        host="h",
        pid=1,
        server_id="s",
        task_id="i",
        task_type="t",
        task_payload=b"",
        queue="q",
        started=at,
        deadline=at,
    )
    start = wire.WorkerInfoPb.FromString(encode_worker(info)).start_time
    assert (start.seconds, start.nanos) == (seconds, nanos)


def test_the_proto_file_says_what_the_classes_are_built_from() -> None:
    proto = (files("asyncq._broker") / "asynq.proto").read_text()
    declared = {
        name: tuple(
            (int(number), field, kind)
            for kind, field, number in re.findall(r"^  (.+) (\w+) = (\d+);", body, re.MULTILINE)
        )
        for name, body in re.findall(
            r"^message (\w+) \{\n(.*?)^\}", proto, re.MULTILINE | re.DOTALL
        )
    }
    assert declared == wire.MESSAGES


_ANOTHER_PACKAGE = """
from google.protobuf import descriptor_pb2, descriptor_pool
{first}
file = descriptor_pb2.FileDescriptorProto(name="asynq.proto", package="asynq", syntax="proto3")
file.message_type.add(name="TaskMessage").field.add(name="other", number=1, type=5, label=1)
descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
theirs = descriptor_pool.Default().FindMessageTypeByName("asynq.TaskMessage")
assert list(theirs.fields_by_name) == ["other"]
{then}
from asyncq._broker.wire import TaskMessagePb
assert TaskMessagePb(type="t").SerializeToString() == b"\\n\\x01t"
"""


@pytest.mark.parametrize("ours_first", [True, False])
def test_another_asynq_task_message_in_the_process_does_not_clash(ours_first: bool) -> None:
    ours = "import asyncq._broker.wire"
    code = _ANOTHER_PACKAGE.format(
        first=ours if ours_first else "", then="" if ours_first else ours
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_fields_of_a_newer_asynq_are_ignored() -> None:
    assert decode_task(SMALL_TASK_BYTES + b"\xaa\x06\x03new") == SMALL_TASK


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xff\xff", id="no protobuf"),
        pytest.param(SMALL_TASK_BYTES[:-1], id="cut off"),
        pytest.param(b"\x0a\x01\xff" + SMALL_TASK_BYTES[3:], id="type is not UTF-8"),
        pytest.param(SMALL_TASK_BYTES + b"\x3a\x01\xff", id="error text is not UTF-8"),
        pytest.param(SMALL_TASK_BYTES + b"\x7a\x06\x0a\x01\xff\x12\x01v", id="header is not UTF-8"),
        pytest.param(SMALL_TASK_BYTES[3:], id="no type"),
        pytest.param(SMALL_TASK_BYTES[:3] + SMALL_TASK_BYTES[6:], id="no id"),
        pytest.param(b'{"type": "t", "id": "x"}', id="JSON"),
    ],
)
def test_what_go_could_not_read_is_undecodable(data: bytes) -> None:
    with pytest.raises(UndecodableError, match="not a TaskMessage"):
        decode_task(data)


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("caf\u00e9 \U0001f4a5", "caf\u00e9 \U0001f4a5"),
        ("bad byte \udcff here", "bad byte \ufffd here"),
        ("\ud83d", "\ufffd"),
        ("nul \0 stays", "nul \0 stays"),
    ],
)
def test_error_texts_that_utf8_cannot_hold_are_stored_with_replacements(
    text: str, stored: str
) -> None:
    failed = TaskMessage(type="t", id="x", queue="q", error_msg=text)
    assert decode_task(encode_task(failed)).error_msg == stored


def test_host_names_that_utf8_cannot_hold_do_not_hide_the_server() -> None:
    info = ServerInfo(
        id="sid",
        host="h\udcfc",
        pid=1,
        concurrency=1,
        queues={},
        strict_priority=False,
        status="active",
        started=STARTED,
        active_worker_count=0,
    )
    assert wire.ServerInfoPb.FromString(encode_server(info)).host == "h\ufffd"


_text = st.text(st.characters(exclude_categories=["Cs"]))
_int32 = st.integers(0, 2**31 - 1)
_int64 = st.integers(-(2**63), 2**63 - 1)
_tasks = st.builds(
    TaskMessage,
    type=_text.filter(bool),
    id=_text.filter(bool),
    queue=_text,
    payload=st.binary(),
    headers=st.dictionaries(_text, _text),
    retry=_int32,
    retried=_int32,
    error_msg=_text,
    last_failed_at=_int64,
    timeout=_int64,
    deadline=_int64,
    unique_key=_text,
    group_key=_text,
    retention=_int64,
    completed_at=_int64,
)


@given(_tasks)
def test_every_task_reads_back_as_it_was_written(message: TaskMessage) -> None:
    assert decode_task(encode_task(message)) == message


@given(st.binary())
def test_any_bytes_are_a_task_or_undecodable(data: bytes) -> None:
    try:
        message = decode_task(data)
    except UndecodableError:
        return
    assert message.id
    assert message.type


@given(st.text(st.characters()))
def test_any_error_text_can_be_stored(text: str) -> None:
    stored = decode_task(encode_task(TaskMessage("t", "x", "q", error_msg=text))).error_msg
    assert len(stored) == len(text)
