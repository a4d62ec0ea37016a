"""`wait_replicas=`: an enqueue that returns when replicas have the task, and says so if not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from proxy import Command, CutReply, HoldReply, Notice, Proxy, is_command, runs
from redis_servers import RedisServer, default_variant, program
from redis_topologies import say
from replicated import Replicated, followers, replicated, state_of
from test_connection import until_blocked
from waiting import soon, until

from asyncq import (
    Client,
    DuplicateTaskError,
    EnqueueManyError,
    NotReplicatedError,
    OutcomeUnknownError,
    Replicas,
    SyncClient,
    Task,
    TaskIdConflictError,
    TaskInfo,
    TaskState,
)
from asyncq._broker import scripts
from asyncq._broker.replicas import ReplicaWait
from asyncq.devredis import DevRedisError
from asyncq.doctor import Role, rule

SOON = Replicas(1, timeout=0.1)
PATIENT = Replicas(1, timeout=600)
"""Longer than any test."""


@pytest.fixture(scope="module")
def servers() -> Iterator[Replicated]:
    """A master and a replica that tests may pause, if they let it go on."""
    with replicated() as servers:
        yield servers


@pytest.fixture
def paused(servers: Replicated) -> Iterator[RedisServer]:
    """The replica, which hears nothing until it is resumed."""
    (replica,) = servers.replicas
    replica.pause()
    yield replica
    replica.resume()


@pytest.fixture
async def client(servers: Replicated) -> AsyncIterator[Client]:
    async with Client(servers.url) as client:
        yield client


def count_calls(client: Client) -> list[int]:
    """How many calls each round trip had."""
    trips: list[int] = []
    client._connection.on_call = lambda calls, *_: trips.append(len(calls))
    return trips


# ---- acknowledged by replicas ----


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"process_in": 60},
        {"process_at": datetime(2100, 1, 1, tzinfo=UTC)},
        {"group": "g"},
        {"unique": 60},
        {"retention": 60},
    ],
    ids=lambda options: "".join(options) or "plain",
)
async def test_task_is_on_the_replica_when_enqueue_returns(
    client: Client, servers: Replicated, queue: str, options: Any
) -> None:
    for n in range(10):
        info = await client.enqueue(Task("t", str(n), queue=queue), wait_replicas=1, **options)
        stored = await asyncio.to_thread(state_of, servers.replicas[0], queue, info.id)
        assert stored == info.state


async def test_tasks_are_on_the_replica_when_enqueue_many_returns(
    client: Client, servers: Replicated, queue: str
) -> None:
    tasks = [Task("t", queue=f"{queue}-{n % 3}") for n in range(1200)]
    infos = await client.enqueue_many(tasks, wait_replicas=1)
    (replica,) = servers.replicas
    for info in infos[::100]:
        assert state_of(replica, info.queue, info.id) == "pending"


async def test_client_waits_as_it_was_made_to_unless_the_call_says_otherwise(
    servers: Replicated, paused: RedisServer, queue: str
) -> None:
    async with Client(servers.url, wait_replicas=SOON) as client:
        with pytest.raises(NotReplicatedError):
            await client.enqueue(Task("t", queue=queue))
        with pytest.raises(EnqueueManyError):
            await client.enqueue_many([Task("t", queue=queue)])
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(
                client.enqueue(Task("t", queue=queue), wait_replicas=PATIENT)
            )
            # Another client over the same connections, which waits for nobody.
            await Client(client).enqueue(Task("t", queue=queue))
            await until_blocked(servers.master)
            assert not waiting.done()
            paused.resume()
            assert (await soon(waiting)).state is TaskState.PENDING


async def test_sync_client_waits_for_replicas(
    servers: Replicated, paused: RedisServer, queue: str
) -> None:
    def calls() -> None:
        with SyncClient(servers.url) as client, SyncClient(servers.url, wait_replicas=SOON) as safe:
            with pytest.raises(NotReplicatedError):
                safe.enqueue(Task("t", queue=queue))
            for wait in (SOON, Replicas(2, timeout=0.1)):
                with pytest.raises(NotReplicatedError):
                    client.enqueue(Task("t", queue=queue), wait_replicas=wait)
            (result,) = client.enqueue_many(
                [Task("t", queue=queue)], return_exceptions=True, wait_replicas=SOON
            )
            assert isinstance(result, NotReplicatedError)
            paused.resume()
            client.enqueue(Task("t", queue=queue), wait_replicas=PATIENT)
            client.enqueue_many([Task("t", queue=queue)], wait_replicas=PATIENT)

    await soon(asyncio.to_thread(calls))


# ---- too few ----


async def test_task_that_no_replica_acknowledges_is_told_of_with_its_info(
    client: Client, servers: Replicated, paused: RedisServer, queue: str
) -> None:
    with pytest.raises(NotReplicatedError) as raised:
        await client.enqueue(Task("t", b"p", queue=queue, max_retry=3), wait_replicas=SOON)
    error = raised.value
    assert isinstance(error.info, TaskInfo)
    assert (error.info.payload, error.info.max_retry) == (b"p", 3)
    assert (error.wanted, error.replicas) == (1, 0)
    assert "0 of 1 replicas said within 0.1 s that they have it" in str(error)
    assert "Do not enqueue it again" in str(error)
    assert state_of(servers.master, queue, error.info.id) == "pending"
    paused.resume()
    # It gets there later, as everything does that a replica was away for.
    await client.enqueue(Task("t", queue=queue), wait_replicas=PATIENT)
    assert state_of(paused, queue, error.info.id) == "pending"


async def test_number_of_replicas_that_acknowledged_is_told(queue: str) -> None:
    with replicated(2) as servers:
        async with Client(servers.url) as client:
            both = Replicas(2, timeout=600)
            await client.enqueue(Task("t", queue=queue), wait_replicas=both)
            servers.replicas[0].pause()

            quickly = Replicas(2, timeout=0.2)

            async def one_has_it() -> bool:
                with pytest.raises(NotReplicatedError) as raised:
                    await client.enqueue(Task("t", queue=queue), wait_replicas=quickly)
                assert raised.value.wanted == 2
                return raised.value.replicas == 1

            # On a busy machine the other one is late, too, now and then.
            await until(one_has_it)
            await client.enqueue(Task("t", queue=queue), wait_replicas=PATIENT)
            servers.replicas[0].resume()
            await client.enqueue(Task("t", queue=queue), wait_replicas=both)


async def test_master_without_replicas_has_acknowledged_by_none(redis_url: str, queue: str) -> None:
    async with Client(redis_url) as client:
        with pytest.raises(NotReplicatedError) as raised:
            await client.enqueue(Task("t", queue=queue), wait_replicas=Replicas(1, timeout=0.01))
        assert raised.value.replicas == 0


async def test_item_of_enqueue_many_that_is_not_replicated_has_its_error_in_its_place(
    client: Client, paused: RedisServer, queue: str
) -> None:
    await client.enqueue(Task("t", queue=queue, task_id="taken"))
    await client.enqueue(Task("u", queue=queue, unique=60))
    tasks: list[Any] = [
        Task("t", queue=queue, task_id="0"),
        Task("t", queue=queue, task_id="taken"),
        "no task",
        Task("u", queue=queue, unique=60),
        Task("t", queue=queue, task_id="4"),
    ]
    with pytest.raises(EnqueueManyError) as raised:
        await client.enqueue_many(tasks, wait_replicas=SOON)
    results = raised.value.results
    assert [type(result) for result in results] == [
        NotReplicatedError,
        TaskIdConflictError,
        TypeError,
        DuplicateTaskError,
        NotReplicatedError,
    ]
    assert [r.info.id for r in results if isinstance(r, NotReplicatedError)] == ["0", "4"]
    assert str(raised.value).startswith(
        "3 of 5 tasks were not enqueued, 2 are enqueued, but not on as many replicas as wanted"
    )


async def test_replicas_waited_for_in_vain_are_hardly_waited_for_again_in_the_same_call(
    servers: Replicated, paused: RedisServer, queue: str
) -> None:
    waits: list[Command] = []
    is_wait = is_command("WAIT")

    def note(command: Command) -> bool:
        if is_wait(command):
            waits.append(command)
        return False

    async with Proxy(servers.master.socket) as proxy, Client(proxy.url) as client:
        proxy.plan(Notice(note))
        tasks = [Task("t", queue=queue)] * 2000
        results = await client.enqueue_many(tasks, wait_replicas=SOON, return_exceptions=True)
    assert {type(result) for result in results} == {NotReplicatedError}
    assert "0 of 1 replicas said within 0.1 s" in str(results[0])
    assert "said at once, since an earlier part of the call had waited in vain" in str(results[-1])
    assert [int(command[2]) for command in dict.fromkeys(map(tuple, waits))] == [100, 1]
    assert len(waits) >= 4


# ---- together ----


async def test_calls_that_wait_alike_travel_together(
    client: Client, servers: Replicated, queue: str
) -> None:
    trips = count_calls(client)

    async def enqueue(n: int, wait: Replicas | None) -> TaskInfo:
        return await client.enqueue(Task("t", str(n), queue=queue), wait_replicas=wait)

    waits = [None, PATIENT, Replicas(1, timeout=500)]
    infos = await asyncio.gather(*(enqueue(n, waits[n % 3]) for n in range(300)))
    assert [info.payload for info in infos] == [str(n).encode() for n in range(300)]
    assert len(trips) <= 40
    for info in infos[1::30]:
        assert state_of(servers.replicas[0], queue, info.id) == "pending"
    assert client._producer._patient_lanes == {}


async def test_calls_that_wait_do_not_hold_up_those_that_do_not(
    client: Client, servers: Replicated, paused: RedisServer, queue: str
) -> None:
    waiting = [
        asyncio.create_task(client.enqueue(Task("w", queue=queue), wait_replicas=PATIENT))
        for _ in range(50)
    ]
    await until_blocked(servers.master)
    for _ in range(20):
        await soon(client.enqueue(Task("t", queue=queue)))
    await soon(client.enqueue_many([Task("t", queue=queue)] * 1000))
    assert not any(call.done() for call in waiting)
    paused.resume()
    await soon(asyncio.gather(*waiting))


async def test_caller_who_is_cancelled_leaves_the_others_waiting(
    client: Client, servers: Replicated, paused: RedisServer, queue: str
) -> None:
    calls = [
        asyncio.create_task(client.enqueue(Task("w", queue=queue), wait_replicas=PATIENT))
        for _ in range(30)
    ]
    await until_blocked(servers.master, 2)
    for call in calls[::3]:
        call.cancel()
    paused.resume()
    results = await soon(asyncio.gather(*calls, return_exceptions=True))
    kept = [result for n, result in enumerate(results) if n % 3]
    assert all(isinstance(result, TaskInfo) for result in kept)


# ---- lost replies ----


@pytest.mark.parametrize("options", [{}, {"task_id": "mine"}, {"group": "g"}], ids=str)
async def test_sending_again_after_a_lost_reply_waits_for_what_was_stored_before(
    servers: Replicated, paused: RedisServer, queue: str, options: Any
) -> None:
    """The connection that stored the task is gone; the next one waits for it all the same."""
    async with Proxy(servers.master.socket) as proxy, Client(proxy.url) as client:
        cut = proxy.plan(CutReply(runs(scripts.ENQUEUE), 0.5))
        with pytest.raises(NotReplicatedError) as raised:
            await client.enqueue(Task("t", queue=queue), wait_replicas=SOON, **options)
        assert cut.happened.is_set()
        assert state_of(servers.master, queue, raised.value.info.id) == raised.value.info.state


@pytest.mark.parametrize("lost", ["enqueue", "wait"])
async def test_lost_replies_store_nothing_twice(servers: Replicated, lost: str, queue: str) -> None:
    matches = runs(scripts.ENQUEUE) if lost == "enqueue" else is_command("WAIT")
    ids: list[str] = []
    async with Proxy(servers.master.socket) as proxy, Client(proxy.url) as client:
        for n in range(20):
            cut = proxy.plan(CutReply(matches, n / 20))
            infos = await asyncio.gather(
                *(client.enqueue(Task("t", queue=queue), wait_replicas=1) for _ in range(10)),
                client.enqueue(Task("t", queue=queue, task_id=f"own-{n}"), wait_replicas=1),
            )
            assert cut.happened.is_set()
            ids += [info.id for info in infos]
    for server in (servers.master, *servers.replicas):
        stored = say(server, "LRANGE", f"asynq:{{{queue}}}:pending", 0, -1)
        assert sorted(stored) == sorted(ids)


async def test_found_again_task_keeps_its_fields_and_does_not_expire(
    servers: Replicated, queue: str
) -> None:
    async with Proxy(servers.master.socket) as proxy, Client(proxy.url) as client:
        cut = proxy.plan(CutReply(runs(scripts.ENQUEUE), 0.5))
        info = await client.enqueue(Task("t", b"p", queue=queue), wait_replicas=1)
        assert cut.happened.is_set()
    for server in (servers.master, *servers.replicas):
        key = f"asynq:{{{queue}}}:t:{info.id}"
        assert say(server, "PTTL", key) == -1
        assert sorted(say(server, "HKEYS", key)) == ["msg", "pending_since", "state"]


# ---- a master that stops being one ----


async def test_task_of_a_master_that_is_demoted_while_replicas_are_waited_for_is_in_doubt(
    queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncq._broker.producer._ENQUEUE_PAUSES_S", (0.0, 0.05))
    with replicated() as servers:
        (replica,) = servers.replicas
        async with Client(servers.url) as client:
            await client.enqueue(Task("t", queue=queue))  # the script is known from now on
            two = Replicas(2, timeout=600)
            waiting = asyncio.create_task(client.enqueue(Task("t", queue=queue), wait_replicas=two))
            await until_blocked(servers.master)
            say(replica, "REPLICAOF", "NO", "ONE")
            say(servers.master, "REPLICAOF", "127.0.0.1", replica.port)
            with pytest.raises(OutcomeUnknownError):
                await soon(waiting)


async def test_sending_again_to_what_is_a_replica_by_now_acknowledges_nothing(
    queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the task, and is about to drop what its new master does not have."""
    monkeypatch.setattr("asyncq._broker.producer._ENQUEUE_PAUSES_S", (0.0, 0.05))
    with replicated() as servers:
        (replica,) = servers.replicas
        async with Proxy(servers.master.socket) as proxy, Client(proxy.url) as client:
            held = proxy.plan(HoldReply(runs(scripts.ENQUEUE)))
            call = asyncio.create_task(client.enqueue(Task("t", queue=queue)))
            await soon(held.happened.wait())
            say(replica, "REPLICAOF", "NO", "ONE")
            say(servers.master, "REPLICAOF", "127.0.0.1", replica.port)
            # Not before it has seen its new master, so that it knows itself what it is.
            await until(lambda: followers(replica) == 1)
            proxy.cut_all()
            with pytest.raises(OutcomeUnknownError):
                await soon(call)


