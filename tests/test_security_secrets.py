"""A password in an address is shown by nothing that asyncq prints, however a call ends."""

from __future__ import annotations

import asyncio
import signal
import traceback
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from commands import Command
from redis_servers import RedisServer, free_port
from redis_topologies import redis_with_sentinel, say
from waiting import soon, until

from asyncq import (
    Client,
    Inspector,
    PeriodicTaskManager,
    RedisError,
    RedisUnavailableError,
    Scheduler,
    Semaphore,
    ServeMux,
    Server,
    SyncClient,
    Task,
    TaskInfo,
    TaskState,
)
from asyncq._broker import keys
from asyncq._broker.address import Single
from asyncq._broker.line import BlockingLine
from asyncq._broker.source import read_source
from asyncq.doctor import Doctor

PASSWORD = "hunter2-hunter2"


@pytest.fixture
async def guarded(start_redis: Callable[..., RedisServer]) -> RedisServer:
    """A server that lets in who knows the password."""
    server = start_redis(tcp=True)
    say(server, "ACL", "SETUSER", "ann", "on", f">{PASSWORD}", "~*", "&*", "+@all")
    return server


def url_of(server: RedisServer, password: str = PASSWORD) -> str:
    return f"redis://ann:{password}@127.0.0.1:{server.port}/0"


def holders(url: str) -> Iterator[object]:
    """All that is made of an address."""
    mux = ServeMux()
    yield Client(url)
    yield SyncClient(url)
    yield Inspector(url)
    yield Server(url, mux)
    yield Scheduler(url)
    yield PeriodicTaskManager(url, list)
    yield Semaphore(url, "scope", 1)
    yield Doctor(url)


@pytest.mark.parametrize(
    "url",
    [
        f"redis://ann:{PASSWORD}@h/0",
        f"redis://:{PASSWORD}@h",
        f"rediss://h?password={PASSWORD}",
        f"unix://:{PASSWORD}@/run/redis.sock",
        f"redis-sentinel://:{PASSWORD}@h?password={PASSWORD}",
        f"redis-cluster://:{PASSWORD}@h:1,h:2",
    ],
)
def test_no_object_shows_the_password_of_its_address(url: str) -> None:
    for holder in holders(url):
        shown = f"{holder!r} {holder} {getattr(holder, 'where', '')}"
        assert PASSWORD not in shown


async def failures(url: str) -> list[BaseException]:
    """How calls of all kinds fail."""

    async def wait(client: Client) -> None:
        info = TaskInfo(
            id="x",
            queue="q",
            type="t",
            payload=b"",
            headers={},
            state=TaskState.PENDING,
            max_retry=1,
            retention=timedelta(hours=1),
        )
        await client.wait(info, timeout=0.1)

    async with Client(url) as client, Inspector(url) as inspector, Doctor(url) as doctor:
        calls: list[Any] = [
            client.ping(),
            client.enqueue(Task("t")),
            client.enqueue_many([Task("t")]),
            wait(client),
            inspector.queues(),
            doctor.examine(),
            Server(url, ServeMux()).start(),
            Scheduler(url).start(),
        ]
        answers = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(answer, Exception) for answer in answers), answers
    return [answer for answer in answers if isinstance(answer, BaseException)]


def told(error: BaseException) -> str:
    """All that a log would show of it."""
    shown = "".join(traceback.format_exception(error))
    return f"{shown} {error!r} {error.__dict__!r}"


