"""What README and docs say is so: their programs run and check, their commands and links exist.

A Python block whose first line is a comment with a file name is that file; those of one page
stand in one directory. `test_docs_blocks` knows which test holds which block.
"""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from commands import Command
from docs_pages import NAMES, ROOT, anchors, programs, run_python, write_programs
from redis.asyncio import Redis
from redis_servers import RedisServer
from typer.core import TyperGroup
from waiting import until

from asyncq.cli.main import app


@pytest.fixture
def redis_server(start_redis: Callable[..., RedisServer]) -> RedisServer:
    """A server of one's own: these tests look at all servers that are listed in Redis."""
    return start_redis()


def commands(page: str) -> list[str]:
    """Lines of shell blocks, indented or fenced, and commands inside sentences."""
    text = (ROOT / page).read_text()
    fenced = re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S)
    lines = [line for block in fenced for line in block.splitlines()]
    lines += re.findall(r"^    (python .*|asyncq .*)$", text, re.M)
    lines += re.findall(r"`((?:python|asyncq) [^`\n]+)`", text)
    return [part for line in lines for part in line.split(" && ")]


# Programs


async def test_readme_does_what_it_says(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    write_programs("README.md", tmp_path)
    produce = tmp_path / "produce.py"
    produce.write_text(produce.read_text().replace("embedded://", redis_url))
    with Command("worker", "tasks:mux", "--redis", redis_url, cwd=tmp_path) as worker:
        await until(lambda: redis.zcard("asynq:servers"), "the worker starts")
        run_python(tmp_path, "produce.py", ASYNCQ_REDIS_URL=redis_url)
        worker.wait_for("delivering welcome to user 42")
        worker.wait_for("delivering tips to user 42")


async def test_start_page_does_what_it_says(tmp_path: Path, redis_url: str) -> None:
    write_programs("docs/start.md", tmp_path)
    said = run_python(tmp_path, "produce.py", ASYNCQ_REDIS_URL=redis_url)
    assert "a unique task 'image:resize' is already waiting" in said
    assert "5 more, in one round trip" in said
    with Command("worker", "server:make_server", "--redis", redis_url, cwd=tmp_path) as worker:
        worker.wait_for("handles +image:resize")


def test_programs_are_correctly_typed(tmp_path: Path) -> None:
    for page in NAMES:  # one after the other, since the first run reads all of asyncq for the rest
        directory = tmp_path / page.replace("/", "-")
        directory.mkdir()
        write_programs(page, directory)
        if not programs(page):
            continue
        done = subprocess.run(
            [sys.executable, "-m", "mypy", "--strict", f"--cache-dir={tmp_path}", "."],
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"{page}: {done.stdout}{done.stderr}"


# Commands


@pytest.mark.parametrize(
    ("page", "line"), [(page, line) for page in NAMES for line in commands(page)]
)
def test_command_exists(page: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    match shlex.split(line, comments=True):
        case ["asyncq", *arguments]:
            parse(arguments)
        case ["python", "-m", "nox", "-s", session, *_]:
            assert session in sessions()
        case ["python", "-m", "pip", "install", *packages]:
            assert set(packages) <= {"nox", ".[embedded]"}
        case ["python", "-m", module, *_]:
            path = ROOT.joinpath(*module.split("."))
            assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()
        case ["python", script, *_]:
            assert (ROOT / script).is_file()
        case other:
            pytest.fail(f"what is {other}? teach this test")


def parse(arguments: list[str]) -> None:
    """As the command line does, without running anything."""
    command: Any = typer.main.get_command(app)
    name, rest = "", arguments[: arguments.index("|")] if "|" in arguments else arguments
    while isinstance(command, TyperGroup) and rest and rest != ["--help"]:
        name, *rest = rest
        command = command.commands[name]
    if not isinstance(command, TyperGroup) and "--help" not in rest:
        command.make_context(name, rest)


def sessions() -> set[str]:
    tree = ast.parse((ROOT / "noxfile.py").read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("page", NAMES)
def test_links_to_files_lead_somewhere(page: str) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", (ROOT / page).read_text()):
        path, _, anchor = link.partition("#")
        if "://" not in link:
            target = (ROOT / page).parent / path if path else ROOT / page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target.resolve()), link
