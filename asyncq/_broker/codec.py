"""Records to protobuf bytes and back."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from google.protobuf.message import DecodeError

from ..info import (
    EnqueueEvent,
    SchedulerEntry,
    ServerInfo,
    TaskInfo,
    WorkerInfo,
    enqueued_info,
)
from ..option_text import option_texts, read_option_texts
from ..task import Task, TaskState
from .message import NO_HEADERS, TaskMessage
from .wire import (
    SchedulerEnqueueEventPb,
    SchedulerEntryPb,
    ServerInfoPb,
    TaskMessagePb,
    WorkerInfoPb,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_GO_ZERO = datetime(1, 1, 1, tzinfo=UTC)
"""Go's zero time, which stands for "never" and is always written out."""
_FIRST_S, _LAST_S = -62_135_596_800, 253_402_300_799  # the years 1 to 9999
_SURROGATES = re.compile("[\ud800-\udfff]")


class UndecodableError(ValueError):
    """Bytes that are no message of the kind asked for."""


def encode_task(message: TaskMessage) -> bytes:
    """The message as asynq encodes it.

    Error texts may hold what UTF-8 cannot (asynq fails to store those): it is replaced.
    """
    (
        type_, task_id, queue, payload, headers, retry, retried, error_msg, last_failed_at,
        timeout, deadline, unique_key, group_key, retention, completed_at,
    ) = message  # fmt: skip
    id_utf8 = task_id.encode()
    size, id_size = len(payload), len(id_utf8)
    if (
        (size >= _LONG or id_size >= _LONG)
        or (headers or retried or error_msg or last_failed_at)
        or (deadline or unique_key or group_key or completed_at)
    ):
        return _encode_any(message)
    # New tasks differ in payload and id: the fields around them are encoded once for many.
    head, tail = _around(type_, queue, retry, timeout, retention)
    return b"".join((head, _PAYLOAD[size], payload, _ID[id_size], id_utf8, tail))


# How protobuf begins a field that is shorter than `_LONG`: its number and kind, its length. An
# empty one is left out.
_LONG = 128
_PAYLOAD = [b"", *(bytes((0x12, length)) for length in range(1, _LONG))]
_ID = [b"", *(bytes((0x1A, length)) for length in range(1, _LONG))]


@lru_cache(maxsize=1024)
def _around(
    type_: str, queue: str, retry: int, timeout: int, retention: int
) -> tuple[bytes, bytes]:
    """What comes before payload and id, and what comes after them."""
    tail = TaskMessagePb(queue=queue, retry=retry, timeout=timeout, retention=retention)
    return TaskMessagePb(type=type_).SerializeToString(), tail.SerializeToString()


def _encode_any(message: TaskMessage) -> bytes:
    pb = TaskMessagePb(
        type=message.type,
        payload=message.payload,
        id=message.id,
        queue=message.queue,
        retry=message.retry,
        timeout=message.timeout,
    )
    # Most tasks have none of these, and each that is named costs its time.
    if message.headers:
        pb.headers.update(message.headers)
    if message.deadline:
        pb.deadline = message.deadline
    if message.unique_key:
        pb.unique_key = message.unique_key
    if message.group_key:
        pb.group_key = message.group_key
    if message.retention:
        pb.retention = message.retention
    if message.completed_at:
        pb.completed_at = message.completed_at
    if message.retried or message.last_failed_at or message.error_msg:
        pb.retried = message.retried
        pb.last_failed_at = message.last_failed_at
        pb.error_msg = valid_text(message.error_msg)
    encoded: bytes = pb.SerializeToString()
    return encoded


