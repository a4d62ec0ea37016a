"""Every command on every kind of Redis, by a user with no more rights than `asyncq doctor --acl`
prints for its role: a cluster, a master with its sentinel, TLS with a private authority."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from authority import Authority
from commands import Command
from operating import Said, call, operate, operated
from redis_servers import RedisServer, default_variant, free_port, program
from redis_topologies import redis_cluster, redis_with_sentinel, say
from scraping import get, labels, samples
from serving import Sleeper, fast
from waiting import until

from asyncq import (
    Client,
    Inspector,
    Scheduler,
    Server,
    ServerConfig,
    Task,
    TaskNotFoundError,
    TaskState,
)
from asyncq.dash.keys import Place as Page
from asyncq.dash.reader import Reader
from asyncq.dash.snapshot import Request
from asyncq.devredis import DevRedisError
from asyncq.doctor import Role, rule
from asyncq.metrics import QueueMetrics

KINDS = ("cluster", "sentinel", "tls")


@dataclass(frozen=True)
class Place:
    """A Redis of some kind."""

    url: str
    """For somebody who may do everything."""

    def url_for(self, role: str) -> str:
        """For a user with the rights of a role."""
        if self.url.startswith("redis-sentinel"):  # what is before the @ is for the sentinels
            return f"{self.url}?username={role}&password=p"
        return self.url.replace("//", f"//{role}:p@", 1)


class Places:
    """Each kind, started when first asked for."""

    def __init__(self, stack: ExitStack, directory: Path) -> None:
        self._stack = stack
        self._started: dict[str, Place] = {}
        self._directory = directory

    def __getitem__(self, kind: str) -> Place:
        if kind not in self._started:
            self._started[kind] = Place(self._start(kind))
        return self._started[kind]

    def _start(self, kind: str) -> str:
        if kind == "tls":
            return self._with_tls()
        if kind == "sentinel":
            both = self._stack.enter_context(redis_with_sentinel(default_variant()))
            make_users(*both.servers)
            return both.url
        cluster = self._stack.enter_context(redis_cluster(default_variant()))
        make_users(*cluster.nodes)
        return cluster.url

    def _with_tls(self) -> str:
        try:
            program("redis")
        except DevRedisError as error:
            pytest.skip(f"the embedded server has no TLS, and there is no other: {error}")
        authority = Authority(self._directory)
        (cert, key), port = authority.sign("localhost"), free_port()
        settings = {"port": port, "cert-file": cert, "key-file": key, "auth-clients": "no"}
        args = [arg for name, value in settings.items() for arg in (f"--tls-{name}", str(value))]
        args += ["--tls-ca-cert-file", str(authority.ca)]
        make_users(self._stack.enter_context(RedisServer("redis", args=args)))
        return f"rediss://localhost:{port}?ssl_ca_certs={authority.ca}"


def make_users(*servers: RedisServer, queues: Sequence[str] = ()) -> None:
    """A user for each role, named like it, with all of its rights or those for some queues."""
    for server, role in product(servers, Role):
        words = rule(role, queues, user=role.value)
        say(server, "ACL", "SETUSER", *(">p" if word == ">PASSWORD" else word for word in words))


@pytest.fixture(scope="session")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    with ExitStack() as stack:
        yield Places(stack, tmp_path_factory.mktemp("everywhere"))


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, places: Places) -> Place:
    return places[request.param]


# What each command does


@dataclass(frozen=True)
class Case:
    """A command, what it finds, and what comes of it. `{q}` is the test's own queue."""

    command: str
    pick: Callable[[Any], Any]
    """What to compare, of its JSON."""
    expected: Any
    state: str = "pending"
    """Where the tasks `a` and `b` of the queue are before."""
    after: str = ""
    """Where `a` is afterwards; nothing: where it was."""
    role: str = "inspector"


def fields(*names: str) -> Callable[[Any], Any]:
    return lambda said: [said[name] for name in names]


def each(*names: str) -> Callable[[Any], Any]:
    return lambda said: [[item[name] for name in names] for item in said]


def of_queue(*names: str) -> Callable[[Any], Any]:
    return lambda queue: [queue[name] for name in names]


def is_list(said: Any) -> Any:
    return isinstance(said, list)


