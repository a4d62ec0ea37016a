"""`asyncq worker` as people run it: the real command, a real Redis."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from commands import Command
from redis.asyncio import Redis
from redis_servers import RedisServer

from asyncq import Client, Task

TASKS = """
import asyncio, logging, os, time
from pathlib import Path
from asyncq import ServeMux, Server, ServerConfig, Task, current

mux = ServeMux()

@mux.handle("say")
async def say(task: Task) -> None:
    print("said", task.payload.decode(), "on", current().queue)  # read at once without a flush

@mux.handle("hold")
async def hold(task: Task) -> None:
    print("holding", flush=True)
    while not Path("release").exists():
        await asyncio.sleep(0.01)
    print("released", flush=True)

@mux.handle("fail")
async def fail(task: Task) -> None:
    raise LookupError("no such row")

@mux.handle("thread")
def thread(task: Task) -> None:
    print("in a thread", flush=True)
    time.sleep(1000)

async def any_task(task: Task) -> None:
    print("any", task.type, flush=True)

def make_server() -> Server:
    config = ServerConfig(queues={os.environ["QUEUE"]: 3, "other": 2}, concurrency=5)
    return Server(os.environ.get("TASKS_REDIS"), mux, config)

async def make_mux() -> ServeMux:
    return mux
"""

Start = Callable[..., Command]


@pytest.fixture
def start(tmp_path: Path, redis_url: str, queue: str) -> Iterator[Start]:
    """Starts `asyncq worker` on the test's own queue; `tasks.py` is in its directory."""
    (tmp_path / "tasks.py").write_text(TASKS)
    with ExitStack() as stack:

        def start(target: str, *args: str, redis: str | None = redis_url, **env: str) -> Command:
            flags = ["-r", redis] if redis else []
            return stack.enter_context(
                Command("worker", target, *flags, *args, cwd=tmp_path, env={"QUEUE": queue} | env)
            )

        yield start


def asyncq(*args: str, cwd: Path) -> tuple[int, str]:
    with Command(*args, cwd=cwd) as command:
        return command.exit_status(), command.output


async def enqueue(url: str, queue: str, type: str, payload: str = "") -> str:
    async with Client(url) as client:
        return (await client.enqueue(Task(type, payload), queue=queue)).id


async def pending(redis: Redis, queue: str) -> list[str]:
    found = await redis.lrange(f"asynq:{{{queue}}}:pending", 0, -1)
    return [found_id.decode() for found_id in found if isinstance(found_id, bytes)]


def started(command: Command) -> dict[str, Any]:
    """The block, as the one log line that it is with `--log-format json`."""
    command.wait_for('"message": "worker starting"')
    line: dict[str, Any] = json.loads(command.lines[0])
    return line


# Around it


def test_version(tmp_path: Path) -> None:
    status, output = asyncq("--version", cwd=tmp_path)
    assert status == 0
    assert output.startswith("asyncq 0.")


@pytest.mark.parametrize("args", [["--help"], ["worker", "--help"]])
def test_help_lists_the_worker(args: list[str], tmp_path: Path) -> None:
    status, output = asyncq(*args, cwd=tmp_path)
    assert status == 0
    assert "worker" in output


