"""Commands where Redis is not there, does not answer, or lets nobody in: one line and a status."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from operating import operate
from placed import put
from redis_servers import RedisServer, free_port
from redis_topologies import say
from terminal import Terminal

from asyncq.cli.inspect.confirming import accounted
from asyncq.errors import RedisUnavailableError

COMMANDS = [
    "stats",
    "stats --watch",
    "queue ls",
    "queue rm q --yes",
    "task ls -q q -s pending",
    "task ls -q q -s pending --follow",
    "task enqueue -t t",
    "task runall -q q -s retry",
    "server ls",
    "cron ls",
    "doctor",
]


@pytest.fixture
def server(start_redis: Callable[..., RedisServer]) -> RedisServer:
    return start_redis(tcp=True)


@pytest.fixture(scope="module")
def hung() -> Iterator[str]:
    """The address of a server that hangs."""
    with RedisServer(tcp=True) as server:
        server.pause()
        yield server.url


@pytest.fixture(scope="module")
def locked() -> Iterator[str]:
    """An address with a wrong password."""
    with RedisServer(tcp=True) as server:
        say(server, "ACL", "SETUSER", "u", "on", ">right", "+@all", "~*", "&*")
        yield server.url.replace("//", "//u:wrong@")


@pytest.mark.parametrize("command", COMMANDS)
async def test_without_redis_a_command_ends_with_one_line(command: str) -> None:
    url = f"redis://127.0.0.1:{free_port()}"
    said = await operate(url, *command.split(), "--connect-timeout", "0")
    assert (said.status, said.out, said.err.count("\n")) == (69, "", 1)
    assert said.err.startswith(f"error: no Redis within 0 s: cannot reach Redis at {url}: ")
    assert "Connection refused; --redis or ASYNCQ_REDIS_URL says where it is" in said.err


@pytest.mark.parametrize("command", COMMANDS)
async def test_redis_that_hangs_is_given_up_in_time(hung: str, command: str) -> None:
    said = await operate(hung, *command.split(), "--connect-timeout", "0.1")
    assert (said.status, said.out, said.err.count("\n")) == (69, "", 1)
    assert ": no answer; --redis" in said.err


@pytest.mark.parametrize("command", COMMANDS)
async def test_wrong_password_ends_a_command_at_once(locked: str, command: str) -> None:
    said = await operate(locked, *command.split(), "--connect-timeout", "100")
    assert (said.status, said.out, said.err.count("\n")) == (69, "", 1)
    assert "refuses: WRONGPASS" in said.err
    assert "wrong@" not in said.err


@pytest.mark.parametrize("command", ["stats", "task enqueue -t t", "doctor"])
async def test_url_that_is_none_is_explained(command: str) -> None:
    said = await operate("http://localhost", *command.split())
    assert (said.status, said.out) == (2, "")
    assert said.err.startswith("error: 'http://localhost' is not a Redis URL")
    assert "redis-cluster://" in said.err


@pytest.mark.parametrize(
    "command", ["stats", "queue inspect q", "task archive a", "task runall -q q -s retry"]
)
async def test_redis_that_hangs_in_the_middle_is_given_up_in_time(
    server: RedisServer, command: str
) -> None:
    async with server.client() as redis:
        await put(redis, "q", "retry", ["a"])
        await redis.client_pause(60_000, all=False)  # greets and is read, but changes nothing
    said = await operate(f"{server.url}?socket_timeout=0.1", *command.split())
    assert (said.status, said.out) == (69, "")
    assert said.err.splitlines()[-1].startswith("error: lost the connection to Redis at redis://")
    assert "no answer within 0.1 s" in said.err


async def test_enqueue_whose_answer_is_lost_says_that_the_task_may_be_there(
    server: RedisServer,
) -> None:
    async with server.client() as redis:
        await redis.client_pause(60_000, all=False)
    said = await operate(f"{server.url}?socket_timeout=0.1", "task", "enqueue", "-t", "t")
    assert (said.status, said.out, said.err.count("\n")) == (69, "", 1)
    assert "it is not known whether it arrived; enqueue it again with --id " in said.err


# Bulk work that is not finished


async def blocked(server: RedisServer) -> None:
    async with server.client() as redis:
        await put(redis, "q", "retry", ["a", "b"])
        await redis.client_pause(60_000, all=False)


async def test_bulk_work_that_is_interrupted_says_what_is_done(
    server: RedisServer, tmp_path: Path
) -> None:
    await blocked(server)
    flags = ("-q", "q", "-s", "retry", "--type", "t*", "--redis", server.url)

    def run() -> str:
        with Terminal("task", "runall", *flags, cwd=tmp_path, size=(200, 24)) as terminal:
            terminal.wait_for("making pending")
            terminal.type("\x03")
            assert terminal.exit_status() == 130, terminal.text
            return terminal.text

    said = await asyncio.to_thread(run)
    assert "not finished: retry tasks of queue 'q' whose type is 't*': 0 or a few more made" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "end", [asyncio.CancelledError(), RedisUnavailableError("r", "x", sent=True)]
)
def test_what_is_done_is_told_when_the_rest_is_not(
    capsys: pytest.CaptureFixture[str], end: BaseException
) -> None:
    def work() -> None:
        with accounted("x", 5000, lambda count: f"{count} deleted") as told:
            told(1200)
            raise end

    with pytest.raises(type(end)):
        work()
    said = capsys.readouterr().err
    assert said == "not finished: 1,200 or a few more deleted; the rest is as it was\n"


def test_nothing_is_told_when_all_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    with accounted("x", 5, lambda count: f"{count} deleted") as told:
        told(5)
    assert capsys.readouterr().err == ""