A, B = (
    b"# Replication\r\nrole:master\r\nmaster_failover_state:no-failover\r\nmaster_replid:%s\r\n"
    b"master_replid2:%s\r\n" % (id_ * 40, b"0" * 40)
    for id_ in (b"a", b"b")
)
A_REPLICA = A.replace(b"role:master", b"role:slave\r\nmaster_host:127.0.0.1")


@pytest.mark.parametrize(
    ("before", "after"), [(A, B), (A_REPLICA, A), (A, A_REPLICA), (A_REPLICA, A_REPLICA)]
)
@pytest.mark.parametrize("count", [0, 1])
def test_count_of_replicas_in_another_history_counts_for_nothing(
    before: bytes, after: bytes, count: int
) -> None:
    shortfall = ReplicaWait(1, 1000).shortfall([before, count, after])
    assert shortfall is not None
    assert shortfall.replaced


def test_master_that_does_not_tell_its_history_acknowledges_nothing_and_why_is_said() -> None:
    shortfall = ReplicaWait(1, 1000).shortfall([b"role:master\r\n", 1, b"role:master\r\n"])
    assert shortfall is not None
    assert not shortfall.replaced
    assert "master_replid" in shortfall.reason


def test_count_of_replicas_in_one_history_counts() -> None:
    assert ReplicaWait(1, 1000).shortfall([A, 1, A]) is None
    shortfall = ReplicaWait(2, 1000).shortfall([A, 1, A])
    assert shortfall is not None
    assert not shortfall.replaced


