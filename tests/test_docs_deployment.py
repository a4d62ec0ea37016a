"""The units, images and manifests of the pages on deployment: well formed, and what they start
is accepted by the command line.

The first line of such a block is a comment with its file name, unless its format knows none.
"""

from __future__ import annotations

import configparser
import contextlib
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import promql
import pytest
import typer
import yaml
from commands import Command
from docs_pages import ROOT, blocks_of
from redis.asyncio import Redis
from redis_servers import RedisServer, free_port
from scraping import get
from typer.core import TyperGroup
from waiting import until

from asyncq import Client, Inspector, ServerConfig, Task
from asyncq.cli.failure import Exit
from asyncq.cli.main import app
from asyncq.cli.monitoring import Gathered
from asyncq.cli.worker import worker
from asyncq.doctor import Doctor
from asyncq.metrics import QueueMetrics
from asyncq.statistics import LOOP_SILENT_S, REDIS_SILENT_S, Statistics

HOW_TO = ROOT / "docs" / "how-to"

GRACE_S = 30
"""What the pages promise that a worker needs for its end, beyond `--shutdown-timeout`."""


def command_of(words: Sequence[str]) -> Mapping[str, Any]:
    """What the command line makes of `asyncq ...`: the values of its flags, and its `name`."""
    program, *rest = words
    assert Path(program).name == "asyncq"
    command: Any = typer.main.get_command(app)
    name = ""
    while isinstance(command, TyperGroup):
        name, *rest = rest
        command = command.commands[name]
    return {"name": name, **command.make_context(name, rest).params}


def shutdown_timeout(command: Mapping[str, Any]) -> float:
    given = command["shutdown_timeout"]
    return 8 if given is None else float(given)


# systemd


def units() -> dict[str, str]:
    """By file name."""
    found = {}
    for text in blocks_of("docs/how-to/systemd.md", "ini"):
        path = text.partition("\n")[0].removeprefix("# /etc/systemd/system/")
        assert re.fullmatch(r"asyncq-\w+@?\.service", path), path
        found[path] = text
    return found


def service(text: str) -> configparser.SectionProxy:
    unit = configparser.ConfigParser(strict=False, interpolation=None, comment_prefixes=("#",))
    unit.optionxform = str  # type: ignore[assignment, method-assign]  # names keep their case
    unit.read_string(text.replace("\\\n", ""))
    assert set(unit.sections()) == {"Unit", "Service", "Install"}
    return unit["Service"]


def environment_files(page: str) -> list[dict[str, str]]:
    """The blocks of variables."""
    found = [text for text in blocks_of(f"docs/how-to/{page}", "") if text.startswith("ASYNCQ_")]
    return [dict(word.split("=", 1) for word in shlex.split(text)) for text in found]


@pytest.mark.parametrize("name", units())
def test_unit_starts_what_the_command_line_accepts(name: str) -> None:
    settings = service(units()[name])
    command = command_of(shlex.split(settings["ExecStart"]))
    assert settings["Type"] == "exec"
    assert settings["RestartPreventExitStatus"] == str(Exit.USAGE.value)
    if command["name"] == "worker":
        assert settings["KillMode"] == "mixed"
        assert float(settings["TimeoutStopSec"]) >= shutdown_timeout(command) + GRACE_S


def test_page_has_units_for_all_that_runs_for_long() -> None:
    commands = [command_of(shlex.split(service(text)["ExecStart"])) for text in units().values()]
    assert {command["name"] for command in commands} == {"worker", "scheduler", "metrics"}


def test_variables_of_environment_files_are_those_of_the_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    group: Any = typer.main.get_command(app)
    known = {option.envvar for option in group.commands["worker"].params} | {"ASYNCQ_REDIS_URL"}
    redis, mail = environment_files("systemd.md")
    assert {*redis, *mail} <= known
    for name, value in mail.items():
        monkeypatch.setenv(name, value)
    command = command_of(shlex.split(service(units()["asyncq-worker@.service"])["ExecStart"]))
    assert list(command["queue"]) == ["critical=6", "mail=1"]
    assert (command["concurrency"], command["processes"]) == (50, 2)
    assert command["metrics_port"] == "127.0.0.1:9101"


