"""The programs of the guides, on testing and on moving from other queues, do what they say."""

from __future__ import annotations

import ast
import asyncio
import importlib
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import pytest
from docs_pages import ROOT, blocks_of, importable, programs, run_python, write_programs
from redis_servers import RedisServer

from asyncq import Client, Server
from asyncq.testing import drain

TESTING = "docs/how-to/testing.md"
ARQ = "docs/how-to/migrate-from-arq.md"
CELERY = "docs/how-to/migrate-from-celery.md"


class Guide:
    """The programs of a page, in a directory of their own, at a Redis of their own."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self._capsys = capsys

    def write(self, page: str, changes: Mapping[str, str] | None = None) -> None:
        for name, text in programs(page).items():
            for old, new in (changes or {}).items():
                text = text.replace(old, new)
            (self.directory / name).write_text(text)

    def load(self, name: str) -> ModuleType:
        """As `import NAME` does."""
        return importlib.import_module(name)

    async def run(self, name: str) -> str:
        """What `python NAME` printed; it must end well."""
        return await asyncio.to_thread(run_python, self.directory, name)

    @property
    def printed(self) -> str:
        """What was printed in this process since the last look."""
        return self._capsys.readouterr().out


@pytest.fixture
def guide(
    tmp_path: Path,
    start_redis: Callable[..., RedisServer],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Guide]:
    monkeypatch.setenv("ASYNCQ_REDIS_URL", start_redis().url)
    with importable(tmp_path):
        yield Guide(tmp_path, capsys)


def test_tests_of_the_testing_page_pass(tmp_path: Path) -> None:
    tests = ["test_handlers.py", "test_queues.py"]
    assert {*tests, "conftest.py", "outbox.py", "shop.py"} == set(programs(TESTING))
    write_programs(TESTING, tmp_path)
    (settings,) = blocks_of(TESTING, "toml")
    (tmp_path / "pyproject.toml").write_text(settings)
    said = run_python(tmp_path, "-m", "pytest", "-q", f"--basetemp={tmp_path / 'temp'}", *tests)
    passed = re.search(r"(\d+) passed", said)
    assert passed, said
    assert int(passed[1]) == sum(text.count("def test_") for text in programs(TESTING).values())


@pytest.mark.parametrize("page", [ARQ, CELERY])
def test_program_before_is_one_and_its_words_are_explained(page: str) -> None:
    (program,) = blocks_of(page, "py")
    compile(program, page, "exec")
    tables = "\n".join(re.findall(r"^\|.*\|$", (ROOT / page).read_text(), re.MULTILINE))
    tree = ast.parse(program)
    settings = {word.arg for word in ast.walk(tree) if isinstance(word, ast.keyword) and word.arg}
    settings |= {
        target.id
        for cls in tree.body
        if isinstance(cls, ast.ClassDef)
        for line in cls.body
        if isinstance(line, ast.Assign)
        for target in line.targets
        if isinstance(target, ast.Name)
    }
    assert len(settings) > 5
    plain = {"hour", "minute", "broker", "backend"}
    bare = [word for word in settings - plain if not re.search(rf"\b{word}\b", tables)]
    assert bare == []


class Site(BaseHTTPRequestHandler):
    """Answers with a page of eleven letters; the first time that /busy is asked for it is."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(503 if self.asked.count("/busy") == 1 and self.path == "/busy" else 200)
        self.end_headers()
        self.wfile.write(b"hello world")

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def site() -> Iterator[str]:
    Site.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


async def test_arq_page_fetches(guide: Guide, site: str) -> None:
    guide.write(ARQ, {"https://example.com/": site})
    pages = guide.load("pages")
    server: Server = pages.make_server()
    async with Client() as client:
        info = await client.enqueue(pages.fetch(f"{site}busy"))
        await client.enqueue(pages.clean_up())
        attempts = await drain(client, server.handler, server.config)
        assert {repr(attempt.error) for attempt in attempts} == {"Busy('again in 5 s')", "None"}
        assert pages.retry_delay(0, attempts[0].error or attempts[1].error, pages.fetch("")) == 5
        await drain(client, server.handler, server.config, run_delayed=True)
        assert await client.result(info, int) == 11
    async with server:
        assert await guide.run("produce.py") == "11\n"


async def test_celery_page_makes_an_album(guide: Guide) -> None:
    guide.write(CELERY)
    shop = guide.load("shop")
    await guide.run("produce.py")
    server: Server = shop.make_server()
    config = replace(server.config, queues={"default": 1, "images": 1})
    attempts = await drain(None, server.handler, config, run_delayed=True)
    assert len(attempts) == 5
    files = "cat.jpg@100, cat.jpg@200, cat.jpg@400"
    assert guide.printed.splitlines() == [f"Cats: {files}", "all is well"]


async def test_celery_page_finds_the_parts_of_an_earlier_attempt(guide: Guide) -> None:
    guide.write(CELERY)
    shop = guide.load("shop")
    parts = [shop.resize.task(shop.Size(path="p", width=w), task_id=f"id:{w}") for w in (1, 2, 3)]
    async with Client() as client:
        assert [part.id for part in await shop.together(client, parts[:2])] == ["id:1", "id:2"]
        assert [part.id for part in await shop.together(client, parts)] == ["id:1", "id:2", "id:3"]
