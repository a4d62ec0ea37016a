"""The programs (and pipelines) of the how-to pages do what the pages say, on a real Redis.

README and the first page have tests in `test_readme`, which also holds all of them to be typed.
"""

from __future__ import annotations

import asyncio
import importlib
import re
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import httpx
import pytest
from docs_pages import blocks_of, importable, programs
from fastapi import FastAPI
from operating import operated
from redis_servers import RedisServer
from waiting import until

from asyncq import Client, Inspector, PeriodicTaskManager, Scheduler, ServeMux, Server, Task
from asyncq.testing import drain


class Programs:
    """Those of a page, in a directory of their own, at a Redis of their own."""

    def __init__(self, directory: Path, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self._url = url
        self._capsys = capsys
        self._printed = ""

    def write(self, page: str, elsewhere: str = "redis://localhost:6379/0") -> None:
        """Write them down, with our Redis in place of the page's."""
        for name, text in programs(page).items():
            (self.directory / name).write_text(text.replace(elsewhere, self._url))

    def run(self, name: str) -> None:
        """As `python NAME` does."""
        runpy.run_path(str(self.directory / name), run_name="__main__")

    def load(self, name: str) -> ModuleType:
        """As `import NAME` does."""
        return importlib.import_module(name)

    @property
    def printed(self) -> str:
        """All that was printed since the start."""
        self._printed += self._capsys.readouterr().out
        return self._printed


@pytest.fixture
def page(
    tmp_path: Path,
    start_redis: Callable[..., RedisServer],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Programs]:
    url = start_redis().url
    monkeypatch.setenv("ASYNCQ_REDIS_URL", url)
    with importable(tmp_path):
        yield Programs(tmp_path, url, capsys)


def http(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


def test_guarantees_page_tells_what_too_few_replicas_mean(page: Programs) -> None:
    page.write("docs/guarantees.md", "redis-sentinel://sentinel-1,sentinel-2,sentinel-3/0")
    page.run("transfer.py")
    assert page.printed == "transfer-4711 will run, but only 0 replicas have it yet\n"


async def test_command_line_page_asks_jq_for_fields_that_there_are(
    start_redis: Callable[..., RedisServer],
) -> None:
    server = start_redis()
    async with Client(server.url) as client, Inspector(client) as inspector:
        info = await client.enqueue(Task("email:deliver"))
        await inspector.archive_task(info.queue, info.id)
    (block,) = (text for text in blocks_of("docs/how-to/command-line.md", "") if "| jq" in text)
    for line in block.splitlines():
        command, _, others = line.partition(" | jq ")
        said = await operated(server, *command.split()[1:])
        fields = set(re.findall(r"\.([a-z_]+)", others))
        assert fields
        assert fields <= said.json[0].keys()


def test_doctor_page_examines(page: Programs) -> None:
    page.write("docs/how-to/doctor.md")
    page.run("examine.py")
    assert re.match(r"(danger|warning|note) ", page.printed)


async def test_fastapi_page_enqueues_in_one_application_and_handles_in_another(
    page: Programs,
) -> None:
    page.write("docs/how-to/fastapi.md")
    web: FastAPI = page.load("web").app
    async with web.router.lifespan_context(web), http(web) as asking:
        answer = await asking.post("/signups", params={"email": "ada@example.com"})
        assert answer.status_code == 202
    together: FastAPI = page.load("together").app
    async with together.router.lifespan_context(together):
        await until(lambda: "welcome, ada@example.com" in page.printed)


async def test_fastapi_page_answers_with_a_result_or_says_what_went_wrong(page: Programs) -> None:
    page.write("docs/how-to/fastapi.md")
    module = page.load("prices")
    mux = ServeMux()

    @mux.handle("order:price")
    async def on_price(number: int) -> float:
        return 10 / number

    app: FastAPI = module.app
    async with app.router.lifespan_context(app), http(app) as asking, Server(None, mux):
        answers = [await asking.get(f"/orders/{number}/price") for number in (4, 0)]
    assert [answer.status_code for answer in answers] == [200, 502]
    assert [answer.json() for answer in answers] == [2.5, {"detail": "there is no price"}]


def test_handlers_page_retries_refuses_and_aggregates(page: Programs) -> None:
    page.write("docs/how-to/handlers.md")
    page.run("place.py")
    assert page.printed == "order 2 is on its way already\n"
    module = page.load("orders")
    server: Server = module.make_server()
    attempts = asyncio.run(drain(None, module.mux, server.config, run_delayed=True))
    ended = [(attempt.task.type, str(attempt.error or "")) for attempt in attempts]
    assert sorted(ended) == [
        ("order:digest", ""),
        ("order:ship", ""),
        ("order:ship", ""),
        ("order:ship", "again in 2 s"),
    ]
    said = page.printed.splitlines()[1:]
    assert sorted(said) == ["announced 2 orders in one mail", "shipped 1", "shipped 2"]


def test_inspect_page_looks_and_moves(page: Programs) -> None:
    page.write("docs/how-to/inspect.md")
    page.run("look.py")
    said = page.printed
    assert said.startswith("1000 tasks, 1000 scheduled, ")
    # The first task is run before that, and all are due at the same time: it may be any.
    (run,) = re.findall(r"""email:deliver b'{"user_id":(\d+)}'""", said)
    archived = 19 - ("99" in run)
    assert f"\n{archived} archived\n" in said
    assert said.endswith(f"\n{999 - archived} deleted\n")


def test_inspect_page_waits_for_a_result(page: Programs) -> None:
    page.write("docs/how-to/inspect.md")
    page.run("wait.py")
    assert page.printed == "6\n"


async def test_metrics_page_shows_metrics_and_readiness(page: Programs) -> None:
    page.write("docs/how-to/metrics.md")
    module = page.load("app")
    app: FastAPI = module.app
    try:
        async with app.router.lifespan_context(app), http(app) as asking:
            assert (await asking.get("/readyz")).json() == "ok"
            assert "\nasyncq_worker_ready 1.0\n" in (await asking.get("/metrics/")).text
        async with http(app) as asking:
            assert (await asking.get("/readyz")).status_code == 503
    finally:
        module.metrics.unregister()  # from the registry of the whole process


async def test_periodic_page_schedules_and_looks(page: Programs) -> None:
    page.write("docs/how-to/periodic.md")
    scheduler: Scheduler = page.load("periodic").make_scheduler()
    async with scheduler:
        specs = [entry.spec for entry in scheduler.entries]
        assert specs == ["0 3 * * *", "*/15 8-18 * * mon-fri", "@every 30s"]
        await page.load("look").look()
    assert "nightly report 0 3 * * * " in page.printed
    manager: PeriodicTaskManager = page.load("manager").make_manager()
    async with manager:
        assert [entry.task.type for entry in manager.entries] == ["cleanup"]


def test_tracing_page_enqueues_handles_and_schedules(page: Programs) -> None:
    page.write("docs/how-to/tracing.md")
    page.run("produce.py")

    async def handle() -> None:
        async with Server(None, page.load("tasks").mux):
            await until(lambda: page.printed == "resizing cat.png\n")
        async with page.load("schedule").make_scheduler() as scheduler:
            assert [entry.task.type for entry in scheduler.entries] == ["image:tidy"]

    asyncio.run(handle())