# ---- refused ----


def make_user(server: RedisServer, *, without: str = "") -> str:
    """A producer with all its rights but one; the URL for it."""
    words = [word for word in rule(Role.PRODUCER, user="u") if word != f"+{without}"]
    say(server, "ACL", "SETUSER", *(">p" if word == ">PASSWORD" else word for word in words))
    return server.url.replace("//", "//u:p@")


async def test_rights_of_a_producer_are_enough_to_wait(servers: Replicated, queue: str) -> None:
    async with Client(make_user(servers.master)) as client:
        await client.enqueue(Task("t", queue=queue), wait_replicas=1)


@pytest.mark.parametrize("right", ["wait", "info"])
async def test_user_who_may_not_wait_is_told_which_right_he_needs(
    servers: Replicated, queue: str, right: str
) -> None:
    async with Client(make_user(servers.master, without=right)) as client:
        with pytest.raises(NotReplicatedError, match=rf"\+{right}\b") as raised:
            await client.enqueue(Task("t", queue=queue), wait_replicas=1)
        results = await client.enqueue_many(
            [Task("t", queue=queue)] * 3, wait_replicas=1, return_exceptions=True
        )
    assert [type(result) for result in results] == [NotReplicatedError] * 3
    assert state_of(servers.master, queue, raised.value.info.id) == "pending"


