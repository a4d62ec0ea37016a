"""Every example, run as its own comment says, on a real Redis."""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from commands import Command
from fastapi import FastAPI
from redis.asyncio import Redis
from redis_servers import RedisServer
from waiting import until

EXAMPLES = Path(__file__).parent.parent / "examples"


class Script(Command):
    """`python SCRIPT ARGS` in the directory of an example."""

    program = (sys.executable,)


@pytest.fixture
def redis_server(start_redis: Callable[..., RedisServer]) -> RedisServer:
    """A server of one's own: these tests look at all servers that are listed in Redis."""
    return start_redis()


def run_script(directory: Path, env: dict[str, str], *args: str) -> str:
    """What `python ARGS` printed; it must end well."""
    done = subprocess.run(
        [sys.executable, *args],
        cwd=directory,
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,  # what it printed tells more
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def data(tmp_path: Path) -> dict[str, str]:
    """An environment in which Python leaves nothing in the examples' directories."""
    return {"PYTHONDONTWRITEBYTECODE": "1", "XDG_DATA_HOME": str(tmp_path)}


def test_every_example_has_a_test() -> None:
    tested = Path(__file__).read_text()
    for directory in EXAMPLES.iterdir():
        assert f'EXAMPLES / "{directory.name}"' in tested


# aggregation


def test_notifications_become_digests(redis_url: str, data: dict[str, str]) -> None:
    directory = EXAMPLES / "aggregation"
    flags = ["--grace-period", "1", "--max-delay", "10", "--max-size", "5"]
    # All of them wait before the server comes, so none is aggregated without the others.
    said = run_script(directory, data, "client.py", "--redis", redis_url, "12")
    assert said.count("aggregating") == 12
    with Script("server.py", "--redis", redis_url, *flags, cwd=directory, env=data) as server:
        server.wait_for("waiting for tasks")
        sizes = [int(server.wait_for(r"one digest of (\d+)", times=n)[1]) for n in (1, 2, 3)]
        assert sum(sizes) == 12
        assert max(sizes) == 5
        assert all(f"notification {n}" in server.output for n in range(1, 13))
        server.send_group(2)
        assert server.exit_status() == 0


# typed_payloads


def test_results_of_typed_tasks_come_back(redis_url: str, data: dict[str, str]) -> None:
    directory = EXAMPLES / "typed_payloads"
    with Command("worker", "handlers:mux", "--redis", redis_url, cwd=directory, env=data) as worker:
        said = run_script(directory, data, "order.py", "--redis", redis_url)
        assert said.splitlines() == [
            "Ada pays 20.10: 3 x tea at 4.20, 1 x cup at 7.50",
            "Ada pays 0",
            "Good morning, Ada!",
            "refused at once: Input should be greater than 0",
        ]
        worker.send_group(2)
        assert worker.exit_status() == 0


# fastapi_app


async def test_fastapi_runs_the_worker_in_its_own_process(
    redis_url: str, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "uvicorn.error")
    app: FastAPI = fastapi_example().make_app(with_worker=True, redis=redis_url)
    async with app.router.lifespan_context(app), http(app) as web:
        answer = await web.post("/signups", json={"email": "ada@example.com"})
        assert answer.status_code == 202
        assert answer.json()["task_id"]
        await until(lambda: "welcome, ada@example.com" in caplog.text)
    connection: Any = redis
    assert await connection.zcard("asynq:servers") == 0


async def test_fastapi_with_the_worker_apart(redis_url: str, data: dict[str, str]) -> None:
    directory = EXAMPLES / "fastapi_app"
    app: FastAPI = fastapi_example().make_app(with_worker=False, redis=redis_url)
    async with app.router.lifespan_context(app), http(app) as web:
        body = {"email": "bob@example.com"}
        assert (await web.post("/signups", json=body)).status_code == 202
        refused = await web.post("/signups", json=body)
        assert refused.status_code == 409
        assert "on its way" in refused.json()["detail"]
    with Command("worker", "app:mux", "--redis", redis_url, cwd=directory, env=data) as worker:
        worker.wait_for("welcome, bob@example.com")
        worker.send_group(2)
        assert worker.exit_status() == 0


def fastapi_example() -> ModuleType:
    path = EXAMPLES / "fastapi_app" / "app.py"
    spec = importlib.util.spec_from_file_location("fastapi_example", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fastapi_example"] = module  # where annotations are looked up
    spec.loader.exec_module(module)
    return module


def http(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


# quickstart; what it does is tested in test_demo.py, as the demo runs it


def test_quick_start_runs_as_its_comment_says(tmp_path: Path, data: dict[str, str]) -> None:
    directory = EXAMPLES / "quickstart"
    worker_line, enqueue_line = re.findall(
        r"^    ((?:asyncq|python) .*)$", (directory / "tasks.py").read_text(), re.M
    )[:2]
    assert worker_line == "asyncq worker tasks:make_server --dev"
    with Command(*worker_line.split()[1:], cwd=directory, env=data) as worker:
        run_script(directory, data, *enqueue_line.split()[1:-1], str(directory))
        worker.wait_for("the service is down, as always")
        worker.send_group(2)
        assert worker.exit_status() == 0


def test_bare_mux_of_the_quick_start_works_too(redis_url: str, data: dict[str, str]) -> None:
    directory = EXAMPLES / "quickstart"
    flags = ["--redis", redis_url, "--queue", "files"]
    run_script(directory, data, "enqueue.py", "--redis", redis_url, ".")
    with Command("worker", "tasks:mux", *flags, cwd=directory, env=data) as worker:
        worker.wait_for("handles +file:read")
        worker.send_group(2)
        assert worker.exit_status() == 0
