"""`SyncClient`: the client for code without an event loop, over threads and forks."""

from __future__ import annotations

import asyncio
import gc
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis_servers import RedisServer
from serving import Working
from standing import pending_ids
from waiting import LONGEST_S, soon, until

from asyncq import (
    Client,
    EnqueueManyError,
    Inspector,
    RedisUnavailableError,
    SyncClient,
    Task,
    TaskFailedError,
    TaskIdConflictError,
    TaskInfo,
    TaskState,
)
from asyncq._broker import keys

pytestmark = pytest.mark.every_redis

PROGRAMS = Path(__file__).parent / "sync_client_programs.py"


@pytest.fixture
def sync_client(redis_url: str) -> Iterator[SyncClient]:
    with SyncClient(redis_url) as client:
        yield client


async def in_thread(call: Callable[[], Any]) -> Any:
    return await soon(asyncio.to_thread(call))


def threads_of_clients() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "asyncq-sync-client"]


async def payloads(queue: str, client: Client) -> list[str]:
    async with Inspector(client) as inspector:
        return [task.payload.decode() async for task in inspector.iter_tasks(queue, "pending")]


def run(name: str, url: str, queue: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROGRAMS), name, url, queue]
    return subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_S, check=False)


# What it does


def test_methods_are_those_of_the_client(redis_url: str, queue: str) -> None:
    with SyncClient(redis_url) as client:
        assert client.where in redis_url
        assert repr(client) == f"<SyncClient of {client.where}>"
        client.ping()
        info = client.enqueue(Task("t", "p"), queue=queue, task_id="a")
        assert (info.id, info.state) == ("a", TaskState.PENDING)
        infos = client.enqueue_many((Task("t", str(n)) for n in range(3)), queue=queue)
        assert [info.payload for info in infos] == [b"0", b"1", b"2"]


async def test_it_waits_for_results(sync_client: SyncClient, working: Working, queue: str) -> None:
    async def shout(task: Task) -> str:
        if task.type == "fail":
            raise ValueError("no use")
        return task.payload.decode().upper()

    async with working(shout):
        info = await in_thread(
            lambda: sync_client.enqueue(Task("t", "a"), queue=queue, retention=600)
        )
        assert (await in_thread(lambda: sync_client.wait(info))).state is TaskState.COMPLETED
        assert await in_thread(lambda: sync_client.result(info, str, timeout=LONGEST_S)) == "A"
        failing = Task("fail", retention=600, max_retry=0, queue=queue)
        failed = await in_thread(lambda: sync_client.enqueue(failing))
        with pytest.raises(TaskFailedError):
            await in_thread(lambda: sync_client.result(failed, str))


def test_errors_come_through_as_they_are(sync_client: SyncClient, queue: str) -> None:
    sync_client.enqueue(Task("t"), queue=queue, task_id="a")
    with pytest.raises(TaskIdConflictError, match="'a' already exists"):
        sync_client.enqueue(Task("t"), queue=queue, task_id="a")
    with pytest.raises(EnqueueManyError) as caught:
        sync_client.enqueue_many([Task("t", task_id="a"), Task("t")], queue=queue)
    conflict, stored = caught.value.results
    assert isinstance(conflict, TaskIdConflictError)
    assert isinstance(stored, TaskInfo)
    results = sync_client.enqueue_many(
        [Task("t", task_id="a")], queue=queue, return_exceptions=True
    )
    assert isinstance(results[0], TaskIdConflictError)
    with pytest.raises(TypeError, match="unknown option 'quue'; did you mean 'queue'"):
        sync_client.enqueue(Task("t"), quue=queue)  # type: ignore[call-arg]  # a mistake
    waiting = sync_client.enqueue(Task("t"), queue=queue, retention=600)
    with pytest.raises(TimeoutError, match="its state is pending"):
        sync_client.wait(waiting, timeout=0.01)
    with pytest.raises(ValueError, match="enqueue it with retention="):
        sync_client.wait(sync_client.enqueue(Task("t"), queue=queue))


def test_an_error_of_the_iterable_of_tasks_is_the_callers(
    sync_client: SyncClient, queue: str
) -> None:
    here = threading.get_ident()

    def tasks() -> Iterator[Task]:
        assert threading.get_ident() == here
        yield Task("t")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        sync_client.enqueue_many(tasks(), queue=queue)


def test_what_is_wrong_with_the_source_is_said_at_once() -> None:
    with pytest.raises(ValueError, match="htp"):
        SyncClient("htp://localhost")
    with pytest.raises(TypeError):
        SyncClient(3)  # type: ignore[arg-type]  # a mistake


async def test_connections_of_a_client_cannot_be_shared(client: Client) -> None:
    with pytest.raises(TypeError, match="give it the same URL"):
        SyncClient(client)


# Its life