# ---- on disk ----


def knows_waitaof(variant: str) -> bool:
    try:
        return program(variant).version >= (7, 2)
    except DevRedisError:
        return False


async def test_on_disk_means_the_disks_of_master_and_replica(queue: str) -> None:
    if not knows_waitaof(default_variant()):
        pytest.skip("this server has no WAITAOF")
    on_disk = Replicas(1, timeout=600, on_disk=True)
    with replicated(persistent=True, args=["--appendfsync", "always"]) as servers:
        async with Client(servers.url) as client:
            info = await client.enqueue(Task("t", queue=queue), wait_replicas=on_disk)
            (replica,) = servers.replicas
            replica.restart(kill=True)
            assert state_of(replica, queue, info.id) == "pending"
            servers.master.restart(kill=True)
            assert state_of(servers.master, queue, info.id) == "pending"


async def test_on_disk_without_a_file_to_write_to_is_refused_with_the_reason(
    client: Client, servers: Replicated, queue: str
) -> None:
    if not knows_waitaof(default_variant()):
        pytest.skip("this server has no WAITAOF")
    with pytest.raises(NotReplicatedError, match="appendonly no") as raised:
        await client.enqueue(Task("t", queue=queue), wait_replicas=Replicas(1, on_disk=True))
    assert state_of(servers.master, queue, raised.value.info.id) == "pending"


