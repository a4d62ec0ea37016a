"""Fixtures for every test: a real Redis, a client of it, a queue of one's own.

Tests run against one default server. A test marked `every_redis` (or that asks for `any_redis`)
runs once for each variant, and all fixtures here follow.
"""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import hypothesis
import pytest
import serving
from redis.asyncio import Redis
from redis_servers import VARIANTS, RedisServer, connect, default_variant, program
from serving import Working

from asyncq import Client, Inspector
from asyncq.devredis import DevRedisError


def pytest_configure(config: pytest.Config) -> None:
    for variable in ("ASYNCQ_REDIS_URL", "REDIS_URL"):  # nobody's Redis but our own
        os.environ.pop(variable, None)
    # A shell starts what runs in the background with Ctrl-C ignored, and programs that tests start
    # would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # An example that takes long on a busy machine is no failure.
    hypothesis.settings.register_profile(
        "any pace", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
    hypothesis.settings.load_profile("any pace")
    config.addinivalue_line(
        "markers", "every_redis: run once for each server variant (embedded Valkey, Redis on PATH)"
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests counted: `record_property("summary", ...)`."""
    reports = terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
    for report in reports:
        for name, value in report.user_properties:
            if name == "summary" and report.when == "call":
                terminalreporter.write_line(str(value))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marked = metafunc.definition.get_closest_marker("every_redis")
    if "redis_variant" in metafunc.fixturenames and (
        marked or "any_redis" in metafunc.fixturenames
    ):
        metafunc.parametrize("redis_variant", VARIANTS, indirect=True)


@pytest.fixture
def redis_variant(request: pytest.FixtureRequest) -> str:
    """`valkey` or `redis`: the variant this test runs on."""
    variant: str = getattr(request, "param", None) or default_variant()
    try:
        program(variant)
    except DevRedisError as error:
        pytest.skip(f"no {variant} here: {error}")
    return variant


@pytest.fixture(scope="session")
def _shared_servers() -> Iterator[dict[str, RedisServer]]:
    """One server per variant and test process, started when first asked for."""
    servers: dict[str, RedisServer] = {}
    yield servers
    for server in servers.values():
        server.close()


@pytest.fixture
def redis_server(redis_variant: str, _shared_servers: dict[str, RedisServer]) -> RedisServer:
    """The server all tests share. Do not stop it: ask for `start_redis` to have one of your own."""
    if redis_variant not in _shared_servers:
        _shared_servers[redis_variant] = RedisServer(redis_variant)
        _shared_servers[redis_variant].start()
    return _shared_servers[redis_variant]


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The URL of the shared server, `unix://...?db=0`."""
    return redis_server.url


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A raw client of the shared server: bytes, no time-outs, no retries."""
    async with connect(redis_url) as client:
        yield client


@pytest.fixture
def any_redis(redis: Redis) -> Redis:
    """`redis`, and the test runs once for each variant."""
    return redis


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Client]:
    """A client of the shared server."""
    async with Client(redis_url) as client:
        yield client


@pytest.fixture
async def inspector(redis_url: str) -> AsyncIterator[Inspector]:
    """An inspector of the shared server."""
    async with Inspector(redis_url) as inspector:
        yield inspector


@pytest.fixture
def queue() -> str:
    """The name of a queue that no other test uses."""
    return uuid4().hex


@pytest.fixture
def start_redis(redis_variant: str) -> Iterator[Callable[..., RedisServer]]:
    """Starts a private server: `start_redis(persistent=True, tcp=False, args=[...])`.

    It is gone after the test.
    """
    with ExitStack() as stack:

        def start(**options: Any) -> RedisServer:
            return stack.enter_context(RedisServer(redis_variant, **options))

        yield start


@pytest.fixture
def working(redis: Redis, redis_url: str, queue: str) -> Working:
    """`async with working(handler, **config) as work:` - a server at work on the test's queue."""
    return functools.partial(serving.working, redis, redis_url, queue)