CASES = [
    Case("queue ls", of_queue("pending", "size", "paused"), [2, 2, False]),
    Case("queue ls --names", lambda said: "{q}" in said, True),
    Case("queue inspect {q}", lambda said: [n["kind"] for n in said[0]["notes"]], ["no_server"]),
    Case("queue history {q} -x 2", lambda said: [len(item["days"]) for item in said], [2]),
    Case("queue pause {q}", each("changed", "error"), [[True, None]]),
    Case("queue resume {q}", each("changed", "error"), [[False, None]]),
    Case("queue rm {q} --force --yes", each("changed", "error"), [[True, None]], after="gone"),
    Case("stats", lambda said: said["redis"][0]["values"]["loading"], "0"),
    Case("task ls -q {q} -s pending", each("id", "payload"), [["a", '{"n":1}'], ["b", '{"n":2}']]),
    Case("task ls -q {q} -s archived --all", each("id"), [["a"], ["b"]], state="archived"),
    Case("task ls -q {q} -s pending --payload-contains 2", each("id"), [["b"]]),
    Case("task ls -q {q} -s aggregating -g g", each("id"), [["a"], ["b"]], state="aggregating"),
    Case("task inspect a -q {q}", each("payload", "state"), [['{"n":1}', "pending"]]),
    Case("task enqueue -t t -q {q} --id c", fields("id", "state"), ["c", "pending"],
         role="producer"),
    Case("task enqueue -t t -q {q} --process-in 1h", fields("state"), ["scheduled"]),
    Case("task run a -q {q}", each("id", "error"), [["a", None]], state="scheduled",
         after="pending"),
    Case("task archive a -q {q}", each("id", "error"), [["a", None]], after="archived"),
    Case("task delete a -q {q} --yes", each("id", "error"), [["a", None]], after="gone"),
    Case("task edit a -q {q} --payload x", each("id", "error"), [["a", None]], state="scheduled"),
    Case("task cancel a", each("requested", "seen"), [[True, False]]),
    Case("task runall -q {q} -s archived", fields("count"), [2], state="archived",
         after="pending"),
    Case("task runall -q {q} -s aggregating -g g", fields("count"), [2], state="aggregating",
         after="pending"),
    Case("task archiveall -q {q} -s pending", fields("count"), [2], after="archived"),
    Case("task archiveall -q {q} -s pending --dry-run", fields("count", "dry_run"), [2, True]),
    Case("task deleteall -q {q} -s scheduled --yes", fields("count"), [2], state="scheduled",
         after="gone"),
    Case("task deleteall -q {q} -s pending --payload-contains 1 --yes", fields("count"), [1],
         after="gone"),
    Case("group ls -q {q}", each("group", "size"), [["g", 2]], state="aggregating"),
    Case("server ls", is_list, True),
    Case("server ls --workers", is_list, True),
    Case("cron ls", is_list, True),
]  # fmt: skip


async def put(client: Client, inspector: Inspector, queue: str, state: str) -> None:
    """Two tasks in a state, written by the library: one that goes by keys cannot in a cluster."""
    options: Any = {"scheduled": {"process_in": 3600}, "aggregating": {"group": "g"}}
    for n, name in enumerate("ab", 1):
        task = Task("t", {"n": n}, task_id=name, queue=queue, **options.get(state, {}))
        await client.enqueue(task)
        if state == "archived":
            await inspector.archive_task(queue, name)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.command)
async def test_command_does_its_work(place: Place, queue: str, case: Case) -> None:
    async with Client(place.url) as client, Inspector(client) as inspector:
        await put(client, inspector, queue, case.state)
        words = [word.replace("{q}", queue) for word in case.command.split()]
        said = (await operated(place.url_for(case.role), *words, "--json")).json
        if words == ["queue", "ls"]:
            (said,) = [item for item in said if item["queue"] == queue]
            assert ("cluster_nodes" in said) == ("cluster" in place.url)
        if words == ["queue", "ls", "--names"]:
            said = ["{q}" if name == queue else name for name in said]
        assert case.pick(said) == case.expected
        assert await state_of_a(inspector, queue) == (case.after or case.state)


async def state_of_a(inspector: Inspector, queue: str) -> str:
    try:
        return (await inspector.task_info(queue, "a")).state.value
    except TaskNotFoundError:
        return "gone"


async def test_stats_show_each_server_that_has_tasks(place: Place) -> None:
    said = (await operated(place.url_for("inspector"), "stats", "--json")).json
    wheres = {redis["where"] for redis in said["redis"]}
    assert len(wheres) == (3 if "cluster" in place.url else 1)


async def test_doctor_looks_at_every_key(place: Place, queue: str) -> None:
    async with Client(place.url) as client, Inspector(client) as inspector:
        await put(client, inspector, queue, "pending")
    said = await operate(place.url_for("doctor"), "doctor", "--json")
    assert (said.status in (0, 3), said.err) == (True, "")  # these servers keep nothing on disk
    assert said.json["keys"] >= 4
    (found,) = [finding for finding in said.json["findings"] if finding["where"] == queue]
    assert found["what"] == "Tasks wait, and no worker is on this queue."


async def test_task_is_found_without_its_queue(place: Place, queue: str) -> None:
    async with Client(place.url) as client:
        await client.enqueue(Task("t", task_id=queue), queue=queue)
    (said,) = (await operated(place.url_for("inspector"), "task", "inspect", queue, "--json")).json
    assert said["queue"] == queue