def test_nothing_is_started_before_the_first_call(redis_url: str) -> None:
    before = threads_of_clients()
    client = SyncClient(redis_url)
    assert threads_of_clients() == before
    client.close()
    client.ping()
    assert len(threads_of_clients()) == len(before) + 1
    client.close()
    assert threads_of_clients() == before


def test_after_close_a_call_starts_anew(redis_url: str) -> None:
    client = SyncClient(redis_url)
    for _ in range(3):
        client.ping()
        client.close()
        client.close()
    gc.collect()  # warnings are errors: nothing is left open


def test_many_threads_share_one_client(sync_client: SyncClient, redis_url: str, queue: str) -> None:
    before = len(threads_of_clients())

    def enqueue(n: int) -> str:
        return sync_client.enqueue(Task("t", str(n)), queue=queue).id

    with ThreadPoolExecutor(30) as pool:
        ids = list(pool.map(enqueue, range(600)))
    assert len(set(ids)) == 600
    assert len(threads_of_clients()) == before + 1


async def test_closing_ends_the_calls_of_other_threads(
    sync_client: SyncClient, redis: Redis, queue: str
) -> None:
    info = await in_thread(lambda: sync_client.enqueue(Task("t"), queue=queue, retention=600))
    calls = [asyncio.to_thread(sync_client.wait, info) for _ in range(3)]
    waits = [asyncio.create_task(call) for call in calls]
    await until(lambda: redis.hexists(keys.task(queue, info.id), "asyncq_waited"))
    await in_thread(sync_client.close)
    ended = await soon(asyncio.gather(*waits, return_exceptions=True))
    assert {type(error) for error in ended} <= {RuntimeError, TimeoutError}
    assert any("was closed while this call was under way" in str(error) for error in ended)


def test_threads_that_close_and_call_at_the_same_time(redis_url: str, queue: str) -> None:
    client = SyncClient(redis_url)

    def enqueue_or_close(n: int) -> str:
        try:
            if n % 5 == 0:
                client.close()
                return "closed"
            client.enqueue(Task("t"), queue=queue)
            return "enqueued"
        except (RuntimeError, RedisUnavailableError) as error:
            return type(error).__name__
        except Exception as error:  # noqa: BLE001 - counted below
            return repr(error)

    with ThreadPoolExecutor(10) as pool:
        outcomes = Counter(pool.map(enqueue_or_close, range(300)))
    client.close()
    assert outcomes["closed"] == 60
    allowed = {"closed", "enqueued", "RuntimeError", "RedisUnavailableError"}
    assert set(outcomes) <= allowed


def test_a_redis_that_is_away_is_an_error_and_may_come_back(
    start_redis: Callable[..., RedisServer],
) -> None:
    server = start_redis()
    with SyncClient(server.url) as client:
        client.ping()
        server.kill()
        with pytest.raises(RedisUnavailableError):
            client.ping()
        server.start()
        client.ping()


# Processes


@pytest.mark.parametrize("name", ["ends_without_close", "ends_while_another_thread_waits"])
async def test_a_program_that_just_ends_does_not_hang(
    name: str, redis_url: str, redis: Redis, queue: str
) -> None:
    done = await in_thread(lambda: run(name, redis_url, queue))
    assert (done.returncode, done.stderr) == (0, "")
    assert await pending_ids(redis, queue) == [done.stdout.strip()]


async def test_children_and_parent_use_it_after_a_fork(
    redis_url: str, client: Client, queue: str
) -> None:
    # What is sent on a connection that nobody listens to any more is given up very late.
    patient = redis_url + "&socket_timeout=600"
    done = await in_thread(lambda: run("forks", patient, queue))
    assert (done.returncode, done.stdout.split()) == (0, ["0"] * 4)
    assert "Traceback" not in done.stderr
    expected = {"before", "after", *(f"parent {n}" for n in range(4))}
    expected |= {f"child {n} {k}" for n in range(4) for k in range(20)}
    found = await payloads(queue, client)
    assert Counter(found) == Counter(expected)


async def test_a_fork_while_other_threads_are_in_the_middle_of_calls(
    redis_url: str, client: Client, queue: str
) -> None:
    done = await in_thread(lambda: run("forks_while_threads_enqueue", redis_url, queue))
    assert (done.returncode, done.stdout.split()) == (0, ["0"] * 10), done.stderr
    assert await payloads(queue, client) == ["child"] * 10


async def test_ctrl_c_ends_a_call_and_the_client_can_be_used_on(
    redis_url: str, redis: Any, queue: str
) -> None:
    command = [sys.executable, str(PROGRAMS), "is_interrupted", redis_url, queue]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    task_id = (await soon(process.stdout.readline())).decode().strip()
    await until(lambda: redis.hexists(keys.task(queue, task_id), "asyncq_waited"))
    process.send_signal(signal.SIGINT)
    assert (await soon(process.stdout.readline())).decode().strip() == "interrupted"
    assert await soon(process.wait()) == 0
    assert len(await pending_ids(redis, queue)) == 2
