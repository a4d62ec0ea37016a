"""Workers of Go's asynq: the program of the interoperation tests, one process each."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

from interop.build import build
from redis_servers import forget_process, watch_process

from .journal import Journal

_CACHE = Path(__file__).parent.parent.parent / ".pytest_cache" / "d" / "interop"
"""Where pytest keeps the programs, too."""


def program() -> Path:
    """The Go program, built if it has to be. Raises `NoGoError`."""
    _CACHE.mkdir(parents=True, exist_ok=True)
    return build(_CACHE) / "interop"


class GoWorker:
    """One process; what its handlers tell goes into the journal when it is read. As `Child`."""

    def __init__(self, directory: Path, name: str, port: int, queue: str, log: Path) -> None:
        self._log = log
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [program(), f"127.0.0.1:{port}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        self.pid: int = self._process.pid
        watch_process(self.pid)
        self._journal = Journal(directory, name, self.pid)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        config = {"queues": {queue: 1}, "concurrency": 10, "retry_delay": 0.2}
        self._say(n=0, do="start_worker", name="w", **config)

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def status(self) -> int | None:
        return self._process.poll()

    def send_signal(self, number: int) -> None:
        if number == signal.SIGTERM:  # which asynq's server leaves to its program
            self._say(n=1, do="stop_worker", name="w")
            assert self._process.stdin is not None
            self._process.stdin.close()
        else:
            self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL. What it told before is in the journal afterwards."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        forget_process(self.pid)

    async def wait(self, longest_s: float) -> int | None:
        """The exit status; None if it is still there after so long."""
        try:
            status = await asyncio.to_thread(self._process.wait, longest_s)
        except subprocess.TimeoutExpired:
            return None
        self._reader.join()
        forget_process(self.pid)
        return status

    def _say(self, **request: Any) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return  # it is gone, which `status` tells

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            told = json.loads(line)
            if told.get("n") == 0:
                self._journal.note("up" if "error" not in told else "broken", "-")
            elif "event" in told:
                self._note(told)

    def _note(self, told: dict[str, Any]) -> None:
        token, retried = str(told["payload"]), int(told["retried"])
        self._journal.note(str(told["event"]), token, number=retried)
        if told["event"] == "start" and told["type"] == "skip":
            self._journal.note("skipped", token, number=retried)
        if told["event"] == "start" and told["type"] == "fail-first" and retried == 0:
            self._journal.note("failed", token, number=retried)
