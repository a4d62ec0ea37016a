"""What is said to one Redis and what comes back, whatever happens in between."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from hashlib import sha1
from uuid import uuid4

import pytest
import redis
import redis.asyncio
from redis_servers import RedisServer

from asyncq._broker import pool
from asyncq._broker.connection import Call, Connection, RedisSource
from asyncq._broker.scripts import Script
from asyncq.errors import RedisError, RedisReplyError, RedisUnavailableError


def script(source: str) -> Script:
    return Script("test", source, sha1(source.encode()).hexdigest())


def fresh(source: str) -> Script:
    """A script that no Redis has seen yet."""
    return script(f"-- {uuid4().hex}\n{source}")


ECHO = script("return {KEYS[1], ARGV[1]}")


@asynccontextmanager
async def opened(source: RedisSource) -> AsyncGenerator[Connection]:
    connection = Connection.open(source)
    try:
        yield connection
    finally:
        await connection.aclose()


@pytest.fixture
async def connection(redis_url: str) -> AsyncIterator[Connection]:
    async with opened(redis_url) as connection:
        yield connection


async def unavailable(connection: Connection, *calls: Call) -> RedisUnavailableError:
    with pytest.raises(RedisUnavailableError) as caught:
        await connection.run(calls or [Call.command("PING")])
    return caught.value


async def until_blocked(server: RedisServer, clients: int = 1) -> None:
    """Returns when so many clients are inside a blocking command."""
    async with server.client() as observer:
        while (await observer.info("clients"))["blocked_clients"] < clients:
            await asyncio.sleep(0.002)


async def answers(server: RedisServer) -> None:
    """Returns when it does."""
    async with server.client() as observer:
        await observer.ping()


async def add_user(server: RedisServer, *rules: str) -> None:
    """Adds the user `ann`."""
    async with opened(server.url) as admin:
        await admin.run_one(Call.command("ACL", "SETUSER", "ann", *rules))


# ---- replies ----


@pytest.mark.every_redis
async def test_replies_line_up_with_calls_and_errors_stand_in_their_place(
    connection: Connection, queue: str
) -> None:
    replies = await connection.run(
        [
            Call.command("SET", queue, "v"),
            Call.command("LPUSH", queue, "x"),
            Call.of(ECHO, [queue], [b"\x00\xff"]),
            Call.command("GET", queue),
            Call.command("GET", queue + "absent"),
            Call.command("NONSENSE"),
            Call.command("INCRBY", queue + "n", 7),
        ]
    )
    assert [r.code for r in replies if isinstance(r, RedisReplyError)] == ["WRONGTYPE", "ERR"]
    assert isinstance(replies[1], RedisReplyError)
    assert isinstance(replies[5], RedisReplyError)
    assert replies[0] == b"OK"
    assert replies[2:5] == [[queue.encode(), b"\x00\xff"], b"v", None]
    assert replies[6] == 7


async def test_arguments_may_be_text_bytes_and_numbers(connection: Connection) -> None:
    echo = script("return ARGV")
    args: list[str | bytes | int | float] = ["é", b"\xff", 7, -1, 1.5, 1e20, ""]
    assert await connection.run_one(Call.of(echo, [], args)) == [
        "é".encode(),
        b"\xff",
        b"7",
        b"-1",
        b"1.5",
        b"1e+20",
        b"",
    ]


async def test_errors_inside_a_reply_are_errors_of_ours_too(connection: Connection) -> None:
    reply = await connection.run_one(Call.of(script("return {1, redis.error_reply('OOM x')}")))
    assert reply[0] == 1
    assert isinstance(reply[1], RedisReplyError)
    assert reply[1].code == "OOM"


async def test_an_error_of_a_script_has_a_code(connection: Connection) -> None:
    with pytest.raises(RedisReplyError) as caught:
        await connection.run_one(Call.of(script("error('boom')")))
    assert caught.value.code == "ERR"
    assert "boom" in caught.value.text
    assert not caught.value.passing


async def test_no_calls_need_no_redis() -> None:
    async with opened("redis://127.0.0.1:1") as connection:
        assert await connection.run([]) == []


async def test_many_calls_in_one_run(connection: Connection) -> None:
    payload = b"x" * 10_000
    calls = [Call.of(ECHO, [str(n)], [payload]) for n in range(1000)]
    replies = await connection.run(calls)
    assert replies == [[str(n).encode(), payload] for n in range(1000)]


async def test_concurrent_callers_share_a_few_connections(
    start_redis: Callable[..., RedisServer],
) -> None:
    server = start_redis()
    async with opened(server.url) as connection:
        replies = await asyncio.gather(
            *(connection.run_one(Call.command("ECHO", n)) for n in range(500))
        )
        assert replies == [str(n).encode() for n in range(500)]
        async with server.client() as observer:
            assert len(await observer.client_list()) <= pool.POOL_SIZE + 1


# ---- scripts that Redis does not know ----


@pytest.mark.every_redis
async def test_unknown_scripts_of_a_pipeline_are_sent_again_and_the_known_ones_are_not(
    connection: Connection, queue: str
) -> None:
    known = fresh("return redis.call('INCR', KEYS[1])")
    await connection.run([Call.of(known, [queue])])
    new = fresh("return {ARGV[1], redis.call('INCR', KEYS[1])}")
    replies = await connection.run(
        [
            Call.of(new, [queue + "a"], ["first"]),
            Call.of(known, [queue]),
            Call.command("INCR", queue),
            Call.of(new, [queue + "a"], ["second"]),
            Call.of(known, [queue]),
        ]
    )
    assert replies == [[b"first", 1], 2, 3, [b"second", 2], 4]


async def test_scripts_survive_script_flush(start_redis: Callable[..., RedisServer]) -> None:
    async with opened(start_redis().url) as connection:
        for _ in range(3):
            await connection.run_one(Call.command("SCRIPT", "FLUSH"))
            calls = [Call.of(ECHO, ["k"], [n]) for n in range(5)]
            assert [r[1] for r in await connection.run(calls)] == [b"0", b"1", b"2", b"3", b"4"]


@pytest.mark.every_redis
async def test_scripts_survive_a_restart(start_redis: Callable[..., RedisServer]) -> None:
    server = start_redis()
    async with opened(server.url) as connection:
        await connection.run([Call.of(ECHO, ["k"], [1])])
        await asyncio.to_thread(server.restart)
        assert await connection.run_one(Call.of(ECHO, ["k"], [2])) == [b"k", b"2"]


async def test_an_unknown_script_called_by_its_sha_is_the_callers_affair(
    connection: Connection,
) -> None:
    (reply,) = await connection.run([Call.command("EVALSHA", "0" * 40, 0)])
    assert isinstance(reply, RedisReplyError)
    assert reply.code == "NOSCRIPT"


# ---- errors that pass and errors that do not ----


@pytest.mark.every_redis
@pytest.mark.parametrize(
    ("setup", "code"),
    [
        (["CONFIG SET maxmemory 1"], "OOM"),
        (["REPLICAOF 127.0.0.1 1"], "READONLY"),
        (["CONFIG SET min-replicas-to-write 1"], "NOREPLICAS"),
    ],
)
async def test_replies_that_may_pass_are_replies_and_not_lost_connections(
    start_redis: Callable[..., RedisServer], setup: Sequence[str], code: str
) -> None:
    async with opened(start_redis().url) as connection:
        for line in setup:
            await connection.run_one(Call.command(*line.split()))
        write = script("#!lua\nreturn redis.call('SET', KEYS[1], 1)")
        for call in (Call.command("SET", "k", "v"), Call.of(write, ["k"])):
            (reply,) = await connection.run([call])
            assert isinstance(reply, RedisReplyError)
            assert (reply.code, reply.passing) == (code, True)


async def test_a_replica_without_its_master_passes(start_redis: Callable[..., RedisServer]) -> None:
    server = start_redis(args=["--replica-serve-stale-data", "no"])
    async with opened(server.url) as connection:
        await connection.run_one(Call.command("REPLICAOF", "127.0.0.1", "1"))
        (reply,) = await connection.run([Call.command("GET", "k")])
        assert isinstance(reply, RedisReplyError)
        assert (reply.code, reply.passing) == ("MASTERDOWN", True)


async def test_loading_is_a_reply_that_passes(start_redis: Callable[..., RedisServer]) -> None:
    server = start_redis(persistent=True, args=["--enable-debug-command", "yes"])
    async with opened(server.url) as connection, server.client() as other:
        await connection.run([Call.command("SET", f"k{n}", "v") for n in range(20_000)])
        await connection.run_one(Call.command("CONFIG", "SET", "key-load-delay", "500"))
        load = other.execute_command("DEBUG", "LOADAOF")  # type: ignore[no-untyped-call]  # redis-py's
        loading = asyncio.ensure_future(load)
        (reply,) = await connection.run([Call.command("GET", "k1")])
        while not isinstance(reply, RedisReplyError):
            (reply,) = await connection.run([Call.command("GET", "k1")])
        assert (reply.code, reply.passing) == ("LOADING", True)
        await connection.run([Call.command("CONFIG", "SET", "key-load-delay", "0")])
        loading.cancel()


@pytest.mark.every_redis
async def test_a_refusal_to_let_us_in_is_not_called_unreachable(
    start_redis: Callable[..., RedisServer],
) -> None:
    server = start_redis()
    async with server.client() as admin:
        await admin.config_set("requirepass", "right")
    at = f"@{server.socket}"
    for url, code in [
        (f"unix://:wrong{at}", "WRONGPASS"),
        (f"unix://nobody:right{at}", "WRONGPASS"),
        (f"unix://{server.socket}", "NOAUTH"),
        (f"unix://:right{at}?db=99", "ERR"),
    ]:
        async with opened(url) as connection:
            with pytest.raises(RedisReplyError) as caught:
                await connection.run_one(Call.command("SET", "k", "v"))
            assert caught.value.code == code
            assert "right" not in str(caught.value) + repr(connection)


async def test_credentials_of_a_url_and_acl_errors(start_redis: Callable[..., RedisServer]) -> None:
    server = start_redis()
    await add_user(server, "on", ">s3:cret~", "~own:*", "+@all")
    async with opened(f"unix://ann:s3%3Acret~@{server.socket}?db=2") as connection:
        replies = await connection.run(
            [
                Call.command("ACL", "WHOAMI"),
                Call.command("SET", "own:k", 1),
                Call.command("GET", "other"),
            ]
        )
        assert replies[:2] == [b"ann", b"OK"]
        assert isinstance(replies[2], RedisReplyError)
        assert (replies[2].code, replies[2].passing) == ("NOPERM", False)
        async with server.client() as observer:
            assert (await observer.info("keyspace"))["db2"]["keys"] == 1


# ---- what may have been executed and what cannot have been ----


async def test_nobody_listens(start_redis: Callable[..., RedisServer]) -> None:
    server = start_redis(tcp=True)
    port = server.port
    server.stop()
    for url in (f"redis://:hunter2@127.0.0.1:{port}", f"unix://:hunter2@{server.socket}.none"):
        async with opened(url) as connection:
            error = await unavailable(connection)
            assert not error.sent
            assert error.where == connection.where
            assert str(error).startswith(f"cannot reach Redis at {connection.where}: ")
            assert "hunter2" not in str(error)


async def test_a_host_that_does_not_exist() -> None:
    async with opened("redis://nowhere.invalid") as connection:
        error = await unavailable(connection)
        assert not error.sent
        assert "nowhere.invalid" in str(error)


@pytest.mark.parametrize("tcp", [False, True])
async def test_a_redis_that_accepts_but_says_nothing(
    start_redis: Callable[..., RedisServer], tcp: bool
) -> None:
    server = start_redis(tcp=tcp)
    url = server.url + ("?" if tcp else "&") + "socket_timeout=0.5&socket_connect_timeout=0.5"
    async with opened(url) as connection:
        server.pause()
        error = await unavailable(connection)
        assert not error.sent
        assert "no answer within 0.5 s" in str(error)

        server.resume()
        await answers(server)
        connected = await connection.run_one(Call.command("PING"))
        assert connected == b"PONG"

        server.pause()
        error = await unavailable(connection)
        assert error.sent
        assert "lost the connection" in str(error)

        server.resume()
        await answers(server)
        await connection.ping()


@pytest.mark.every_redis
async def test_a_redis_killed_during_a_call(start_redis: Callable[..., RedisServer]) -> None:
    server = start_redis()
    async with opened(server.url) as connection:
        call = asyncio.create_task(unavailable(connection, Call.command("BLPOP", "k", 0)))
        await until_blocked(server)
        await asyncio.to_thread(server.kill)
        assert (await call).sent
        assert not (await unavailable(connection)).sent
        await asyncio.to_thread(server.start)
        await connection.ping()


async def test_a_connection_closed_while_idle_is_not_used(
    start_redis: Callable[..., RedisServer],
) -> None:
    server = start_redis()
    async with opened(server.url) as connection:
        await asyncio.gather(*(connection.ping() for _ in range(5)))
        async with server.client() as observer:
            await observer.client_kill_filter(_type="normal", skipme=True)
            # Its end arrives here before the next call is sent: the observer's answer came later.
            await observer.ping()
        await connection.ping()


async def test_no_connection_free_is_not_sent(
    start_redis: Callable[..., RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "POOL_TIMEOUT", 0.05)
    server = start_redis()
    async with opened(server.url) as connection:
        busy = [
            asyncio.create_task(connection.run([Call.command("BLPOP", "k", 0)]))
            for _ in range(pool.POOL_SIZE)
        ]
        await until_blocked(server, pool.POOL_SIZE)
        error = await unavailable(connection)
        assert not error.sent
        assert "busy" in str(error)
        for task in busy:
            task.cancel()
        await asyncio.wait(busy)
        await connection.ping()


async def test_too_many_clients_is_not_sent(start_redis: Callable[..., RedisServer]) -> None:
    server = start_redis()
    async with opened(server.url) as connection, server.client() as other:
        await other.config_set("maxclients", 1)
        error = await unavailable(connection)
        assert not error.sent
        assert re.search("max number of clients|too many clients", str(error))


async def test_a_cancelled_call_does_not_leave_its_answer_to_the_next_one(
    start_redis: Callable[..., RedisServer],
) -> None:
    server = start_redis()
    async with opened(server.url) as connection:
        call = asyncio.create_task(connection.run([Call.command("BLPOP", "k", 0)]))
        await until_blocked(server)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await connection.run_one(Call.command("ECHO", "mine")) == b"mine"


async def test_calls_cancelled_at_any_moment_never_mix_up_replies(connection: Connection) -> None:
    async def say(n: int) -> None:
        reply = await connection.run([Call.command("ECHO", n), Call.of(ECHO, [str(n)], [n])])
        assert reply == [str(n).encode(), [str(n).encode()] * 2]

    for n in range(200):
        task = asyncio.create_task(say(n))
        for _ in range(n % 12):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled() or task.exception() is None
        await say(-n)


# ---- whose connections they are ----


@pytest.mark.every_redis
async def test_a_client_is_left_alone(start_redis: Callable[..., RedisServer]) -> None:
    server = start_redis()
    client = redis.asyncio.Redis.from_url(server.url + "&decode_responses=True", protocol=3)
    async with client:
        async with opened(client) as connection:
            await connection.run_one(Call.command("SET", "k", "v"))
            assert await connection.run_one(Call.command("GET", "k")) == b"v"
        assert await client.get("k") == "v"


async def test_a_credential_provider_of_a_client_is_asked(
    start_redis: Callable[..., RedisServer],
) -> None:
    class Provider(redis.CredentialProvider):
        def get_credentials(self) -> tuple[str, str]:
            return "ann", "secret"

        async def get_credentials_async(self) -> tuple[str, str]:
            return self.get_credentials()

    server = start_redis()
    await add_user(server, "on", ">secret", "~*", "+@all")
    client = redis.asyncio.Redis(
        unix_socket_path=str(server.socket), credential_provider=Provider()
    )
    async with client, opened(client) as connection:
        assert await connection.run_one(Call.command("ACL", "WHOAMI")) == b"ann"
        sync = connection.sync()
        assert await asyncio.to_thread(sync.run, [Call.command("ACL", "WHOAMI")]) == [b"ann"]
        sync.close()


async def test_a_credential_provider_that_fails_means_unavailable(
    redis_server: RedisServer,
) -> None:
    class Provider(redis.CredentialProvider):
        def get_credentials(self) -> tuple[str, str]:
            raise LookupError("the vault is sealed")

        async def get_credentials_async(self) -> tuple[str, str]:
            return self.get_credentials()

    client = redis.asyncio.Redis(
        unix_socket_path=str(redis_server.socket), credential_provider=Provider()
    )
    async with opened(client) as connection:
        error = await unavailable(connection)
        assert not error.sent
        assert "the vault is sealed" in str(error)


async def test_a_shared_connection_is_closed_by_its_owner_only(redis_url: str) -> None:
    owner = Connection.open(redis_url)
    borrower = Connection.open(owner)
    await borrower.ping()
    await borrower.aclose()
    await owner.ping()
    await owner.aclose()
    error = await unavailable(borrower)
    assert not error.sent
    assert "closed" in str(error)


async def test_closing_leaves_nothing_open_and_can_be_repeated(
    start_redis: Callable[..., RedisServer],
) -> None:
    server = start_redis()
    connection = Connection.open(server.url)
    call = asyncio.create_task(unavailable(connection, Call.command("BLPOP", "k", 0)))
    await until_blocked(server)
    await connection.ping()
    await connection.aclose()
    assert (await call).sent
    await connection.aclose()
    assert not (await unavailable(connection)).sent
    async with server.client() as observer:
        while len(await observer.client_list()) > 1:
            await asyncio.sleep(0.002)


async def test_closing_what_was_never_used_needs_no_redis() -> None:
    await Connection.open("redis://127.0.0.1:1").aclose()


# ---- the hook ----


async def test_the_hook_is_told_of_every_run(connection: Connection) -> None:
    told: list[tuple[int, bool, type | None]] = []

    def hook(calls: Sequence[Call], seconds: float, error: BaseException | None) -> None:
        told.append((len(calls), seconds > 0, type(error) if error else None))

    connection.on_call = hook
    await connection.run([Call.command("PING"), Call.command("TIME")])
    await connection.run([Call.command("PING"), Call.command("NONSENSE")])
    await connection.aclose()
    with pytest.raises(RedisError):
        await connection.ping()
    assert told == [
        (2, True, None),
        (2, True, RedisReplyError),
        (1, True, RedisUnavailableError),
    ]