# What runs


async def test_what_runs_is_seen_and_stopped(place: Place, queue: str, tmp_path: Path) -> None:
    async def said(*words: str) -> Any:
        return (await operated(place.url_for("inspector"), *words, "--json")).json

    async def ours() -> Any:
        return [w for w in await said("server", "ls", "--workers") if w["queue"] == queue]

    sleeper, config = Sleeper(), ServerConfig(queues={queue: 1})
    await operated(place.url_for("producer"), "task", "enqueue", "-t", "t", "-q", queue,
                   "--id", queue)  # fmt: skip
    async with Server(place.url_for("worker"), sleeper, config, _timing=fast()):
        (runs,) = await until(ours, "it is shown", every_s=0.1)
        assert (runs["task_id"], runs["task_type"]) == (queue, "t")
        (listed,) = await said("task", "ls", "-q", queue, "-s", "active")
        assert listed["worker"]["pid"] == runs["pid"]
        (cancelled,) = await said("task", "cancel", "--archive", queue)
        assert (cancelled["queue"], cancelled["error"]) == (queue, None)
        assert sleeper.cancelled.is_set()
        (server,) = [s for s in await said("server", "ls") if queue in s["queues"]]
        assert server["status"] == "active"


async def test_schedule_and_its_history_are_shown(place: Place, queue: str) -> None:
    async def events() -> Any:
        said = await operate(place.url_for("inspector"), "cron", "history", queue, "--json")
        return said.status == 0 and said.json[0]["events"]

    scheduler = Scheduler(place.url_for("scheduler"))
    scheduler.register("@every 1s", Task("t"), name=queue, queue=queue)
    async with scheduler:
        assert await until(events, "something was enqueued", every_s=0.1)
        said = await operated(place.url_for("inspector"), "cron", "ls", "--json")
        assert [e["spec"] for e in said.json if e["name"] == queue] == ["@every 1s"]


async def test_metrics_show_the_queues(place: Place, queue: str, tmp_path: Path) -> None:
    async with Client(place.url) as client:
        await client.enqueue(Task("t"), queue=queue)
    flags = ("--port", "127.0.0.1:0", "--redis", place.url_for("inspector"))
    with Command("metrics", *flags, cwd=tmp_path) as metrics:
        port = int(metrics.wait_for(r"/metrics.* at \S*?(\d+)$")[1])
        page = await get(port, "/metrics")
        assert page.status == 200, metrics.output
        assert samples(page.body, "asynq_queue_size")[labels(queue=queue)] == 1
        metrics.send(signal.SIGTERM)
        assert metrics.exit_status() == 0, metrics.output


# The dashboard


async def test_dashboard_reads_every_page(place: Place, queue: str) -> None:
    async with (
        Client(place.url) as client,
        Inspector(client) as inspector,
        Inspector(place.url_for("inspector")) as looking,
    ):
        await put(client, inspector, queue, "pending")
        reader = Reader(looking)
        pages = Page.QUEUES, Page.TASKS, Page.SERVERS, Page.SCHEDULERS, Page.REDIS
        queues, tasks, servers, schedulers, redis = [
            await reader.read(
                Request(number=1, place=page, queue=queue, state=TaskState.PENDING, size=9)
            )
            for page in pages
        ]
        assert queue in [info.queue for info in queues.queues or ()]
        assert [task.id for task in tasks.tasks or ()] == ["a", "b"]
        assert servers.servers is not None
        assert schedulers.entries is not None
        assert redis.redis is not None
        assert len(redis.redis) == (3 if "cluster" in place.url else 1)
        assert (redis.places is not None) == ("cluster" in place.url)


async def test_dashboard_tells_where_the_queues_of_a_cluster_are(
    places: Places, queue: str
) -> None:
    url = places["cluster"].url_for("inspector")
    async with Inspector(url) as inspector:
        seen = await Reader(inspector).read(Request(number=1, place=Page.REDIS))
        assert seen.places is not None
        assert seen.places.queues >= len(seen.places.found)
        for place in seen.places.found:
            assert place.slot == await inspector.cluster_key_slot(place.queue)
            assert place.nodes[0] in {info.where for info in seen.redis or ()}


# What is refused


@pytest.mark.parametrize(
    ("role", "command", "words"),
    [
        ("producer", "queue ls", "'smembers' command; asyncq doctor --acl inspector prints the"),
        ("producer", "stats", "--acl inspector prints the rights that it takes"),
        ("scheduler", "server ls", "--acl inspector prints the rights that it takes"),
        ("scheduler", "task cancel x", "--acl inspector prints the rights that it takes"),
        ("inspector", "doctor", "--acl doctor prints the rights that it takes"),
    ],
)
async def test_what_a_user_may_not_do_is_refused_with_the_role_that_may(
    place: Place, role: str, command: str, words: str
) -> None:
    said = await operate(place.url_for(role), *command.split())
    assert (said.status, said.out, said.err.count("\n")) == (1, "", 1)
    assert words in said.err


