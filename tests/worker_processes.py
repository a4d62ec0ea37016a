"""Real worker processes for the fault tests: `asyncq worker` with the handlers of `worker_targets`.

async with Workers(url, tmp_path, config={"queues": {queue: 1}}) as workers:
    worker = await workers.start()
    worker.send_signal(signal.SIGTERM)
    assert await worker.wait() == 0
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from standing import until
from waiting import soon


@dataclass(frozen=True, slots=True)
class Note:
    """One line of a journal. `at_ns` is comparable between processes of one machine."""

    at_ns: int
    event: str
    queue: str
    task_id: str
    retry_count: int


class Workers:
    """Worker processes that share a directory. Those that still run at the end are killed."""

    def __init__(
        self,
        url: str,
        directory: Path,
        *,
        config: Mapping[str, Any],
        timing: Mapping[str, float] | None = None,
        retry_delay: float = 3600,
    ) -> None:
        self._directory = directory
        self._environment = os.environ | {
            "ASYNCQ_REDIS_URL": url,
            "ASYNCQ_TEST_WORKER": json.dumps(
                {
                    "directory": str(directory),
                    "config": dict(config),
                    "timing": dict(timing or {}),
                    "retry_delay": retry_delay,
                }
            ),
        }
        self._started: list[Worker] = []

    async def start(self) -> Worker:
        """Returns when the worker is about to take tasks."""
        log = self._directory / f"log.{len(self._started)}"
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "asyncq", "worker", "worker_targets:server"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=Path(__file__).parent,
                env=self._environment,
            )
        worker = Worker(process, log)
        self._started.append(worker)
        journal = self._directory / f"journal.{process.pid}"
        await until(
            lambda: journal.exists() or process.returncode is not None,
            lambda: f"the worker does not start:\n{worker.log}",
        )
        assert process.returncode is None, f"the worker ended:\n{worker.log}"
        return worker

    def notes(self, event: str | None = None) -> list[Note]:
        """What handlers noted, in the order of time."""
        found: list[Note] = []
        for journal in self._directory.glob("journal.*"):
            for line in journal.read_text().splitlines():
                at_ns, what, queue, task_id, retry_count = line.split()
                if event in (None, what):
                    found.append(Note(int(at_ns), what, queue, task_id, int(retry_count)))
        return sorted(found, key=lambda note: note.at_ns)

    def count(self, event: str) -> int:
        """How many such notes there are, cheaply."""
        word = f" {event} ".encode()
        return sum(file.read_bytes().count(word) for file in self._directory.glob("journal.*"))

    async def reach(self, event: str, count: int) -> None:
        """Return when there are so many such notes."""
        await until(
            lambda: self.count(event) >= count,
            lambda: "\n".join(f"{self.count(event)} {event}\n{w.log}" for w in self._started),
        )

    def times(self, event: str) -> Counter[str]:
        """How often each task noted this."""
        return Counter(note.task_id for note in self.notes(event))

    def open_gate(self) -> None:
        """Let `gated` tasks end."""
        (self._directory / "gate").touch()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for worker in self._started:
            await worker.kill()


class Worker:
    """One process."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def is_running(self) -> bool:
        return self._process.returncode is None

    def send_signal(self, number: int) -> None:
        os.kill(self._process.pid, number)  # asyncio's `send_signal` may lose the exit status

    async def says(self, words: str, *, longest_s: float = 120) -> None:
        """Return when the log has these words."""
        await until(lambda: words in self.log, lambda: self.log, longest_s=longest_s)

    async def wait(self) -> int:
        """The exit status."""
        return await soon(self._process.wait())

    async def kill(self) -> None:
        """SIGKILL, if it still runs."""
        if self.is_running:
            self._process.kill()
        await self._process.wait()
