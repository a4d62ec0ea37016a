"""`asyncq metrics`, and what `asyncq worker --metrics-port` answers, alone and with processes."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from commands import Command
from redis_servers import RedisServer
from scraping import Answer, get, labels, samples
from waiting import until

from asyncq import Client, Task
from asyncq.cli.failure import CommandError
from asyncq.cli.main import app
from asyncq.cli.monitoring import Address, Gathered, check_installed, gathering
from asyncq.statistics import ATTEMPTS, BUSY, ENDED, PROCESSES, Snapshot

TASKS = """
import os, time
from pathlib import Path
from asyncq import ServeMux, Server, Task

mux = ServeMux()

@mux.handle("say")
async def say(task: Task) -> None:
    print("said", task.payload.decode(), "in", os.getpid(), flush=True)

@mux.handle("block")
async def block(task: Task) -> None:
    while not Path("release").exists():
        time.sleep(0.02)

def with_metrics_of_its_own() -> Server:
    from asyncq import ServerConfig
    from asyncq.metrics import WorkerMetrics
    from prometheus_client import CollectorRegistry, Gauge
    registry = CollectorRegistry()
    Gauge("mine", "Of the program.", registry=registry).set(7)
    return Server(None, mux, ServerConfig(statistics=WorkerMetrics(registry)))
"""

Start = Callable[..., Command]


@pytest.fixture
def start(tmp_path: Path, redis_url: str, queue: str) -> Iterator[Start]:
    """Starts `asyncq worker tasks:mux` on the test's own queue, with a port for metrics."""
    (tmp_path / "tasks.py").write_text(TASKS)
    with ExitStack() as stack:

        def start(*args: str, target: str = "tasks:mux", port: str = "127.0.0.1:0") -> Command:
            flags = ["-r", redis_url, "-q", queue, "--metrics-port", port]
            return stack.enter_context(Command("worker", target, *flags, *args, cwd=tmp_path))

        yield start
        (tmp_path / "release").touch()


def port_of(command: Command) -> int:
    return int(command.wait_for(r"/metrics.* at \S*?(\d+)$")[1])


async def answers(port: int, path: str, status: int, words: str) -> Answer:
    """Wait for such an answer."""
    found = Answer(0, "")

    async def as_wanted() -> bool:
        nonlocal found
        found = await get(port, path)
        return found.status == status and words in found.body

    await until(as_wanted, lambda: found, every_s=0.05)
    return found


async def succeeded(port: int, queue: str, count: int) -> str:
    """Wait until so many tasks are counted; the whole page."""
    wanted = {labels(queue=queue, type="say", outcome="succeeded"): count}
    text = ""

    async def counted() -> bool:
        nonlocal text
        text = (await get(port, "/metrics")).body
        return samples(text, "asyncq_worker_attempts_total") == wanted

    await until(counted, lambda: text, every_s=0.05)
    return text


async def say(url: str, queue: str, count: int) -> None:
    async with Client(url) as client:
        await client.enqueue_many([Task("say", str(n)) for n in range(count)], queue=queue)


# One process


async def test_a_worker_shows_its_metrics_and_health(
    start: Start, redis_url: str, queue: str
) -> None:
    worker = start("-c", "7")
    port = port_of(worker)
    await answers(port, "/readyz", 200, "ok")
    assert await get(port, "/healthz") == (200, "ok\n")
    await say(redis_url, queue, 5)
    text = await succeeded(port, queue, 5)
    assert samples(text, "asyncq_worker_concurrency") == {frozenset(): 7}
    assert samples(text, "asyncq_worker_processes") == {frozenset(): 1}
    assert "python_info" in text  # the default registry, and with it the program's own
    worker.send(signal.SIGTSTP)
    await answers(port, "/readyz", 503, "it takes no new tasks")
    assert (await get(port, "/healthz")).status == 200
    worker.send(signal.SIGTERM)
    assert worker.exit_status() == 0


async def test_pages_are_answered_while_a_handler_blocks_the_event_loop(
    start: Start, tmp_path: Path, redis_url: str, queue: str
) -> None:
    worker = start("--shutdown-timeout", "600")
    port = port_of(worker)
    await answers(port, "/readyz", 200, "ok")
    async with Client(redis_url) as client:
        await client.enqueue(Task("block"), queue=queue)
    await answers(port, "/healthz", 503, "the event loop has been blocked for")
    assert (await get(port, "/readyz")).status == 503
    assert (await get(port, "/metrics")).status == 200
    (tmp_path / "release").touch()
    await answers(port, "/healthz", 200, "ok")
    await answers(port, "/readyz", 200, "ok")