@pytest.mark.parametrize(
    "kind", ["away", "wrong password", "no rights", "auth renamed", "sentinel", "cluster"]
)
async def test_no_error_shows_a_password(
    kind: str, guarded: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncq._broker.producer._ENQUEUE_PAUSES_S", ())
    url = url_of(guarded)
    if kind == "away":
        guarded.kill()
    elif kind == "wrong password":
        say(guarded, "ACL", "SETUSER", "ann", "resetpass", ">another")
    elif kind == "no rights":
        say(guarded, "ACL", "SETUSER", "ann", "-@all")
    elif kind == "auth renamed":
        guarded.close()
        guarded._args += ["--rename-command", "AUTH", "other"]
        guarded.directory.mkdir()
        guarded.start()
    elif kind == "sentinel":
        url = f"redis-sentinel://:{PASSWORD}@127.0.0.1:{free_port()}?password={PASSWORD}"
    elif kind == "cluster":
        url = url.replace("redis://", "redis-cluster://")
    found = await soon(failures(url))
    for error in found:
        assert PASSWORD not in told(error)
    if kind == "auth renamed":
        assert any("unknown command" in str(error) for error in found)
        address = read_source(url)
        assert isinstance(address, Single)
        with pytest.raises(RedisError) as raised:
            BlockingLine(address.endpoint).connect()
        assert PASSWORD not in told(raised.value)


async def test_sentinel_that_refuses_a_password_is_told_without_it() -> None:
    with redis_with_sentinel() as servers:
        url = servers.url.replace(f":{servers.password}@", f":{PASSWORD}@")
        async with Client(url) as client:
            with pytest.raises(RedisUnavailableError, match="WRONGPASS") as raised:
                await client.ping()
        assert PASSWORD not in told(raised.value)


def run_command(*args: str, cwd: Path, by: str, url: str) -> Command:
    """A command that is told of Redis by a flag or by the environment."""
    if by == "flag":
        return Command(*args, "--redis", url, cwd=cwd)
    return Command(*args, cwd=cwd, env={"ASYNCQ_REDIS_URL": url})


COMMANDS = {
    "worker": ("worker", "tasks:mux", "--connect-timeout", "0.5"),
    "json": ("worker", "tasks:mux", "--connect-timeout", "0.5", "--log-format", "json"),
    "processes": ("worker", "tasks:mux", "--processes", "2", "--log-level", "debug"),
    "scheduler": ("scheduler", "tasks:scheduler"),
}
TASKS = """
from asyncq import Scheduler, ServeMux, Task
mux = ServeMux()
@mux.handle("t")
async def handle(task: Task) -> None: ...
scheduler = Scheduler()
scheduler.register("@every 1h", Task("t"))
"""


@pytest.mark.parametrize("by", ["flag", "environment"])
@pytest.mark.parametrize("command", COMMANDS)
async def test_no_command_prints_the_password_while_it_works(
    command: str, by: str, guarded: RedisServer, tmp_path: Path
) -> None:
    (tmp_path / "tasks.py").write_text(TASKS)
    presence = keys.SCHEDULERS if command == "scheduler" else keys.SERVERS
    count = 2 if command == "processes" else 1
    with run_command(*COMMANDS[command], cwd=tmp_path, by=by, url=url_of(guarded)) as running:
        await until(lambda: say(guarded, "ZCARD", presence) == count, lambda: running.output)
        running.send(signal.SIGTERM)
        assert running.exit_status() == 0
        assert f"127.0.0.1:{guarded.port}" in running.output
        assert PASSWORD not in running.output


@pytest.mark.parametrize("password", ["right", "wrong"])
@pytest.mark.parametrize("command", ["worker", "json", "scheduler"])
async def test_no_command_prints_the_password_when_it_fails(
    command: str, password: str, guarded: RedisServer, tmp_path: Path
) -> None:
    (tmp_path / "tasks.py").write_text(TASKS)
    if password == "right":
        guarded.kill()
        flags = ["--connect-timeout", "0.5"]
    else:
        say(guarded, "ACL", "SETUSER", "ann", "resetpass", ">another")
        flags = []
    arguments = (*COMMANDS[command][:2], *COMMANDS[command][4:], *flags)
    with run_command(*arguments, cwd=tmp_path, by="flag", url=url_of(guarded)) as running:
        assert running.exit_status() == 69
        assert PASSWORD not in running.output
