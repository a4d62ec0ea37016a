"""The servers that the other tests stand on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis_servers import RedisServer, free_port, wait_until_gone


async def test_any_redis_runs_on_the_variant_it_names(any_redis: Redis, redis_variant: str) -> None:
    info = await any_redis.info("server")
    assert ("valkey_version" in info) == (redis_variant == "valkey")


@pytest.mark.every_redis
async def test_persistent_server_keeps_its_data_when_killed(
    start_redis: Callable[..., RedisServer],
) -> None:
    server = start_redis(persistent=True)
    async with server.client() as client:
        await client.set("a", "1")
        server.restart(kill=True)
        await client.connection_pool.disconnect()
        assert await client.get("a") == b"1"


async def test_server_listens_on_a_port_when_asked(
    start_redis: Callable[..., RedisServer],
) -> None:
    server = start_redis(tcp=True)
    async with server.client() as client:
        assert server.url.startswith("redis://127.0.0.1:")
        assert await client.ping()


def test_server_dies_with_the_process_that_started_it() -> None:
    code = (
        "import sys; from redis_servers import RedisServer; s = RedisServer(); s.start();"
        "print(s.pid, s.directory, flush=True); sys.stdin.read()"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with owner:
        assert owner.stdout is not None
        pid, directory = owner.stdout.readline().split()
        os.kill(owner.pid, signal.SIGKILL)

    wait_until_gone(int(pid))
    shutil.rmtree(directory)


def test_port_that_one_process_has_is_given_to_no_other() -> None:
    port = free_port()
    code = (
        "import secrets, sys; from redis_servers import free_port; draw = secrets.randbelow;"
        f"drawn = [{port} - 10_000];"
        "secrets.randbelow = lambda n: drawn.pop() if drawn else draw(n);"
        "print(free_port(), len(drawn))"
    )
    other = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=True,
    )
    given, drawn = other.stdout.split()
    assert (int(given) != port, drawn) == (True, "0")
