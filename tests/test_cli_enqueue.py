"""`asyncq task enqueue`: every option, and payloads from wherever they come."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from operating import operate, operated

from asyncq import Inspector, TaskState
from asyncq.cli.inspect import values


async def test_task_is_enqueued_with_every_option(
    redis_url: str, inspector: Inspector, queue: str
) -> None:
    said = await operated(
        redis_url, "task", "enqueue", "--type", "email:send", "--payload", "hello ä",
        "--queue", queue, "--id", "mine", "--retry", "3", "--timeout", "90s",
        "--deadline", "2099-01-01T00:00:00Z", "--unique", "1h", "--unique-key", "k",
        "--process-in", "10m", "--retention", "7d", "-H", "trace=a=b", "-H", "empty=",
    )  # fmt: skip
    assert said.out == f"task mine is in queue '{queue}' (a new queue): scheduled, due in 10m\n"
    task = await inspector.task_info(queue, "mine")
    assert (task.type, task.payload) == ("email:send", "hello ä".encode())
    assert (task.max_retry, task.timeout) == (3, timedelta(seconds=90))
    assert task.deadline == datetime(2099, 1, 1, tzinfo=UTC)
    assert task.retention == timedelta(days=7)
    assert task.headers == {"trace": "a=b", "empty": ""}
    assert task.state is TaskState.SCHEDULED

    again = ("task", "enqueue", "-t", "email:send", "-q", queue)
    said = await operate(redis_url, *again, "--unique", "1h", "--unique-key", "k")
    assert (said.status, "is already waiting or running" in said.err) == (1, True)
    said = await operate(redis_url, *again, "--id", "mine")
    assert (said.status, "a task with id 'mine' already exists" in said.err) == (1, True)


async def test_flags_are_those_of_asynq(redis_url: str, inspector: Inspector, queue: str) -> None:
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    said = await operated(
        redis_url, "task", "enqueue", "--type_name", "t", "-l", "p", "--queue", queue,
        "--process_at", at.isoformat(), "--json",
    )  # fmt: skip
    assert said.json["next_process_at"] == at.isoformat().replace("+00:00", "Z")
    assert (said.json["type"], said.json["payload"], said.json["state"]) == ("t", "p", "scheduled")
    task = await inspector.task_info(queue, said.json["id"])
    assert task.next_process_at == at


async def test_task_waits_in_a_group(redis_url: str, inspector: Inspector, queue: str) -> None:
    await operated(redis_url, "task", "enqueue", "-t", "t", "-q", queue, "--group", "g")
    (task,) = await inspector.list_tasks(queue, "aggregating", group="g")
    assert task.payload == b""


async def test_payload_comes_from_a_file(
    redis_url: str, inspector: Inspector, queue: str, tmp_path: Path
) -> None:
    file = tmp_path / "payload"
    file.write_bytes(b"\x00\xff\n")
    flags = ("task", "enqueue", "-t", "t", "-q", queue)
    await operated(redis_url, *flags, "--payload", f"@{file}")
    (task,) = await inspector.list_tasks(queue, "pending")
    assert task.payload == b"\x00\xff\n"
    said = await operate(redis_url, *flags, "--payload", f"@{file}.not")
    assert (said.status, "cannot read" in said.err) == (2, True)


def test_payload_is_piped_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff\n")))
    assert values.payload("-", None) == b"\xff\n"


@pytest.mark.parametrize("text", ['{"a": [1, 2.50]}', "7", '"text"', "null"])
async def test_json_is_stored_as_it_was_written(
    redis_url: str, inspector: Inspector, queue: str, text: str
) -> None:
    await operated(redis_url, "task", "enqueue", "-t", "t", "-q", queue, "--json-payload", text)
    (task,) = await inspector.list_tasks(queue, "pending")
    assert task.payload == text.encode()


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (("--json-payload", "{'a': 1}"), "--json-payload is no JSON"),
        (("--json-payload", "NaN"), "NaN is not JSON"),
        (("--json-payload", "1", "--payload", "1"), "use one"),
        (("--timeout", "soon"), "a length of time is written as in 90, 90s, 1h30m or 7d"),
        (("--timeout", "0"), "timeout= takes 1 second(s) to 100 years"),
        (("--deadline", "tomorrow"), "a time is written as in 2026-11-21T16:00:00Z"),
        (("--deadline", "2099-01-01T00:00:00"), "does not say in which zone"),
        (("--process-in", "1h", "--process-at", "2099-01-01T00:00:00Z"), "not both"),
        (("--unique-key", "k"), "give unique= too"),
        (("-H", "no-value"), "a header is written as NAME=VALUE"),
        (("--group", " "), "it is blank"),
        (("--retry", "-1"), "Invalid value"),
    ],
)
async def test_what_cannot_be_meant_is_refused(
    redis_url: str, queue: str, flags: tuple[str, ...], complaint: str
) -> None:
    said = await operate(redis_url, "task", "enqueue", "-t", "t", "-q", queue, *flags)
    assert said.status == 2
    assert complaint in " ".join(said.err.replace("│", " ").split())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("1.5", 1.5), ("90s", 90), ("1h30m", 5400), ("7d", 604_800), ("1d12h", 129_600),
     ("250ms", 0.25), ("1d30", 86_430)],
)  # fmt: skip
def test_lengths_of_time(text: str, seconds: float) -> None:
    assert values.duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "x", "1", "2026-11-21T16:00:00Z"])
async def test_text_of_any_kind_is_a_payload(text: str) -> None:
    wanted: Any = text.encode()
    assert values.payload(text, None) == wanted