async def test_user_of_some_queues_sees_those(start_redis: Callable[..., RedisServer]) -> None:
    server = start_redis(tcp=True)
    make_users(server, queues=["mine"])
    async with Client(server.url) as client:
        for name in ("mine", "other"):
            await client.enqueue(Task("t", task_id=name, queue=name))
    url = server.url.replace("//", "//inspector:p@")
    left_out = "without 'other': this user of Redis has no rights to look there\n"

    def names(said: Said) -> list[str]:
        found = said.json
        queues = found if isinstance(found, list) else found["queues"]
        return [item["queue"] for item in queues]

    for command in ("queue ls", "stats"):
        said = await operate(url, *command.split(), "--json")
        assert (said.status, said.err, names(said)) == (0, f"note: {left_out}", ["mine"])
    said = await operated(url, "stats")
    assert left_out in said.out
    said = await operate(url, "task", "enqueue", "-t", "t", "-q", "other")
    assert (said.status, said.out) == (1, "")
    assert "NOPERM" in said.err
    assert "asyncq doctor --acl producer prints the rights that it takes" in said.err
    said = await operated(url, "task", "inspect", "mine")
    assert "Queue:\tmine\n" in said.out
    said = await operate(url, "task", "inspect", "other")
    assert "in the 1 of 2 queues that this user of Redis may look at" in said.err
    metrics = QueueMetrics(url)
    seen = {sample.labels["queue"] for family in await asyncio.to_thread(list, metrics.collect())
            for sample in family.samples if "queue" in sample.labels}  # fmt: skip
    metrics.close()
    assert seen == {"mine"}
    async with Inspector(url) as inspector:
        page = await Reader(inspector).read(Request(number=1, place=Page.QUEUES))
        assert ([info.queue for info in page.queues or ()], page.forbidden) == (["mine"], 1)
    said = await operate(url, "queue", "pause", "other", "mine", "--json")
    assert [bool(item["error"]) for item in said.json] == [False, True]
    assert (said.status, "'other' is not for this user of Redis: NOPERM" in said.err) == (1, True)


# TLS


def tls_flags(place: Place) -> tuple[str, ...]:
    """As asynq's command line has it."""
    return "--tls", "--uri", place.url.removeprefix("rediss://").partition("?")[0]


def ca_of(place: Place) -> str:
    return place.url.partition("ssl_ca_certs=")[2]


def test_tls_by_flags_trusts_the_authorities_of_the_system(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = places["tls"]
    said = call("queue", "ls", "--json", *tls_flags(place))
    assert (said.status, said.err.count("\n")) == (69, 1)
    assert "certificate verify failed" in said.err
    assert "?ssl_ca_certs=" in said.err
    monkeypatch.setenv("SSL_CERT_FILE", ca_of(place))
    assert call("queue", "ls", "--json", *tls_flags(place)).status == 0
    monkeypatch.delenv("SSL_CERT_FILE")
    assert call("queue", "ls", "--json", *tls_flags(place), "--insecure").status == 0


@pytest.mark.parametrize("command", ["stats", "doctor", "task enqueue -t t"])
@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        ("another authority", "(name the file of the authority that signed it: ?ssl_ca_certs="),
        ("another host", "not valid for '127.0.0.1' (connect by a name that the certificate has)"),
    ],
)
async def test_certificate_that_cannot_be_trusted_ends_a_command_at_once_with_one_line(
    places: Places, tmp_path: Path, command: str, mistake: str, words: str
) -> None:
    url = places["tls"].url
    if mistake == "another host":
        url = url.replace("localhost", "127.0.0.1")
    else:
        url = url.replace(ca_of(places["tls"]), str(Authority(tmp_path).ca))
    said = await operate(url, *command.split(), "--connect-timeout", "100")
    assert (said.status, said.out, said.err.count("\n")) == (69, "", 1)
    assert words in said.err


async def test_missing_file_of_the_authority_is_named(places: Places) -> None:
    url = places["tls"].url.replace(ca_of(places["tls"]), "/none.pem")
    said = await operate(url, "stats", "--connect-timeout", "0")
    assert (said.status, said.err.count("\n")) == (69, 1)
    assert "(ssl_ca_certs=/none.pem)" in said.err


def test_url_of_every_kind_may_stand_in_the_environment(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASYNCQ_REDIS_URL", place.url_for("inspector"))
    said = call("queue", "ls", "--json")
    assert (said.status, json.loads(said.out) is not None) == (0, True)
