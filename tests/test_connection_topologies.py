"""Cluster, Sentinel, TLS and the embedded server: the same promises, other ways to Redis."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
import redis.asyncio.sentinel
import redis.exceptions
from authority import Authority
from redis_servers import (
    RedisServer,
    default_variant,
    free_port,
    program,
    wait_until_gone,
)
from redis_topologies import (
    RedisCluster,
    RedisWithSentinel,
    redis_cluster,
    redis_with_sentinel,
    say,
    wait_until,
)
from test_connection import ECHO, fresh, opened, unavailable, until_blocked
from waiting import LONGEST_S

from asyncq._broker.connection import Call, Connection, SyncConnection
from asyncq.devredis import DevRedisError
from asyncq.errors import RedisError, RedisReplyError, RedisUnavailableError


async def sooner_or_later(attempt: Callable[[], Any]) -> Any:
    """What a caller does during a failover: try again while the error may pass."""
    deadline = time.monotonic() + LONGEST_S
    while True:
        try:
            return await attempt()
        except RedisError as error:
            passing = isinstance(error, RedisUnavailableError) or (
                isinstance(error, RedisReplyError) and error.passing
            )
            if not passing or time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.01)


# ---- Cluster ----


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    with redis_cluster(default_variant()) as servers:
        yield servers


@pytest.fixture
def own_cluster() -> Iterator[RedisCluster]:
    """One whose slots and nodes may be moved and killed."""
    with redis_cluster(default_variant()) as servers:
        yield servers


async def test_cluster_pipeline_over_all_nodes_lines_up(cluster: RedisCluster) -> None:
    add = fresh("return {KEYS[1], redis.call('INCRBY', KEYS[1], ARGV[1])}")
    keys = [key for of_node in cluster.keys_by_node(5) for key in of_node]
    async with opened(cluster.url) as connection:
        assert connection.is_cluster
        assert connection.where == cluster.url
        for total in (1, 2):
            calls: list[Call] = []
            for key in keys:
                calls += [Call.of(add, [key], [1]), Call.command("GET", key)]
            replies = await connection.run([*calls, Call.command("PING")])
            assert replies[:-1:2] == [[key.encode(), total] for key in keys]
            assert replies[-1] == b"PONG"
        errors = await connection.run([Call.command("LPUSH", key, 1) for key in keys])
        assert {error.code for error in errors} == {"WRONGTYPE"}


async def test_cluster_sync_twin(cluster: RedisCluster) -> None:
    add = fresh("return redis.call('INCR', KEYS[1])")
    keys = [key for of_node in cluster.keys_by_node(2) for key in of_node]
    sync = Connection.open(cluster.url).sync()
    for total in (1, 2):
        replies = await asyncio.to_thread(sync.run, [Call.of(add, [key]) for key in keys])
        assert replies == [total] * len(keys)
    sync.close()


async def test_cluster_waiters_wait_where_the_key_is(cluster: RedisCluster) -> None:
    async with opened(cluster.url) as connection:
        for (key,) in cluster.keys_by_node():
            waiter = connection.waiter()
            waiting = asyncio.create_task(waiter.wait(key, 60))
            await until_blocked(cluster.owner(key))
            await connection.run_one(Call.command("LPUSH", key, 1))
            assert await waiting is True
            await waiter.aclose()


async def test_cluster_listener_hears_what_any_node_publishes(cluster: RedisCluster) -> None:
    async with opened(cluster.url) as connection:
        listener = connection.listener()
        await listener.subscribe("channel")
        for n, node in enumerate(cluster.nodes):
            await asyncio.to_thread(say, node, "PUBLISH", "channel", n)
            assert await listener.next() == ("channel", str(n).encode())
        await listener.aclose()


async def test_cluster_client_is_enough_to_find_the_cluster(cluster: RedisCluster) -> None:
    node = cluster.nodes[1]
    client = redis.asyncio.RedisCluster(host="127.0.0.1", port=node.port)
    async with client, opened(client) as connection:
        keys = [key for (key,) in cluster.keys_by_node()]
        assert await connection.run([Call.command("SET", key, 1) for key in keys]) == [b"OK"] * 3
        assert await client.get(keys[0]) == b"1"


async def test_cluster_is_found_through_any_seed_that_lives(cluster: RedisCluster) -> None:
    dead = free_port()
    async with opened(f"redis-cluster://127.0.0.1:{dead},127.0.0.1:{cluster.nodes[2].port}") as one:
        keys = [key for (key,) in cluster.keys_by_node()]
        assert await one.run([Call.command("SET", key, 1) for key in keys]) == [b"OK"] * 3
    async with opened(f"redis-cluster://:hunter2@127.0.0.1:{dead}") as none:
        error = await unavailable(none)
        assert not error.sent
        assert "no node answered" in str(error)
        assert "hunter2" not in str(error)


async def test_single_node_url_of_a_cluster_names_the_remedy(cluster: RedisCluster) -> None:
    (key, *_) = cluster.keys_by_node()[1]
    async with opened(f"redis://127.0.0.1:{cluster.nodes[0].port}") as connection:
        (reply,) = await connection.run([Call.command("GET", key)])
        assert isinstance(reply, RedisReplyError)
        assert reply.code == "MOVED"
        assert "redis-cluster://" in reply.text


async def test_cluster_url_of_a_single_node_says_so(redis_server: RedisServer) -> None:
    with RedisServer(tcp=True) as server:
        async with opened(f"redis-cluster://127.0.0.1:{server.port}") as connection:
            with pytest.raises(RedisReplyError, match="cluster support disabled"):
                await connection.ping()


async def test_cluster_slots_that_move_are_followed(own_cluster: RedisCluster) -> None:
    script = fresh("return redis.call('INCR', KEYS[1])")
    (moving,), (staying,), _ = own_cluster.keys_by_node()
    _, _, target = own_cluster.nodes
    async with opened(own_cluster.url) as connection:
        waiter = connection.waiter()
        sync = connection.sync()
        await asyncio.to_thread(sync.run, [Call.command("PING")])
        await connection.run([Call.command("GET", moving)])
        waiting = asyncio.create_task(waiter.wait(moving, 60))
        await until_blocked(own_cluster.owner(moving))

        await asyncio.to_thread(own_cluster.move_slot, moving, target)
        with pytest.raises(RedisReplyError, match="MOVED") as caught:
            await waiting
        assert caught.value.passing

        replies = await connection.run([Call.of(script, [moving]), Call.of(script, [staying])])
        assert replies == [1, 1]
        assert await asyncio.to_thread(say, target, "GET", moving) == "1"
        assert await asyncio.to_thread(sync.run, [Call.of(script, [moving])]) == [2]
        sync.close()

        await connection.run_one(Call.command("DEL", moving))
        waiting = asyncio.create_task(waiter.wait(moving, 60))
        await until_blocked(target)
        await connection.run_one(Call.command("LPUSH", moving, 1))
        assert await waiting is True
        await waiter.aclose()


async def test_cluster_slots_that_are_moving_are_asked_for(own_cluster: RedisCluster) -> None:
    script = fresh("return redis.call('INCR', KEYS[1])")
    source, target, _ = own_cluster.nodes
    (key,), *_ = own_cluster.keys_by_node()
    slot = say(source, "CLUSTER", "KEYSLOT", key)
    say(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", own_cluster.id_of(source))
    say(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", own_cluster.id_of(target))
    async with opened(own_cluster.url) as connection:
        calls = [Call.of(script, [key]), Call.command("INCR", key)]
        assert sorted(await connection.run(calls)) == [1, 2]
        assert sorted(await connection.run(calls)) == [3, 4]
        with pytest.raises(redis.exceptions.ResponseError, match=r"127\.0\.0\.1"):
            say(target, "GET", key)  # it is there, but only for those who ask


async def test_cluster_node_that_is_lost_takes_only_its_own_calls_with_it(
    own_cluster: RedisCluster,
) -> None:
    keys = [key for (key,) in own_cluster.keys_by_node()]
    calls = [Call.command("INCR", key) for key in keys]
    async with opened(own_cluster.url) as connection:
        sync = connection.sync()
        assert await connection.run(calls) == [1, 1, 1]
        assert await asyncio.to_thread(sync.run, calls) == [2, 2, 2]
        lost = own_cluster.nodes[1]
        await asyncio.to_thread(lost.kill)
        for run in (connection.run, lambda c: asyncio.to_thread(sync.run, c)):
            first, second, third = await run(calls)
            assert first == third
            assert isinstance(second, RedisUnavailableError)
            assert str(lost.port) in second.where
        with pytest.raises(RedisUnavailableError, match=str(lost.port)):
            await connection.run([calls[1]])
        sync.close()


async def test_cluster_nodes_without_slots_are_let_go(own_cluster: RedisCluster) -> None:
    first, _, last = own_cluster.nodes
    *_, (key,) = own_cluster.keys_by_node()
    async with opened(f"redis-cluster://127.0.0.1:{first.port}") as connection:
        await connection.run_one(Call.command("GET", key))
        before = len(await asyncio.to_thread(clients, last))
        await asyncio.to_thread(own_cluster.take_all_slots, last, first)
        assert await connection.run_one(Call.command("GET", key)) is None
        assert await connection.run_one(Call.command("GET", key)) is None
        gone = before - 1
        await asyncio.to_thread(wait_until, "it is let go", lambda: len(clients(last)) == gone)


def clients(server: RedisServer) -> list[str]:
    lines: str = say(server, "CLIENT", "LIST", "TYPE", "NORMAL")
    return lines.splitlines()


# ---- Sentinel ----


@pytest.fixture
def with_sentinel() -> Iterator[RedisWithSentinel]:
    with redis_with_sentinel(default_variant()) as servers:
        yield servers


async def test_sentinel_failover_is_followed_by_calls_waiters_listeners_and_threads(
    with_sentinel: RedisWithSentinel,
) -> None:
    async with opened(with_sentinel.url) as connection:
        waiter, listener, sync = connection.waiter(), connection.listener(), connection.sync()
        await asyncio.gather(
            *(connection.run([Call.of(ECHO, ["k"], [n])]) for n in range(4)),
            listener.subscribe("channel"),
            asyncio.to_thread(sync.run, [Call.command("PING")]),
        )
        waiting = asyncio.create_task(waiter.wait("list", 60))
        await until_blocked(with_sentinel.master)
        before = with_sentinel.master

        await asyncio.to_thread(with_sentinel.fail_over)
        with pytest.raises(RedisUnavailableError):
            await waiting

        write = Call.of(fresh("return redis.call('SET', KEYS[1], ARGV[1])"), ["k"], ["new"])
        assert await sooner_or_later(lambda: connection.run_one(write)) == b"OK"
        assert with_sentinel.master is not before
        assert await asyncio.to_thread(say, with_sentinel.master, "GET", "k") == "new"
        # Not one of the idle connections leads to the old master any more.
        for _ in range(20):
            assert await connection.run([write] * 3) == [b"OK"] * 3

        async def in_thread() -> Any:
            (reply,) = await asyncio.to_thread(sync.run, [write])
            if isinstance(reply, RedisError):
                raise reply
            return reply

        assert await sooner_or_later(in_thread) == b"OK"
        sync.close()

        waiting = asyncio.create_task(sooner_or_later(lambda: waiter.wait("list", 60)))
        await until_blocked(with_sentinel.master)
        await connection.run_one(Call.command("LPUSH", "list", 1))
        assert await waiting is True
        await waiter.aclose()
        await listener.aclose()


async def test_sentinel_client_is_enough_to_find_the_master(
    with_sentinel: RedisWithSentinel,
) -> None:
    sentinel = redis.asyncio.sentinel.Sentinel(  # type: ignore[no-untyped-call]  # redis-py's
        [("127.0.0.1", free_port()), ("127.0.0.1", with_sentinel.sentinel.port)],
        sentinel_kwargs={"password": with_sentinel.password},
    )
    client = sentinel.master_for("mymaster", db=1)
    async with opened(client) as connection:
        assert await connection.run_one(Call.command("SET", "k", "v")) == b"OK"
    assert say(with_sentinel.master, "INFO", "keyspace")
    await client.aclose()
    for one in sentinel.sentinels:
        await one.aclose()


async def test_sentinels_that_cannot_name_a_master(with_sentinel: RedisWithSentinel) -> None:
    port = with_sentinel.sentinel.port
    for url, says in [
        (with_sentinel.url + "?master=other", "knows no master named 'other'"),
        (f"redis-sentinel://:hunter2@127.0.0.1:{port}", "WRONGPASS"),
        (f"redis-sentinel://127.0.0.1:{port}", "NOAUTH"),
        (f"redis-sentinel://:hunter2@127.0.0.1:{free_port()}", "no sentinel named a master"),
    ]:
        async with opened(url) as connection:
            error = await unavailable(connection)
            assert not error.sent
            assert says in str(error)
            assert "hunter2" not in str(error)
        sync: SyncConnection = connection.sync()
        with pytest.raises(RedisUnavailableError, match=says):
            await asyncio.to_thread(sync.run, [Call.command("PING")])
        sync.close()


# ---- TLS ----


def certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate for `localhost`, its own authority, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl here to make a certificate with")
    cert, key = directory / "cert.pem", directory / "key.pem"
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", str(key), "-out", str(cert)),
        ],
        check=True,
        capture_output=True,
    )
    return cert, key


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """The port of a server that speaks TLS, and its certificate."""
    try:
        program("redis")
    except DevRedisError as error:
        pytest.skip(f"the embedded server has no TLS, and there is no other: {error}")
    cert, key = certificate(tmp_path_factory.mktemp("tls"))
    port = free_port()
    settings = {
        "tls-port": str(port),
        "tls-cert-file": str(cert),
        "tls-key-file": str(key),
        "tls-ca-cert-file": str(cert),
        "tls-auth-clients": "no",
    }
    args = [arg for name, value in settings.items() for arg in (f"--{name}", value)]
    server = RedisServer("redis", args=args)
    try:
        server.start()
    except RuntimeError as error:
        server.close()
        pytest.skip(f"the server on PATH does not speak TLS: {error}")
    yield port, cert
    server.close()


async def test_tls_with_a_trusted_certificate(tls: tuple[int, Path]) -> None:
    port, cert = tls
    async with opened(f"rediss://localhost:{port}?ssl_ca_certs={cert}") as connection:
        assert await connection.run_one(Call.of(ECHO, ["k"], ["v"])) == [b"k", b"v"]
        sync = connection.sync()
        assert await asyncio.to_thread(sync.run, [Call.command("PING")]) == [b"PONG"]
        sync.close()


async def test_tls_client_is_read_for_its_certificates(tls: tuple[int, Path]) -> None:
    port, cert = tls
    client = redis.asyncio.Redis(host="localhost", port=port, ssl=True, ssl_ca_certs=str(cert))
    async with client, opened(client) as connection:
        await connection.ping()


@pytest.mark.parametrize("query", ["", "?ssl_ca_certs={cert}&host=127.0.0.1"])
async def test_tls_certificates_are_verified(tls: tuple[int, Path], query: str) -> None:
    port, cert = tls
    # Unknown authority; known authority but another name than the certificate's.
    host = "127.0.0.1" if query else "localhost"
    query = query.format(cert=cert).replace("&host=127.0.0.1", "")
    async with opened(f"rediss://{host}:{port}{query}") as connection:
        error = await unavailable(connection)
        assert not error.sent
        assert "certificate verify failed" in str(error)
        assert ("connect by a name" in str(error), "name the file" in str(error)) == (
            bool(query), not query,
        )  # fmt: skip


async def test_tls_verification_can_be_turned_off(tls: tuple[int, Path]) -> None:
    port, _ = tls
    async with opened(f"rediss://127.0.0.1:{port}?ssl_cert_reqs=none") as connection:
        await connection.ping()


async def test_tls_certificate_that_has_expired_is_not_taken_for_one_of_another_authority(
    tmp_path: Path,
) -> None:
    authority = Authority(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.sign("localhost", days=-1))
    serving = asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=context)
    async with await serving as server:
        port = server.sockets[0].getsockname()[1]
        url = f"rediss://localhost:{port}?ssl_ca_certs={authority.ca}"
        async with opened(url) as connection:
            error = await unavailable(connection)
    assert str(error).endswith("certificate verify failed: certificate has expired")


async def test_tls_spoken_by_one_side_only_is_hinted_at(tls: tuple[int, Path]) -> None:
    port, _ = tls
    async with opened(f"redis://localhost:{port}") as connection:
        error = await unavailable(connection)
        assert not error.sent
        assert "TLS" in str(error)


# ---- the embedded server ----


async def test_embedded_server_is_started_when_first_used_and_let_go_when_closed(
    tmp_path: Path,
) -> None:
    home = tmp_path / "redis"
    connection = Connection.open(f"embedded://{home}")
    assert not home.exists()
    sync = connection.sync()
    waiter = connection.waiter()
    await connection.run_one(Call.command("RPUSH", "k", "v"))
    assert await asyncio.to_thread(sync.run, [Call.command("LLEN", "k")]) == [1]
    assert await waiter.wait("k", 60) is True
    info = (await connection.run_one(Call.command("INFO", "server"))).decode()
    pid = int(info.partition("process_id:")[2].split()[0])
    await waiter.aclose()
    sync.close()
    await connection.aclose()
    await asyncio.to_thread(wait_until_gone, pid)


async def test_embedded_server_that_cannot_start_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASYNCQ_REDIS_SERVER", "/nonexistent/redis-server")
    async with opened(f"embedded://{tmp_path}/redis") as connection:
        error = await unavailable(connection)
        assert not error.sent
        assert "/nonexistent/redis-server" in str(error)


async def test_embedded_server_that_was_killed_is_started_again(tmp_path: Path) -> None:
    async with opened(f"embedded://{tmp_path}/redis") as connection:
        await connection.run_one(Call.command("SET", "k", "v"))
        with pytest.raises(RedisUnavailableError):
            await connection.run_one(Call.command("SHUTDOWN", "SAVE", "FORCE"))
        reply = await sooner_or_later(lambda: connection.run_one(Call.command("GET", "k")))
        assert reply == b"v"
