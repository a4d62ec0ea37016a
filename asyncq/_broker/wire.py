"""The protobuf classes of asynq's messages (`asynq.proto` beside this file).

They live in a descriptor pool of their own: another package that brings a second
`asynq.TaskMessage` would clash in the default pool.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "string": _Field.TYPE_STRING,
    "bytes": _Field.TYPE_BYTES,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
    "bool": _Field.TYPE_BOOL,
}

# As in asynq.proto, which a test compares with this table.
MESSAGES: dict[str, tuple[tuple[int, str, str], ...]] = {
    "TaskMessage": (
        (1, "type", "string"),
        (2, "payload", "bytes"),
        (3, "id", "string"),
        (4, "queue", "string"),
        (5, "retry", "int32"),
        (6, "retried", "int32"),
        (7, "error_msg", "string"),
        (8, "timeout", "int64"),
        (9, "deadline", "int64"),
        (10, "unique_key", "string"),
        (11, "last_failed_at", "int64"),
        (12, "retention", "int64"),
        (13, "completed_at", "int64"),
        (14, "group_key", "string"),
        (15, "headers", "map<string, string>"),
    ),
    "ServerInfo": (
        (1, "host", "string"),
        (2, "pid", "int32"),
        (3, "server_id", "string"),
        (4, "concurrency", "int32"),
        (5, "queues", "map<string, int32>"),
        (6, "strict_priority", "bool"),
        (7, "status", "string"),
        (8, "start_time", "google.protobuf.Timestamp"),
        (9, "active_worker_count", "int32"),
    ),
    "WorkerInfo": (
        (1, "host", "string"),
        (2, "pid", "int32"),
        (3, "server_id", "string"),
        (4, "task_id", "string"),
        (5, "task_type", "string"),
        (6, "task_payload", "bytes"),
        (7, "queue", "string"),
        (8, "start_time", "google.protobuf.Timestamp"),
        (9, "deadline", "google.protobuf.Timestamp"),
    ),
    "SchedulerEntry": (
        (1, "id", "string"),
        (2, "spec", "string"),
        (3, "task_type", "string"),
        (4, "task_payload", "bytes"),
        (5, "enqueue_options", "repeated string"),
        (6, "next_enqueue_time", "google.protobuf.Timestamp"),
        (7, "prev_enqueue_time", "google.protobuf.Timestamp"),
        (1000, "asyncq_name", "string"),
    ),
    "SchedulerEnqueueEvent": (
        (1, "task_id", "string"),
        (2, "enqueue_time", "google.protobuf.Timestamp"),
    ),
}


def _add_field(message: descriptor_pb2.DescriptorProto, number: int, name: str, kind: str) -> None:
    field = message.field.add(name=name, number=number, label=_Field.LABEL_OPTIONAL)
    if kind.startswith("repeated "):
        field.label = _Field.LABEL_REPEATED
        kind = kind.removeprefix("repeated ")
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
        return
    field.type = _Field.TYPE_MESSAGE
    if kind.startswith("map<"):
        # A map is a repeated message of key and value, named after its field.
        key, value = kind.removeprefix("map<").removesuffix(">").split(", ")
        entry = message.nested_type.add(name=name.capitalize() + "Entry")
        entry.options.map_entry = True
        _add_field(entry, 1, "key", key)
        _add_field(entry, 2, "value", value)
        field.label = _Field.LABEL_REPEATED
        field.type_name = f".asynq.{message.name}.{entry.name}"
    else:
        field.type_name = "." + kind


def _build() -> dict[str, type[Any]]:
    file = descriptor_pb2.FileDescriptorProto(
        name="asynq.proto",
        package="asynq",
        syntax="proto3",
        dependency=["google/protobuf/timestamp.proto"],
    )
    for message_name, fields in MESSAGES.items():
        message = file.message_type.add(name=message_name)
        for number, name, kind in fields:
            _add_field(message, number, name, kind)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"asynq.{name}"))
        for name in MESSAGES
    }


# Built at run time, so no type checker can know their fields: `codec` is the typed side.
_CLASSES = _build()
TaskMessagePb: Any = _CLASSES["TaskMessage"]
ServerInfoPb: Any = _CLASSES["ServerInfo"]
WorkerInfoPb: Any = _CLASSES["WorkerInfo"]
SchedulerEntryPb: Any = _CLASSES["SchedulerEntry"]
SchedulerEnqueueEventPb: Any = _CLASSES["SchedulerEnqueueEvent"]