@pytest.mark.parametrize("page", ["systemd.md", "docker.md"])
def test_addresses_of_environment_files_are_those_of_clients(page: str) -> None:
    address = environment_files(page)[0]["ASYNCQ_REDIS_URL"]
    assert Client(address).where.startswith(("redis://redis", "rediss://redis.example.org"))


def test_exit_statuses_of_the_page_are_those_of_the_worker() -> None:
    assert worker.__doc__ is not None
    _, _, documented = worker.__doc__.partition("Exit status:")
    listed = re.findall(r"^\| (\d+) \|", (HOW_TO / "systemd.md").read_text(), re.M)
    assert set(listed) == set(re.findall(r"\d+", documented))
    assert {int(status) for status in listed} <= {status.value for status in Exit}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    paths = []
    for name, text in units().items():
        path = tmp_path / name.replace("@", "@mail")
        path.write_text(text.replace("/srv/app/.venv/bin/asyncq", sys.executable))
        paths.append(str(path))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *paths],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,  # it also judges units of the machine, which are none of ours
    )
    assert [line for line in done.stderr.splitlines() if "asyncq-" in line] == []


# Docker


def instructions() -> dict[str, str]:
    """Of the Dockerfile, the last of each kind."""
    (text,) = blocks_of("docs/how-to/docker.md", "dockerfile")
    lines = text.replace("\\\n", " ").splitlines()
    assert lines[0] == "# Dockerfile"
    return dict(line.split(None, 1) for line in lines[1:])


def composed() -> Mapping[str, Any]:
    """The services."""
    found: Mapping[str, Any] = documents("docker.md")["compose.yaml"][0]["services"]
    return found


def documents(page: str) -> dict[str, list[Any]]:
    """Those of the YAML blocks, by file name."""
    found = {}
    for text in blocks_of(f"docs/how-to/{page}", "yaml"):
        first = text.partition("\n")[0]
        assert re.fullmatch(r"# [\w.-]+\.ya?ml", first), f"name the file in line 1, not {first!r}"
        found[first.removeprefix("# ")] = list(yaml.safe_load_all(text))
    return found