async def test_a_server_with_metrics_of_its_own_shows_its_registry(
    start: Start, redis_url: str, queue: str
) -> None:
    worker = start(target="tasks:with_metrics_of_its_own")
    port = port_of(worker)
    await answers(port, "/readyz", 200, "ok")
    await say(redis_url, queue, 3)
    text = await succeeded(port, queue, 3)
    assert samples(text, "mine") == {frozenset(): 7}


async def test_a_worker_that_waits_for_redis_is_alive_but_not_ready(
    start: Start, tmp_path: Path
) -> None:
    worker = start("-r", f"unix://{tmp_path}/nobody.sock", "--connect-timeout", "600")
    port = port_of(worker)
    assert await get(port, "/healthz") == (200, "ok\n")
    assert await get(port, "/readyz") == (503, "it is starting\n")


# Several


async def test_processes_share_a_port_and_add_up_and_the_dead_are_not_forgotten(
    start: Start, redis_url: str, queue: str
) -> None:
    workers = start("-p", "2", "-c", "5")
    port = port_of(workers)
    first, second = (
        int(workers.wait_for(rf"started process {number} \(pid (\d+)\)")[1]) for number in (1, 2)
    )
    await processes(port, 2)
    await say(redis_url, queue, 40)
    text = await succeeded(port, queue, 40)
    assert samples(text, "asyncq_worker_concurrency") == {frozenset(): 10}
    assert samples(text, "asyncq_worker_ready") == {frozenset(): 2}
    for pid in (first, second):
        os.kill(pid, signal.SIGKILL)
    workers.wait_for(r"started process 1 \(pid \d+\)", times=2)
    workers.wait_for(r"started process 2 \(pid \d+\)", times=2)
    text = await processes(port, 2, ended=2)
    assert samples(text, "asyncq_worker_concurrency") == {frozenset(): 10}
    await succeeded(port, queue, 40)
    await say(redis_url, queue, 20)
    await succeeded(port, queue, 60)
    assert await get(port, "/healthz") == (200, "ok\n")
    workers.send(signal.SIGTERM)
    assert workers.exit_status() == 0


async def processes(port: int, ready: int, *, ended: int = 0) -> str:
    """Wait until so many processes take tasks, and so many are gone; the whole page."""
    wanted = {"processes": ready, "ready": ready, "processes_ended_total": ended}
    text = ""

    async def at_work() -> bool:
        nonlocal text
        text = (await get(port, "/metrics")).body
        return all(
            samples(text, f"asyncq_worker_{name}").get(frozenset(), 0) == count
            for name, count in wanted.items()
        )

    await until(at_work, lambda: text, every_s=0.05)
    return text


async def test_readiness_of_several_names_each_one_that_is_not(start: Start) -> None:
    workers = start("-p", "2")
    port = port_of(workers)
    await processes(port, 2)
    assert await get(port, "/readyz") == (200, "ok\n")
    workers.send(signal.SIGTSTP)
    found = await answers(port, "/readyz", 503, "takes no new tasks")
    assert [line.split(" (")[0] for line in found.body.splitlines()] == ["process 1", "process 2"]
    assert (await get(port, "/healthz")).status == 200


async def test_what_a_process_counted_last_is_not_lost_when_it_leaves_in_order(
    start: Start, redis_url: str, queue: str
) -> None:
    workers = start("-p", "2", "--max-tasks-per-process", "10")
    port = port_of(workers)
    await processes(port, 2)
    await say(redis_url, queue, 50)
    await succeeded(port, queue, 50)


# What is wrong


@pytest.mark.parametrize("processes", ["1", "2"])
async def test_a_port_that_is_taken_ends_the_worker_with_a_line(
    start: Start, processes: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        worker = start("-p", processes, port=f"127.0.0.1:{port}")
        assert worker.exit_status() == 1
    line = worker.wait_for("error: ").string
    assert line == f"error: cannot listen on 127.0.0.1:{port} for metrics: Address already in use"
    assert "Traceback" not in worker.output


def test_a_port_that_is_none_is_a_wrong_flag(start: Start) -> None:
    worker = start(port="http")
    assert worker.exit_status() == 2
    assert "a port is a number from 0 to 65535, got 'http'" in worker.output


@pytest.mark.parametrize(
    ("text", "address", "shown"),
    [
        ("9100", ("", 9100), "port 9100"),
        ("127.0.0.1:9100", ("127.0.0.1", 9100), "127.0.0.1:9100"),
        ("localhost:0", ("localhost", 0), "localhost:0"),
        ("[::1]:9100", ("::1", 9100), "[::1]:9100"),
    ],
)
def test_an_address_is_a_port_with_or_without_a_host(
    text: str, address: tuple[str, int], shown: str
) -> None:
    assert Address.parse(text) == address
    assert str(Address.parse(text)) == shown


@pytest.mark.parametrize(
    "text", ["", "x", "65536", "-1", "localhost", "1.5", "\N{SUPERSCRIPT TWO}"]
)
def test_an_address_without_a_port_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="a port is a number"):
        Address.parse(text)


