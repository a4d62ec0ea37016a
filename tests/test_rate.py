"""The distributed semaphore: how many hold a token, and when it is free again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis.asyncio import Redis
from redis_servers import RedisServer
from serving import Working
from waiting import soon, until

from asyncq import (
    Client,
    RedisUnavailableError,
    Semaphore,
    SemaphoreFullError,
    Task,
    TaskState,
    current,
)
from asyncq._broker import keys
from asyncq._clock import Clock
from asyncq.context import TaskContext, enter

pytestmark = pytest.mark.every_redis


async def no_result(result: bytes) -> None: ...


@contextmanager
def handling(task_id: str, deadline: datetime | None = None) -> Any:
    """As if a handler ran here."""
    context = TaskContext(
        task_id=task_id,
        task_type="t",
        queue="q",
        retry_count=0,
        max_retry=0,
        deadline=deadline or datetime.now(UTC) + timedelta(minutes=5),
        headers={},
        _write=no_result,
    )
    token = enter(lambda: context)
    try:
        yield
    finally:
        token.var.reset(token)


@pytest.fixture
def scope(queue: str) -> str:
    return queue


@pytest.fixture
async def two(client: Client, scope: str) -> AsyncIterator[Semaphore]:
    """A semaphore of two tokens."""
    semaphore = Semaphore(client, scope, 2)
    yield semaphore
    await semaphore.aclose()


async def holders(redis: Any, scope: str) -> dict[str, int]:
    found = await redis.zrange(f"asynq:sema:{scope}", 0, -1, withscores=True)
    return {task_id.decode(): int(score) for task_id, score in found}


async def test_no_more_tokens_than_there_are(two: Semaphore, redis: Redis, scope: str) -> None:
    for task_id, got in (("a", True), ("b", True), ("c", False)):
        with handling(task_id):
            assert await two.acquire() is got
    assert set(await holders(redis, scope)) == {"a", "b"}
    with handling("a"):
        assert await two.release() is True
        assert await two.release() is False
    with handling("c"):
        assert await two.acquire() is True


async def test_a_token_stands_in_redis_as_go_writes_it(
    two: Semaphore, redis: Redis, scope: str
) -> None:
    """The deadline in seconds, rounded up: Go cuts it, which may be too early."""
    for task_id, micros, score in (("a", 0, 4_000_000_000), ("b", 1, 4_000_000_001)):
        deadline = datetime.fromtimestamp(4_000_000_000, UTC) + timedelta(microseconds=micros)
        with handling(task_id, deadline):
            assert await two.acquire()
        assert (await holders(redis, scope))[task_id] == score
    assert await redis.ttl(f"asynq:sema:{scope}") == -1


async def test_tokens_of_go_count(two: Semaphore, redis: Any, scope: str) -> None:
    await redis.zadd(keys.semaphore(scope), {"go1": 4_000_000_000, "go2": 4_000_000_000})
    with handling("a"):
        assert await two.acquire() is False
        await redis.zrem(keys.semaphore(scope), "go1")
        assert await two.acquire() is True


async def test_a_token_is_free_after_its_deadline(client: Client, redis: Redis, scope: str) -> None:
    clock = Clock()
    one = Semaphore(client, scope, 1, _clock=clock)
    with handling("dead", datetime.now(UTC) + timedelta(seconds=100)):
        assert await one.acquire()
    with handling("next"):
        clock.skew = 95
        assert not await one.acquire()
        clock.skew = 105
        assert await one.acquire()
    assert set(await holders(redis, scope)) == {"next"}


async def test_who_holds_a_token_holds_it_still(two: Semaphore, redis: Redis, scope: str) -> None:
    """An attempt that is repeated after its worker died finds its own, and full is not full."""
    later = datetime.fromtimestamp(4_000_000_000, UTC)
    with handling("a"):
        assert await two.acquire()
    with handling("b"):
        assert await two.acquire()
    with handling("a", later):
        assert await two.acquire()
    assert (await holders(redis, scope))["a"] == 4_000_000_000
    assert len(await holders(redis, scope)) == 2


async def test_scopes_do_not_share(client: Client, scope: str) -> None:
    for name in (scope, scope + "ü", scope + "}:x"):
        with handling("a"):
            assert await Semaphore(client, name, 1).acquire()


@pytest.mark.parametrize("many", [1, 3, 10])
async def test_never_more_inside_than_tokens_however_many_try(
    client: Client, scope: str, many: int
) -> None:
    semaphore = Semaphore(client, scope, many)
    inside = most = entered = 0
    full = asyncio.Event()

    async def attempt(n: int) -> None:
        nonlocal inside, most, entered
        with handling(f"{n}"):
            while True:
                try:
                    async with semaphore:
                        inside, entered = inside + 1, entered + 1
                        most = max(most, inside)
                        if inside == many:
                            full.set()
                        await full.wait()
                        await asyncio.sleep(0)
                        inside -= 1
                        return
                except SemaphoreFullError:
                    await asyncio.sleep(0.001)

    await soon(asyncio.gather(*(attempt(n) for n in range(40))))
    assert (most, entered) == (many, 40)


async def test_the_error_says_which_semaphore_is_full(client: Client, scope: str) -> None:
    one = Semaphore(client, scope, 1)
    with handling("a"):
        await one.acquire()
    full = f"all 1 tokens of semaphore '{scope}' are taken"
    with handling("b"), pytest.raises(SemaphoreFullError, match=full) as e:
        await one.__aenter__()
    assert (e.value.scope, e.value.tokens) == (scope, 1)


async def test_the_token_is_given_back_however_the_body_ends(
    two: Semaphore, redis: Redis, scope: str
) -> None:
    with handling("a"):

        async def fail() -> None:
            async with two:
                assert set(await holders(redis, scope)) == {"a"}
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        assert await holders(redis, scope) == {}

        async def stay() -> None:
            async with two:
                await asyncio.Event().wait()

        staying = asyncio.create_task(stay())
        await until(lambda: holders(redis, scope))
        staying.cancel()
        await asyncio.wait({staying})
        assert await holders(redis, scope) == {}


async def test_outside_a_handler_there_is_nobody_to_hold_a_token(two: Semaphore) -> None:
    for use in (two.acquire, two.release, two.__aenter__):
        with pytest.raises(RuntimeError, match="where no task is handled"):
            await use()


async def test_a_token_that_cannot_be_given_back_does_not_fail_work_that_is_done(
    start_redis: Callable[[], RedisServer], caplog: pytest.LogCaptureFixture
) -> None:
    server = start_redis()
    semaphore = Semaphore(server.url, "s", 1)
    with handling("a"):
        async with semaphore:
            server.kill()
    assert "a token of semaphore 's' is held until the deadline of task a" in caplog.text
    await semaphore.aclose()


async def test_a_redis_that_is_away_lets_nobody_in(start_redis: Callable[[], RedisServer]) -> None:
    server = start_redis()
    semaphore = Semaphore(server.url, "s", 1)
    server.kill()
    with handling("a"), pytest.raises(RedisUnavailableError):
        await semaphore.__aenter__()
    await semaphore.aclose()


@pytest.mark.parametrize(
    ("scope", "tokens", "error", "text"),
    [
        ("s", 0, ValueError, "tokens= must be at least 1, got 0"),
        ("s", True, TypeError, "tokens= takes an int, got True"),
        ("s", 1.5, TypeError, "tokens= takes an int, got 1.5"),
        (" ", 1, ValueError, "scope= must not be blank"),
        (None, 1, TypeError, "scope= takes a str"),
    ],
)
def test_a_semaphore_that_cannot_be_meant_is_refused(
    redis_url: str, scope: Any, tokens: Any, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        Semaphore(redis_url, scope, tokens)


async def test_it_shows_where_it_is(two: Semaphore, client: Client, scope: str) -> None:
    assert repr(two) == f"<Semaphore {scope!r} of 2 at {client.where}>"
    await two.aclose()
    await client.ping()


async def test_a_server_lets_its_handlers_in_by_turns(
    working: Working, redis: Redis, redis_url: str, scope: str
) -> None:
    """As the docstring recommends it: full is no failure, and tried again soon."""
    semaphore = Semaphore(redis_url, scope, 2)
    inside = most = 0
    done: set[str] = set()

    async def handler(task: Task) -> None:
        nonlocal inside, most
        async with semaphore:
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.005)
            inside -= 1
        done.add(current().task_id)

    async with working(
        handler,
        concurrency=8,
        is_failure=lambda error: not isinstance(error, SemaphoreFullError),
        retry_delay=lambda n, error, task: 0.01,
    ) as work:
        infos = await work.client.enqueue_many(
            [Task("t") for _ in range(20)], queue=work.queue, max_retry=1, retention=60
        )
        ended = await soon(asyncio.gather(*(work.client.wait(info) for info in infos)))
    await semaphore.aclose()
    states = {info.state for info in ended}
    assert most <= 2
    assert states == {TaskState.COMPLETED}
    assert done == {info.id for info in infos}
    assert await holders(redis, scope) == {}