def test_help_imports_nothing_that_only_commands_need() -> None:
    code = "import sys, asyncq.cli.main; print([m for m in sys.modules if m in sys.argv])"
    heavy = ["uvloop", "watchfiles", "rich.progress", "rich.live", "asyncq.cli.process"]
    out = subprocess.run(
        [sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "[]"


# Running


async def test_worker_shows_what_it_runs_and_runs_it(
    start: Start, redis_url: str, queue: str
) -> None:
    worker = start("tasks:mux", "-q", queue, "-c", "7")
    await enqueue(redis_url, queue, "say", "hello")
    worker.wait_for("said hello")
    worker.wait_for(r"target +tasks:mux$")
    worker.wait_for(r"handles +say, hold, fail, thread$")
    worker.wait_for(rf"queues +{queue}$")
    worker.wait_for(r"concurrency +7 tasks at a time$")
    worker.wait_for(r"redis +unix:///")
    worker.send(signal.SIGTERM)
    assert worker.exit_status() == 0


@pytest.mark.parametrize("target", ["tasks:make_mux", "tasks:any_task"])
async def test_function_that_returns_a_mux_and_a_handler_are_targets(
    target: str, start: Start, redis_url: str, queue: str
) -> None:
    worker = start(target, "-q", queue)
    await enqueue(redis_url, queue, "say", "hello")
    worker.wait_for("said hello|any say")


async def test_server_keeps_its_own_config_and_redis(
    start: Start, redis_url: str, queue: str
) -> None:
    worker = start("tasks:make_server", "--log-format", "json", redis=None, TASKS_REDIS=redis_url)
    facts = started(worker)
    assert facts["queues"] == {queue: 3, "other": 2}
    assert facts["concurrency"] == 5
    await enqueue(redis_url, queue, "say", "hello")
    worker.wait_for("said hello")


async def test_flags_override_a_server(start: Start, redis_url: str, queue: str) -> None:
    flags = ["-q", f"{queue}=4", "-q", "low", "--strict-priority", "--shutdown-timeout", "1.5"]
    unused = "redis://127.0.0.1:1"
    worker = start("tasks:make_server", *flags, "--log-format", "json", TASKS_REDIS=unused)
    facts = started(worker)
    assert facts["queues"] == {queue: 4, "low": 1}
    assert facts["strict_priority"] is True
    assert facts["shutdown_timeout"] == 1.5
    assert facts["concurrency"] == 5
    await enqueue(redis_url, queue, "say", "hello")
    worker.wait_for("said hello")


async def test_redis_flag_is_what_a_server_without_address_uses(
    start: Start, redis_url: str, queue: str
) -> None:
    worker = start("tasks:make_server")
    await enqueue(redis_url, queue, "say", "hello")
    worker.wait_for("said hello")


async def test_variables_say_what_flags_do_not(start: Start, redis_url: str, queue: str) -> None:
    worker = start(
        "tasks:mux",
        redis=None,
        REDIS_URL=redis_url,
        ASYNCQ_QUEUES=f"{queue}=2 low",
        ASYNCQ_CONCURRENCY="9",
        ASYNCQ_LOG_FORMAT="json",
    )
    facts = started(worker)
    assert facts["queues"] == {queue: 2, "low": 1}
    assert facts["concurrency"] == 9


async def test_failed_task_is_a_json_line_with_its_fields(
    start: Start, redis_url: str, queue: str
) -> None:
    worker = start("tasks:mux", "-q", queue, "--log-format", "json")
    task_id = await enqueue(redis_url, queue, "fail")
    worker.wait_for("no such row")
    line = next(line for line in map(json.loads, worker.lines) if "no such row" in line["message"])
    assert line["task_id"] == task_id
    assert (line["task_type"], line["queue"], line["attempt"]) == ("fail", queue, 1)
    assert "LookupError: no such row" in line["exception"]
    worker.send(signal.SIGTERM)
    assert worker.exit_status() == 0
    assert all(json.loads(line) for line in worker.lines)


async def test_log_level_hides_what_is_below(start: Start, redis_url: str, queue: str) -> None:
    worker = start("tasks:mux", "-q", queue, "--log-level", "error")
    await enqueue(redis_url, queue, "fail")
    await enqueue(redis_url, queue, "say", "hello")
    worker.wait_for("said hello")
    worker.send(signal.SIGTERM)
    assert worker.exit_status() == 0
    assert "no such row" not in worker.output
    assert "SIGTERM" not in worker.output


# Signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_running_task_is_finished_after_a_signal(
    number: signal.Signals, start: Start, tmp_path: Path, redis: Redis, redis_url: str, queue: str
) -> None:
    worker = start("tasks:mux", "-q", queue, "--shutdown-timeout", "600")
    await enqueue(redis_url, queue, "hold")
    worker.wait_for("holding")
    worker.send(number)
    worker.wait_for("shutting down")
    (tmp_path / "release").touch()
    assert worker.exit_status() == 0
    assert "released" in worker.output
    assert await redis.keys(f"asynq:{{{queue}}}:t:*") == []


async def test_second_signal_puts_running_tasks_back(
    start: Start, redis: Redis, redis_url: str, queue: str
) -> None:
    worker = start("tasks:mux", "-q", queue, "--shutdown-timeout", "600")
    task_id = await enqueue(redis_url, queue, "hold")
    worker.wait_for("holding")
    worker.send(signal.SIGTERM)
    worker.wait_for("shutting down")
    worker.send(signal.SIGTERM)
    assert worker.exit_status() == 0
    assert await pending(redis, queue) == [task_id]
    assert f"task 'hold' {task_id} of queue '{queue}' goes back to its queue" in worker.output


async def test_no_task_is_taken_after_tstp(
    start: Start, redis: Redis, redis_url: str, queue: str
) -> None:
    worker = start("tasks:mux", "-q", queue)
    await enqueue(redis_url, queue, "say", "before")
    worker.wait_for("said before")
    worker.send(signal.SIGTSTP)
    worker.wait_for("taking no new tasks")
    task_id = await enqueue(redis_url, queue, "say", "after")
    worker.send(signal.SIGTERM)
    assert worker.exit_status() == 0
    assert "said after" not in worker.output
    assert await pending(redis, queue) == [task_id]


async def test_thread_that_never_returns_does_not_keep_the_process(
    start: Start, redis_url: str, queue: str
) -> None:
    worker = start("tasks:mux", "-q", queue, "--shutdown-timeout", "0")
    await enqueue(redis_url, queue, "thread")
    worker.wait_for("in a thread")
    worker.send(signal.SIGTERM)
    assert worker.exit_status() == 0
    worker_line = worker.wait_for("leaving without waiting for the handler of thread (.*)")
    assert "tasks.py" in worker_line[1]


# Redis is not there


def test_without_redis_it_says_what_helps_and_gives_up(start: Start) -> None:
    url = "redis://:secret@127.0.0.1:1"
    worker = start("tasks:mux", "--connect-timeout", "0.2", redis=url)
    assert worker.exit_status() == 69
    for part in ("cannot reach Redis at", "redis-server", "ASYNCQ_REDIS_URL", "--dev", "0.2 s"):
        assert part in worker.output
    assert "secret" not in worker.output
    assert "Traceback" not in worker.output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_the_wait_for_redis(number: signal.Signals, start: Start) -> None:
    worker = start("tasks:mux", "--connect-timeout", "600", redis="redis://127.0.0.1:1")
    worker.wait_for("trying for 600 s")
    worker.send(number)
    assert worker.exit_status() == 0


async def test_redis_that_comes_later_is_used(start: Start, redis_variant: str) -> None:
    server = RedisServer(redis_variant)
    try:
        worker = start("tasks:mux", "--connect-timeout", "600", redis=server.url)
        worker.wait_for("trying for 600 s")
        server.start()
        worker.wait_for("Redis answers")
        await enqueue(server.url, "default", "say", "late")
        worker.wait_for("said late")
        worker.send(signal.SIGTERM)
        assert worker.exit_status() == 0
    finally:
        server.close()


async def test_wrong_password_is_not_waited_for(
    start: Start, start_redis: Callable[..., RedisServer]
) -> None:
    server = start_redis(tcp=True)
    async with server.client() as client:
        await client.config_set("requirepass", "right")
    url = server.url.replace("//", "//:wrong@")
    worker = start("tasks:mux", "--connect-timeout", "600", redis=url)
    assert worker.exit_status() == 69
    assert "refuses: WRONGPASS" in worker.output
    assert ":wrong@" not in worker.output


def test_without_any_address_it_says_how_to_give_one(start: Start) -> None:
    for target in ("tasks:mux", "tasks:make_server"):
        worker = start(target, redis=None)
        assert worker.exit_status() == 2
        assert "nobody said where Redis is" in worker.output
        assert "Traceback" not in worker.output


def test_address_that_cannot_be_read_is_not_the_fault_of_the_target(start: Start) -> None:
    worker = start("tasks:make_server", redis="localhost:6379")
    assert worker.exit_status() == 2
    assert worker.lines[0].startswith("error: 'localhost:6379' is not a Redis URL")


async def test_dev_starts_a_redis_of_its_own(start: Start, tmp_path: Path) -> None:
    worker = start("tasks:mux", "--dev", redis=None)
    worker.wait_for("for development only")
    await enqueue(f"embedded://{tmp_path}/data/asyncq/dev", "default", "say", "hello")
    worker.wait_for("said hello")
    worker.send(signal.SIGTERM)
    assert worker.exit_status() == 0


# Mistakes on the command line


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["tasks:mix"], "did you mean tasks:mux?"),
        (["taks:mux"], "did you mean tasks:mux?"),
        (["tasks:time"], "is a module; a target is a ServeMux"),
        (["tasks:mux", "--concurency", "3"], "--concurrency"),
        (["tasks:mux", "-c", "0"], "'--concurrency'"),
        (["tasks:mux", "-q", "a=x"], "write NAME=WEIGHT"),
        (["tasks:mux", "-q", "a=0"], "write NAME=WEIGHT"),
        (["tasks:mux", "-q", "a", "-q", "a=2"], "given twice"),
        (["tasks:mux", "--log-format", "xml"], "json"),
        (["tasks:mux", "--dev"], "--dev and --redis"),
        (["tasks:mux", "--reload-dir", "."], "--reload"),
    ],
)
def test_mistake_ends_with_status_2_and_no_traceback(
    args: list[str], said: str, start: Start
) -> None:
    worker = start(*args)
    assert worker.exit_status() == 2
    assert said in worker.output
    assert "Traceback" not in worker.output


def test_wrong_url_shows_the_right_forms_and_no_secret(start: Start) -> None:
    worker = start("tasks:mux", redis="rdis://:secret@localhost")
    assert worker.exit_status() == 2
    assert "did you mean redis://?" in worker.output
    assert "secret" not in worker.output


def test_users_error_is_shown_without_our_frames(start: Start, tmp_path: Path) -> None:
    (tmp_path / "torn.py").write_text("def work():\n    raise LookupError('torn')\nwork()\n")
    worker = start("torn:mux")
    assert worker.exit_status() == 2
    assert "LookupError: torn" in worker.output
    assert "asyncq" + os.sep not in worker.output


def test_mistake_is_a_json_line_too(start: Start) -> None:
    worker = start("tasks:mix", "--log-format", "json")
    assert worker.exit_status() == 2
    assert json.loads(worker.output)["level"] == "critical"