def test_variable_that_kubernetes_sets_for_a_service_is_explained() -> None:
    with pytest.raises(ValueError, match="enableServiceLinks: false"):
        Address.parse("tcp://10.96.0.17:9100")


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CommandError, match=r'pip install "asyncq\[metrics\]"'):
        check_installed()


def test_worker_with_a_metrics_port_says_what_is_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CommandError, match="pip install"):
        app(["worker", "tasks:mux", "--metrics-port", "9100"])


def test_without_a_directory_for_its_socket_it_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with (
        pytest.raises(CommandError, match="make /tmp writable, or name another"),
        gathering(Address("127.0.0.1", 0)),
    ):
        pass


# What the supervisor makes of reports


def report(process: str, *, count: int = 0, alive: str = "", ready: str = "") -> bytes:
    import json

    attempts = [[["q", "t", "succeeded"], count]]
    snapshot = {ATTEMPTS.name: attempts, BUSY.name: [[[], 1]], PROCESSES.name: [[[], 1]]}
    told = {"process": process, "alive": alive, "ready": ready, "snapshot": snapshot}
    return json.dumps(told).encode()


def value(snapshot: Snapshot, name: str) -> object:
    (found,) = [value for _, value in snapshot.get(name, [((), 0)])]
    return found


def test_a_process_that_is_gone_leaves_its_counts_but_nothing_of_the_moment() -> None:
    gathered = Gathered()
    for line, count in enumerate((3, 4)):
        gathered.heard(line, report(f"process {line}", count=count))
    gathered.heard(0, report("process 0", count=5))
    assert value(gathered.snapshot(), ATTEMPTS.name) == 9
    gathered.gone(0)
    assert value(gathered.snapshot(), ATTEMPTS.name) == 9
    assert value(gathered.snapshot(), BUSY.name) == 1
    assert value(gathered.snapshot(), ENDED.name) == 1
    gathered.gone(1)
    assert value(gathered.snapshot(), ATTEMPTS.name) == 9
    assert value(gathered.snapshot(), PROCESSES.name) == 0


def test_one_process_that_is_well_is_enough() -> None:
    gathered = Gathered()
    assert (gathered.alive(), gathered.ready()) == ("", "no worker process has started")
    gathered.heard(1, report("process 1", ready="it is starting"))
    assert (gathered.alive(), gathered.ready()) == ("", "process 1: it is starting")
    gathered.heard(2, report("process 2", alive="blocked", ready="blocked"))
    assert gathered.ready() == "process 1: it is starting\nprocess 2: blocked"
    assert gathered.alive() == ""
    gathered.heard(1, report("process 1"))
    assert (gathered.alive(), gathered.ready()) == ("", "")


def test_a_process_that_reports_no_more_is_not_well(monkeypatch: pytest.MonkeyPatch) -> None:
    gathered = Gathered()
    gathered.heard(1, report("process 1"))
    monkeypatch.setattr("asyncq.cli.monitoring._SILENT_S", -1.0)
    assert gathered.alive() == "process 1: has reported nothing for 0 s"
    assert gathered.ready() == gathered.alive()


# `asyncq metrics`


async def test_the_exporter_shows_queues_until_told_to_stop(
    tmp_path: Path, start_redis: Callable[..., RedisServer]
) -> None:
    own = start_redis()
    async with Client(own.url) as client:
        await client.enqueue(Task("t"), queue="a")
    with Command("metrics", "--port", "127.0.0.1:0", "-r", own.url, cwd=tmp_path) as exporter:
        port = port_of(exporter)
        text = (await get(port, "/metrics")).body
        assert samples(text, "asynq_queue_size") == {labels(queue="a"): 1}
        assert samples(text, "asyncq_redis_up") == {frozenset(): 1}
        assert "python_info" in text
        own.stop()
        text = (await get(port, "/metrics")).body
        assert samples(text, "asyncq_redis_up") == {frozenset(): 0}
        assert samples(text, "asynq_queue_size") == {}
        assert await get(port, "/healthz") == (200, "ok\n")
        exporter.send(signal.SIGTERM)
        assert exporter.exit_status() == 0


@pytest.mark.parametrize(
    ("args", "status", "words"),
    [
        ([], 2, "nobody said where Redis is"),
        (["-r", "http://localhost"], 2, "http://"),
        (["-r", "redis://localhost", "--port", "x"], 2, "a port is a number"),
        (["--dev", "-r", "redis://localhost"], 2, "give one of them"),
    ],
)
def test_the_exporter_says_what_is_wrong_with_its_flags(
    tmp_path: Path, args: list[str], status: int, words: str
) -> None:
    with Command("metrics", *args, cwd=tmp_path) as exporter:
        assert exporter.exit_status() == status
        assert words in exporter.output