def decode_task(data: bytes) -> TaskMessage:
    """Raises `UndecodableError` for anything that is no TaskMessage with a type and an id."""
    try:
        pb = TaskMessagePb.FromString(data)
    except DecodeError as error:
        raise UndecodableError(f"not a TaskMessage: {error}") from error
    task_id = pb.id
    if not task_id or not pb.type:
        raise UndecodableError("not a TaskMessage: it has no id or no type")
    headers = pb.headers  # a dict() of these takes three times as long as what is below
    return TaskMessage(  # by position, in the order of its fields: twice as fast as by name
        pb.type,
        task_id,
        pb.queue,
        pb.payload,
        {name: headers[name] for name in headers} if headers else NO_HEADERS,
        pb.retry,
        pb.retried,
        pb.error_msg,
        pb.last_failed_at,
        pb.timeout,
        pb.deadline,
        pb.unique_key,
        pb.group_key,
        pb.retention,
        pb.completed_at,
    )


def encode_server(info: ServerInfo) -> bytes:
    encoded: bytes = ServerInfoPb(
        host=valid_text(info.host),
        pid=info.pid,
        server_id=info.id,
        concurrency=info.concurrency,
        queues=info.queues,
        strict_priority=info.strict_priority,
        status=info.status,
        start_time=_timestamp(info.started),
        active_worker_count=info.active_worker_count,
    ).SerializeToString()
    return encoded


def encode_worker(info: WorkerInfo) -> bytes:
    encoded: bytes = WorkerInfoPb(
        host=valid_text(info.host),
        pid=info.pid,
        server_id=info.server_id,
        task_id=info.task_id,
        task_type=info.task_type,
        task_payload=info.task_payload,
        queue=info.queue,
        start_time=_timestamp(info.started),
        deadline=_timestamp(info.deadline),
    ).SerializeToString()
    return encoded


def decode_server(data: bytes) -> ServerInfo:
    """Raises `UndecodableError`."""
    try:
        pb = ServerInfoPb.FromString(data)
        return ServerInfo(
            id=pb.server_id,
            host=pb.host,
            pid=pb.pid,
            concurrency=pb.concurrency,
            queues=dict(pb.queues),
            strict_priority=pb.strict_priority,
            status=pb.status,
            started=_from_timestamp(pb.start_time),
            active_worker_count=pb.active_worker_count,
        )
    except (DecodeError, OverflowError) as error:
        raise UndecodableError(f"not a ServerInfo: {error}") from error


def decode_worker(data: bytes) -> WorkerInfo:
    """Raises `UndecodableError`."""
    try:
        pb = WorkerInfoPb.FromString(data)
        return WorkerInfo(
            host=pb.host,
            pid=pb.pid,
            server_id=pb.server_id,
            task_id=pb.task_id,
            task_type=pb.task_type,
            task_payload=pb.task_payload,
            queue=pb.queue,
            started=_from_timestamp(pb.start_time),
            deadline=_from_timestamp(pb.deadline),
        )
    except (DecodeError, OverflowError) as error:
        raise UndecodableError(f"not a WorkerInfo: {error}") from error


def encode_scheduler_entry(entry: SchedulerEntry) -> bytes:
    encoded: bytes = SchedulerEntryPb(
        id=entry.id,
        spec=entry.spec,
        task_type=entry.task.type,
        task_payload=entry.task.payload,
        enqueue_options=option_texts(entry.options),
        next_enqueue_time=_timestamp(entry.next or _GO_ZERO),
        prev_enqueue_time=_timestamp(entry.prev or _GO_ZERO),
        asyncq_name=entry.name,
    ).SerializeToString()
    return encoded


def decode_scheduler_entry(data: bytes) -> SchedulerEntry:
    """Raises `UndecodableError`."""
    try:
        pb = SchedulerEntryPb.FromString(data)
        return SchedulerEntry(
            id=pb.id,
            name=pb.asyncq_name,
            spec=pb.spec,
            task=Task.stored(pb.task_type, pb.task_payload, {}),
            options=read_option_texts(pb.enqueue_options),
            next=_unless_zero(pb.next_enqueue_time),
            prev=_unless_zero(pb.prev_enqueue_time),
        )
    except (DecodeError, OverflowError) as error:
        raise UndecodableError(f"not a SchedulerEntry: {error}") from error


