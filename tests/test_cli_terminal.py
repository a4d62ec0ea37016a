"""Commands in a terminal: widths, questions, bars, Ctrl-C and readers that leave."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import pytest
from commands import Command
from placed import put
from redis.asyncio import Redis
from rich.cells import cell_len
from terminal import Terminal

from asyncq import Inspector

ID = "0d7e7a5c-5f5c-4a0e-9d53-7f7d3f0b8c11"


@pytest.fixture
async def filled(redis: Redis, queue: str) -> str:
    """A queue with a task of every kind, written by somebody who means no good."""
    for state in ("pending", "retry", "archived"):
        await put(
            redis, queue, state, [f"{state[0]}{ID[1:]}"], type="e\x1b[31m:send", retried=3,
            payload=b"\x1b]0;title\x07" + b"x" * 300, error_msg="\x1b[2Jcannot reach the host " * 9,
        )  # fmt: skip
    return queue


async def see(*args: str, cwd: Path, size: tuple[int, int] = (80, 24)) -> Terminal:
    """What a command has shown in the end."""

    def run() -> Terminal:
        with Terminal(*args, cwd=cwd, size=size) as terminal:
            assert terminal.exit_status() == 0, terminal.text
            return terminal

    return await asyncio.to_thread(run)


# Widths


@pytest.mark.parametrize(
    ("state", "width"), [("archived", 60), ("pending", 80), ("retry", 80), ("retry", 140)]
)
async def test_tasks_fit_the_terminal_and_ids_stay_whole(
    filled: str, redis_url: str, tmp_path: Path, state: str, width: int
) -> None:
    terminal = await see(
        "task", "ls", "-q", filled, "-s", state, "--redis", redis_url,
        cwd=tmp_path, size=(width, 24),
    )  # fmt: skip
    assert max(map(cell_len, terminal.lines)) <= width
    titles, row, *notes = terminal.lines
    assert row.startswith(f"{state[0]}{ID[1:]}  ")
    assert ("Payload" in titles) == (width == 140 or state == "pending")
    assert len(notes) == int("Payload" not in titles)


async def test_what_strangers_wrote_commands_nothing(
    filled: str, redis_url: str, tmp_path: Path
) -> None:
    for arguments in (("ls", "-s", "archived"), ("inspect", f"a{ID[1:]}")):
        terminal = await see(
            "task", *arguments, "-q", filled, "--redis", redis_url, cwd=tmp_path, size=(400, 24)
        )
        for sent in (b"\x1b[2J", b"\x1b[31m", b"\x1b]0;", b"\x07"):
            assert sent not in terminal.raw
        assert r"\x1b[2Jcannot reach" in terminal.text
        assert r"\x1b]0;title\x07" in terminal.text


async def test_bytes_that_could_be_commands_are_not_written_to_a_terminal(
    filled: str, redis_url: str, tmp_path: Path
) -> None:
    arguments = ("task", "inspect", f"a{ID[1:]}", "-q", filled, "--raw-payload")

    def run() -> None:
        with Terminal(*arguments, "--redis", redis_url, cwd=tmp_path) as terminal:
            assert terminal.exit_status() == 1
            assert "redirect them to a file" in terminal.text
            assert b"\x07" not in terminal.raw

    await asyncio.to_thread(run)


# Questions


@pytest.mark.parametrize(("answer", "status"), [("y\r", 0), ("n\r", 1), ("\r", 1), ("\x04", 1)])
async def test_what_cannot_be_undone_is_asked_about(
    filled: str, redis_url: str, inspector: Inspector, tmp_path: Path, answer: str, status: int
) -> None:
    arguments = ("task", "deleteall", "-q", filled, "-s", "archived", "--redis", redis_url)

    def run() -> None:
        with Terminal(*arguments, cwd=tmp_path) as terminal:
            terminal.wait_for("? It cannot be undone. [y/N] ")
            terminal.type(answer)
            assert terminal.exit_status() == status, terminal.text
            assert ("nothing was changed" in terminal.text) == (status == 1)

    await asyncio.to_thread(run)
    assert (await inspector.queue_info(filled)).archived == status


async def test_question_can_be_left_by_ctrl_c(
    filled: str, redis_url: str, inspector: Inspector, tmp_path: Path
) -> None:
    def run() -> None:
        with Terminal(
            "queue", "rm", filled, "--force", "--redis", redis_url, cwd=tmp_path
        ) as terminal:
            terminal.wait_for("[y/N] ")
            terminal.type("\x03")
            assert terminal.exit_status() == 130, terminal.text
            assert "Traceback" not in terminal.text

    await asyncio.to_thread(run)
    assert (await inspector.queue_info(filled)).size == 3


@pytest.mark.parametrize(
    ("editor", "payload", "status"),
    [
        ("sed -i s/7/8/", b'{"user":8,"x":"a b"}', 0),
        ("sed -i s/:/;/", b'{"user": 7, "x": "a b"}', 1),
        ("true", b'{"user": 7, "x": "a b"}', 1),
        ("false", b'{"user": 7, "x": "a b"}', 1),
        ("no-such-editor", b'{"user": 7, "x": "a b"}', 1),
    ],
)
async def test_payload_is_edited_in_an_editor(
    redis: Redis,
    redis_url: str,
    inspector: Inspector,
    queue: str,
    tmp_path: Path,
    editor: str,
    payload: bytes,
    status: int,
) -> None:
    await put(redis, queue, "scheduled", ["a"], payload=b'{"user": 7, "x": "a b"}')
    arguments = ("task", "edit", "a", "-q", queue, "--redis", redis_url)
    env = {"VISUAL": editor, "TMPDIR": str(tmp_path)}

    def run() -> None:
        with Terminal(*arguments, cwd=tmp_path, env=env) as terminal:
            assert terminal.exit_status() == status, terminal.text

    await asyncio.to_thread(run)
    assert (await inspector.task_info(queue, "a")).payload == payload
    kept = [name for name in os.listdir(tmp_path) if name.startswith("asyncq-payload-")]
    assert len(kept) == int(editor in ("sed -i s/:/;/", "false"))


async def test_long_work_shows_a_bar_and_leaves_none(
    redis: Redis, redis_url: str, queue: str, tmp_path: Path
) -> None:
    await put(redis, queue, "retry", [f"{n}" for n in range(1000)])
    flags = ("-q", queue, "-s", "retry", "--redis", redis_url)
    terminal = await see("task", "ls", *flags, "--type", "no*", cwd=tmp_path, size=(200, 24))
    assert "of 1,000" in terminal.text
    assert terminal.lines[-1].endswith(" whose type is 'no*'")
    terminal = await see("task", "runall", *flags, cwd=tmp_path)
    assert "of 1,000" in terminal.text
    assert terminal.lines[-1].endswith(": 1,000 made pending")


# Leaving


async def test_watching_is_left_by_ctrl_c(filled: str, redis_url: str, tmp_path: Path) -> None:
    def run() -> None:
        with Terminal(
            "stats", "--watch", "--every", "0.1", "--redis", redis_url, cwd=tmp_path
        ) as terminal:
            terminal.wait_for("Tasks by state")
            terminal.type("\x03")
            assert terminal.exit_status() == 0, terminal.text
            assert b"\x1b[?1049l" in terminal.raw  # the screen as it was
            assert "Traceback" not in terminal.text

    await asyncio.to_thread(run)


async def test_following_is_left_by_ctrl_c(filled: str, redis_url: str, tmp_path: Path) -> None:
    def run() -> None:
        arguments = ("-q", filled, "-s", "pending", "--redis", redis_url)
        with Terminal("task", "ls", "--follow", *arguments, cwd=tmp_path) as terminal:
            terminal.wait_for("waiting for pending tasks")
            terminal.type("\x03")
            assert terminal.exit_status() == 0, terminal.text
            assert "Traceback" not in terminal.text

    await asyncio.to_thread(run)


async def test_reader_that_leaves_ends_the_command_quietly(
    redis: Redis, redis_url: str, queue: str, tmp_path: Path
) -> None:
    await put(redis, queue, "pending", [f"{n}" for n in range(1000)], payload=b"x" * 1000)

    def run() -> tuple[bytes, int]:
        process = subprocess.Popen(
            [*Command.program, "task", "ls", "-q", queue, "-s", "pending", "--all",
             "--redis", redis_url],
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        with process, process.stderr as stderr:
            process.stdout.readline()
            process.stdout.close()
            return stderr.read(), process.wait(120)

    assert await asyncio.to_thread(run) == (b"", 141)


@pytest.mark.parametrize("locale", ["C", "POSIX"])
async def test_locale_that_lacks_a_character_stops_nothing(
    redis: Redis, redis_url: str, queue: str, tmp_path: Path, locale: str
) -> None:
    await put(redis, queue, "pending", ["ä漢"])
    env = {"LC_ALL": locale, "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    arguments = ("-q", queue, "-s", "pending", "--redis", redis_url)

    def run() -> str:
        with Command("task", "ls", *arguments, cwd=tmp_path, env=env) as command:
            assert command.exit_status() == 0, command.output
            return command.output

    assert r"\xe4\u6f22" in await asyncio.to_thread(run)
