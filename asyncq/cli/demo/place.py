"""The Redis that a demo runs on: a private one that is gone afterwards, or the user's own."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError

from asyncq import Client, RedisReplyError, RedisUnavailableError
from asyncq.devredis import DevRedis, DevRedisError, ensure
from asyncq.devredis.keeper import is_free

from ..failure import CommandError, Exit

_PATIENCE_S = 5.0
_SCHEMES = ("redis://", "rediss://", "unix://")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the demo's Redis is."""

    url: str
    described: str
    """For people, without secrets."""


@asynccontextmanager
async def redis_for_demo(url: str | None) -> AsyncGenerator[Place]:
    """The user's Redis, which answers; or a private one, which is gone when this ends.

    Raises `CommandError` when there is none.
    """
    if url is None:
        async with _private_redis() as server:
            yield Place(server.url, f"{server.name} {server.version}, started for this demo")
        return
    if not url.startswith(_SCHEMES):
        raise CommandError(
            f"the demo takes {', '.join(_SCHEMES[:-1])} or {_SCHEMES[-1]}, got"
            f" {url.partition('://')[0]}://; without --redis it starts a Redis of its own"
        )
    try:
        client = Client(url)
    except ValueError as error:
        raise CommandError(str(error)) from None
    async with client:
        await _knock(client)
        yield Place(url, client.where)


@asynccontextmanager
async def _private_redis() -> AsyncGenerator[DevRedis]:
    home = Path(tempfile.mkdtemp(prefix="asyncq-demo-"))
    try:
        try:
            server = await asyncio.to_thread(ensure, home)
        except DevRedisError as error:
            raise CommandError(
                f"{error}\nor pass --redis URL to use a Redis of your own", status=Exit.NO_REDIS
            ) from None
        try:
            yield server
        finally:
            await _end(server)
    finally:
        shutil.rmtree(home, ignore_errors=True)


async def _end(server: DevRedis) -> None:
    """Returns when the server and its keeper are gone; nobody needs the data."""
    with contextlib.suppress(RedisError):  # then it is gone already
        async with Redis.from_url(server.url) as redis:
            await redis.shutdown(nosave=True)
    server.close()
    async with asyncio.timeout(_PATIENCE_S):
        while not is_free(server.home / "keeper.lock"):  # noqa: ASYNC110 - held elsewhere
            await asyncio.sleep(0.02)


async def _knock(client: Client) -> None:
    try:
        async with asyncio.timeout(_PATIENCE_S):
            await client.ping()
    except TimeoutError:
        why = f"Redis at {client.where} does not answer"
    except (RedisUnavailableError, RedisReplyError) as error:
        why = str(error)
    else:
        return
    raise CommandError(
        f"{why}; start one there, check the URL, or leave --redis out:"
        " the demo then starts a Redis of its own",
        status=Exit.NO_REDIS,
    )
