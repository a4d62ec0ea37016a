"""The Go program of the page on moving from asynq shares its queue with the Python ones."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

from commands import Command
from docs_pages import blocks_of, write_programs
from redis_servers import RedisServer
from waiting import until

from asyncq import Inspector

from .build import SOURCE

PAGE = "docs/how-to/migrate-from-asynq.md"


def test_programs_of_both_languages_handle_the_tasks_of_the_other(
    tmp_path: Path, redis_server: RedisServer, queue: str
) -> None:
    address = f"localhost:{redis_server.port}"
    write_programs(PAGE, tmp_path)
    (tmp_path / "main.go").write_text(blocks_of(PAGE, "go")[0])
    for path in (*tmp_path.glob("*.py"), tmp_path / "main.go"):
        text = path.read_text().replace("localhost:6379", address)
        path.write_text(text.replace('"mail"', f'"{queue}"'))
    programs = [str(tmp_path / "emails"), str(tmp_path / "main.go")]
    build = ["go", "build", "-buildvcs=false", "-o", *programs]
    subprocess.run(build, cwd=SOURCE, check=True, timeout=600)

    class Emails(Command):
        program = (str(tmp_path / "emails"),)

    with Emails(cwd=tmp_path) as go:
        go.wait_for('delivering "welcome" to user 42')
        subprocess.run([sys.executable, "produce.py"], cwd=tmp_path, check=True, timeout=60)
        go.wait_for('delivering "tips" to user 42')
        go.send(signal.SIGTERM)
        assert go.exit_status() == 0

    async def let_go_enqueue() -> None:
        async with Inspector(f"redis://{address}/0") as inspector:
            await inspector.pause_queue(queue)  # so that Go's worker leaves the task to ours
            with Emails(cwd=tmp_path):
                await until(lambda: inspector.list_tasks(queue, "pending"), "Go has enqueued")
            await inspector.unpause_queue(queue)

    asyncio.run(let_go_enqueue())
    worker = ("worker", "emails:mux", "--redis", f"redis://{address}/0", "--queue", queue)
    with Command(*worker, cwd=tmp_path) as python:
        python.wait_for("delivering 'welcome' to user 42")