async def test_on_disk_of_a_server_that_cannot_say_so_is_refused_with_the_reason(
    start_redis: Callable[..., RedisServer], queue: str
) -> None:
    """A server without WAITAOF, be it because it is old or because it was taken away."""
    taken = ["--rename-command", "WAITAOF", ""] if knows_waitaof(default_variant()) else []
    server = start_redis(tcp=True, args=taken)
    async with Client(server.url) as client:
        with pytest.raises(NotReplicatedError, match=r"no WAITAOF, which came with Redis 7\.2"):
            await client.enqueue(Task("t", queue=queue), wait_replicas=Replicas(1, on_disk=True))


# ---- what it takes ----


@pytest.mark.parametrize(
    ("wanted", "kind", "says"),
    [
        (0, ValueError, r"1 to 1000 replicas, got 0; leave it out"),
        (-1, ValueError, "got -1"),
        (1001, ValueError, "got 1001"),
        (True, TypeError, "a number of replicas, got True"),
        (1.5, TypeError, r"got 1\.5"),
        ("1", TypeError, "got '1'"),
    ],
)
async def test_wrong_number_of_replicas_is_refused_before_anything_is_sent(
    wanted: Any, kind: type[Exception], says: str, client: Client, queue: str
) -> None:
    trips = count_calls(client)
    with pytest.raises(kind, match=f"wait_replicas= takes .*{says}"):
        await client.enqueue(Task("t", queue=queue), wait_replicas=wanted)
    with pytest.raises(kind, match=says):
        await client.enqueue_many([Task("t", queue=queue)], wait_replicas=wanted)
    for make in (Client, SyncClient):
        with pytest.raises(kind, match=says):
            make("redis://h", wait_replicas=wanted)
    with pytest.raises(kind, match=says):
        Replicas(wanted)
    assert trips == []


@pytest.mark.parametrize(
    ("options", "kind", "says"),
    [
        ({"timeout": 0}, ValueError, r"takes 0\.001 s to an hour, got 0"),
        ({"timeout": timedelta(hours=2)}, ValueError, "to an hour, got"),
        ({"timeout": "1"}, TypeError, "timeout= takes a timedelta or a number of seconds"),
        ({"on_disk": 1}, TypeError, "on_disk= takes True or False, got 1"),
    ],
)
def test_wrong_setting_of_replicas_is_refused(
    options: Any, kind: type[Exception], says: str
) -> None:
    with pytest.raises(kind, match=says):
        Replicas(1, **options)


def test_a_second_is_waited_unless_something_else_is_said() -> None:
    waits: Sequence[Replicas] = [
        Replicas(1),
        Replicas(1, on_disk=True),
        Replicas(1, timeout=timedelta(minutes=1)),
    ]
    assert [wait.timeout_s for wait in waits] == [1, 5, 60]


async def test_plain_enqueue_says_nothing_to_replicas(servers: Replicated, queue: str) -> None:
    said: list[Command] = []

    def note(command: Command) -> bool:
        said.append(command)
        return False

    async with Proxy(servers.master.socket) as proxy, Client(proxy.url) as client:
        proxy.plan(Notice(note))
        await client.enqueue(Task("t", queue=queue))
        await client.enqueue_many([Task("t", queue=queue)] * 10)
    assert {command[0] for command in said} & {b"WAIT", b"WAITAOF"} == set()