def encode_enqueue_event(event: EnqueueEvent) -> bytes:
    encoded: bytes = SchedulerEnqueueEventPb(
        task_id=event.task_id, enqueue_time=_timestamp(event.enqueued_at)
    ).SerializeToString()
    return encoded


def decode_enqueue_event(data: bytes) -> EnqueueEvent:
    """Raises `UndecodableError`."""
    try:
        pb = SchedulerEnqueueEventPb.FromString(data)
        return EnqueueEvent(task_id=pb.task_id, enqueued_at=_from_timestamp(pb.enqueue_time))
    except (DecodeError, OverflowError) as error:
        raise UndecodableError(f"not a SchedulerEnqueueEvent: {error}") from error


def task_info(
    message: TaskMessage,
    state: TaskState,
    *,
    next_process_at: float | None = None,
    result: bytes | None = None,
    is_orphaned: bool = False,
) -> TaskInfo:
    """A stored message and what stands around it, for people. `next_process_at` in Unix seconds."""
    return TaskInfo(
        id=message.id,
        queue=message.queue,
        type=message.type,
        payload=message.payload,
        headers=message.headers,
        state=state,
        max_retry=message.retry,
        retried=message.retried,
        last_error=message.error_msg,
        last_failed_at=moment(message.last_failed_at),
        timeout=_length(message.timeout) if message.timeout else None,
        deadline=moment(message.deadline),
        group=message.group_key,
        next_process_at=moment(next_process_at),
        is_orphaned=is_orphaned,
        retention=_length(message.retention),
        completed_at=moment(message.completed_at),
        result=result or None,
    )


def new_task_info(
    message: TaskMessage, state: TaskState, next_process_at: datetime | None
) -> TaskInfo:
    """The same for a task that was just enqueued."""
    return enqueued_info(
        message.id,
        message.queue,
        message.type,
        message.payload,
        message.headers,
        state,
        message.retry,
        _length(message.timeout) if message.timeout else None,
        moment(message.deadline),
        message.group_key,
        next_process_at,
        _length(message.retention),
    )


def id_text(raw: bytes) -> str:
    """An id as text. Foreign ones need not be UTF-8: `id_bytes` gives back the same bytes."""
    return raw.decode("utf-8", "surrogateescape")


def id_bytes(text: str) -> bytes:
    """The bytes of an id from `id_text`."""
    return text.encode("utf-8", "surrogateescape")


def valid_text(text: str) -> str:
    """`text` with what UTF-8 cannot hold (lone surrogates) replaced by U+FFFD."""
    return text if text.isascii() else _SURROGATES.sub("\ufffd", text)


def moment(unix_s: float | None) -> datetime | None:
    """Unix seconds as people have it; None for 0, asynq's "never"."""
    if not unix_s:
        return None
    # What no calendar has, a foreign producer may still have written.
    return _EPOCH + timedelta(seconds=min(max(unix_s, _FIRST_S), _LAST_S))


@lru_cache(maxsize=1024)
def _length(seconds: int) -> timedelta:
    return timedelta(seconds=min(max(seconds, -_LAST_S), _LAST_S))


def _from_timestamp(pb: Any) -> datetime:
    return _EPOCH + timedelta(seconds=pb.seconds, microseconds=pb.nanos // 1000)


def _unless_zero(pb: Any) -> datetime | None:
    at = _from_timestamp(pb)
    return None if at == _GO_ZERO else at


def _timestamp(at: datetime) -> dict[str, Any]:
    # Not through float seconds, which cannot hold today's microseconds exactly.
    since = at - _EPOCH
    return {
        "seconds": since // timedelta(seconds=1),
        "nanos": (since % timedelta(seconds=1)) // timedelta(microseconds=1) * 1000,
    }