def in_seconds(text: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(s|m)", text).groups()  # type: ignore[union-attr]
    return int(number) * {"s": 1, "m": 60}[unit]


def test_image_runs_a_worker_as_process_1_and_not_as_root() -> None:
    made = instructions()
    assert command_of(json.loads(made["CMD"]))["metrics_port"] == "9100"
    assert int(made["USER"]) > 0
    assert made["STOPSIGNAL"] == "SIGTERM"


def test_compose_starts_what_the_command_line_accepts() -> None:
    commands = {
        name: command_of(service["command"])
        for name, service in composed().items()
        if name != "redis"
    }
    assert {command["name"] for command in commands.values()} == {"worker", "scheduler", "metrics"}
    of_worker, worker = commands["worker"], composed()["worker"]
    assert in_seconds(worker["stop_grace_period"]) >= shutdown_timeout(of_worker) + GRACE_S
    for name, service in composed().items():
        waited_for = set(service.get("depends_on", {}))
        assert waited_for <= composed().keys(), name
        # The image's own asks for a port that only workers have.
        assert (name == "worker") == ("healthcheck" not in service)


async def test_redis_of_compose_is_one_that_the_doctor_finds_healthy(
    start_redis: Callable[..., RedisServer],
) -> None:
    program, *flags = composed()["redis"]["command"]
    assert program == "redis-server"
    async with Doctor(start_redis(args=flags).url) as doctor:
        diagnosis = await doctor.examine()
    assert [finding for finding in diagnosis.findings if finding.is_open] == []


def test_scrape_configurations_name_services_and_their_ports() -> None:
    of_worker, of_queues = documents("docker.md")["prometheus.yml"][0]["scrape_configs"]
    (by_name,) = of_worker["dns_sd_configs"]
    (fixed,) = of_queues["static_configs"]
    flags = {name: command_of(composed()[name]["command"]) for name in ("worker", "metrics")}
    assert by_name["names"] == ["worker"]
    assert str(by_name["port"]) == flags["worker"]["metrics_port"]
    assert fixed["targets"] == [f"metrics:{flags['metrics']['port']}"]


# Probes


@pytest.fixture
def worker_port(tmp_path: Path, redis_url: str, queue: str) -> Iterator[int]:
    """Of a worker that takes tasks."""
    (tmp_path / "tasks.py").write_text("from asyncq import ServeMux\nmux = ServeMux()\n")
    flags = ["-r", redis_url, "-q", queue, "--metrics-port", "127.0.0.1:0"]
    with Command("worker", "tasks:mux", *flags, cwd=tmp_path) as command:
        port = command.wait_for(r"/metrics.* at \S*?(\d+)$")[1]
        command.wait_for("taking tasks")
        yield int(port)


def test_health_check_of_the_image_is_answered(worker_port: int, tmp_path: Path) -> None:
    _, _, check = instructions()["HEALTHCHECK"].partition("CMD ")
    program, *words = json.loads(check)
    assert program == "python"
    for port, healthy in ((worker_port, True), (free_port(), False)):
        done = subprocess.run(
            [sys.executable, *(word.replace("9100", str(port)) for word in words)],
            cwd=tmp_path,
            stderr=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )
        assert (done.returncode == 0) is healthy


# Kubernetes


def manifests() -> list[Any]:
    return [document for file in documents("kubernetes.md").values() for document in file]


def deployments() -> dict[str, Any]:
    return {m["metadata"]["name"]: m["spec"] for m in manifests() if m["kind"] == "Deployment"}


def container_of(deployment: Mapping[str, Any]) -> Any:
    (container,) = deployment["template"]["spec"]["containers"]
    return container


def probes_of(deployment: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    found = {
        name: container_of(deployment).get(f"{name}Probe") for name in ("liveness", "readiness")
    }
    return {name: probe for name, probe in found.items() if probe}


@pytest.mark.parametrize("name", deployments())
def test_deployment_starts_what_the_command_line_accepts(name: str) -> None:
    deployment = deployments()[name]
    container, pod = container_of(deployment), deployment["template"]["spec"]
    command = command_of(container["command"])
    assert deployment["selector"]["matchLabels"] == deployment["template"]["metadata"]["labels"]
    assert pod["enableServiceLinks"] is False
    assert container["resources"]["limits"]["memory"]
    if command["name"] == "worker":
        leaves = pod["terminationGracePeriodSeconds"]
        assert leaves >= shutdown_timeout(command) + GRACE_S
    ports = {port["name"]: str(port["containerPort"]) for port in container.get("ports", ())}
    assert ports.get("metrics") == command.get("metrics_port", command.get("port"))
    assert all(probe["httpGet"]["port"] in ports for probe in probes_of(deployment).values())


def test_manifests_refer_to_what_is_there() -> None:
    named = {(m["kind"], m["metadata"]["name"]): m for m in manifests()}
    secret = named["Secret", "asyncq-redis"]["stringData"]
    assert Client(secret["url"]).where == "rediss://redis.example.org:6380"
    for deployment in deployments().values():
        (variable,) = container_of(deployment)["env"]
        assert variable["name"] == "ASYNCQ_REDIS_URL"
        assert variable["valueFrom"]["secretKeyRef"]["key"] in secret
    labels = deployments()["asyncq-worker"]["selector"]["matchLabels"]
    budget = named["PodDisruptionBudget", "asyncq-worker"]["spec"]
    assert budget["selector"]["matchLabels"] == labels
    scaled = named["ScaledObject", "asyncq-worker"]["spec"]
    assert scaled["scaleTargetRef"]["name"] in deployments()


def test_scaling_asks_for_metrics_that_the_exporter_has() -> None:
    (scaled,) = documents("kubernetes.md")["autoscaling.yaml"]
    of_queues = {metric.name for metric in QueueMetrics("redis://localhost").describe()}
    latency, running = scaled["spec"]["triggers"]
    for trigger in (latency, running):
        asked = promql.check(trigger["metadata"]["query"])
        assert set(asked.metrics) <= of_queues
    assert (latency["metricType"], running["metricType"]) == ("Value", "AverageValue")
    command = command_of(container_of(deployments()["asyncq-worker"])["command"])
    assert float(running["metadata"]["threshold"]) == pytest.approx(0.7 * command["concurrency"])


async def test_probes_are_answered_by_a_worker(worker_port: int) -> None:
    probes = probes_of(deployments()["asyncq-worker"])
    assert probes.keys() == {"liveness", "readiness"}
    for probe in probes.values():
        answer = await get(worker_port, probe["httpGet"]["path"])
        assert answer == (200, "ok\n")


def test_states_of_a_worker_are_called_as_on_the_page() -> None:
    page = (ROOT / "docs/how-to/kubernetes.md").read_text()
    starting = Statistics().health()
    assert f"| 200 | 503 `{starting.ready}` |" in page
    assert (starting.alive, Gathered().alive()) == ("", "")
    assert f"`{Gathered().ready()}`" in page
    assert f"no answer of Redis for {REDIS_SILENT_S:.0f} s" in page
    assert f"blocked for more than {LOOP_SILENT_S:.0f} s" in page


# Scaling


def test_figures_of_the_page_on_scaling_are_those_of_the_benchmarks() -> None:
    results = (ROOT / "docs/benchmarks-results.md").read_text()
    measured = {n.replace(",", "") for n in re.findall(r"\d[\d,]*(?:\.\d+)?", results)}
    page = (ROOT / "docs/how-to/scaling.md").read_text()
    figures = re.findall(r"\b\d{1,3}(?: \d{3})+\b|\b\d+\.\d+\b", page)
    settings = {"100 000", "10 000", "0.2"}  # of the archive, of Redis, of an example
    assert len(figures) > 10
    assert [n for n in figures if n not in settings and n.replace(" ", "") not in measured] == []
    assert ServerConfig().archive_max_size == 100_000


# Operations

SAID = """
it is paused, so no task is taken
no live server works on it
there are none at all
handler not found
it is starting
it takes no new tasks
Redis has not answered for
the event loop has been blocked for
no worker process has started
has reported nothing for
is abandoned:
active, though no live server says that it runs any
asynq: task lease expired
its outcome could not be written
came too late
not enqueued
cannot reach Redis
""".strip().splitlines()


@pytest.mark.parametrize("words", SAID)
def test_what_the_page_on_operations_quotes_is_what_asyncq_says(words: str) -> None:
    sources = "".join(path.read_text() for path in (ROOT / "asyncq").rglob("*.py"))
    joined = re.sub(r'"\s+f?"', "", sources)  # of texts that go over several lines
    page = " ".join((ROOT / "docs/operations.md").read_text().split())
    assert words in page
    assert words in joined


@pytest.fixture
async def copied(redis_variant: str) -> AsyncIterator[RedisServer]:
    """A server that is not started yet, with the copy of another one in its directory."""
    with RedisServer(redis_variant) as lost, contextlib.closing(RedisServer(redis_variant)) as new:
        async with Client(lost.url) as client, lost.client() as redis:
            await client.enqueue_many([Task("t") for _ in range(3)])
            await redis.save()
        shutil.copy(lost.directory / "dump.rdb", new.directory)
        yield new


@pytest.mark.every_redis
async def test_a_copy_is_not_read_where_there_should_be_an_append_only_file(
    copied: RedisServer,
) -> None:
    copied.start("--appendonly", "yes")
    async with Inspector(copied.url) as inspector:
        assert await inspector.queues() == []


@pytest.mark.every_redis
async def test_a_copy_is_restored_as_the_page_says(copied: RedisServer) -> None:
    copied.start("--appendonly", "no")
    async with copied.client() as redis:
        await redis.config_set("appendonly", "yes")
        await until(lambda: is_rewritten(redis), "the append-only file is there")
    copied.stop()
    copied.start("--appendonly", "yes")
    async with Inspector(copied.url) as inspector:
        assert (await inspector.queue_info("default")).pending == 3


async def is_rewritten(redis: Redis) -> bool:
    state = await redis.info("persistence")
    return not (state["aof_rewrite_in_progress"] or state["aof_rewrite_scheduled"])
