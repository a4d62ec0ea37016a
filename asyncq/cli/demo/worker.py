"""The demo's worker: a process of its own, as anybody would start it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from io import FileIO
from pathlib import Path

from ..failure import CommandError, Exit
from ..supervised import Supervised
from .look import Queues

_START_S = 60.0
_STOP_S = 8.0
_LAST_LINES = 12


class Worker:
    """A running worker process."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log

    def check(self) -> None:
        """Raises `CommandError` with its last words if the process has ended."""
        if self._process.returncode is not None:
            raise self._failed(f"the worker process ended with {self._process.returncode}")

    async def wait_ready(self, ready: FileIO) -> None:
        """Returns when it has found its tasks and Redis. Raises `CommandError` if it does not."""
        loop, readable = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(ready, readable.set)
        try:
            async with asyncio.timeout(_START_S):
                await readable.wait()
        except TimeoutError:
            raise self._failed(f"the worker process was not ready in {_START_S:g} s") from None
        finally:
            loop.remove_reader(ready)
        if not ready.read(1):
            await self._process.wait()
            self.check()

    async def stop(self) -> None:
        """Returns when the process is gone, gracefully or not."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_STOP_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    def _failed(self, what: str) -> CommandError:
        lines = self._log.read_text(errors="replace").splitlines()[-_LAST_LINES:]
        said = "\n".join(f"  {line}" for line in lines)
        return CommandError(f"{what}; it said:\n{said}", status=Exit.FAILED)


@asynccontextmanager
async def worker_process(
    directory: Path, redis_url: str, queues: Queues, log: Path
) -> AsyncGenerator[Worker]:
    """A worker of `directory`'s tasks on these queues; gone when this ends."""
    command = [sys.executable, "-m", "asyncq", "worker", "tasks:make_server"]
    for name, weight in queues.weights().items():
        command += ["--queue", f"{name}={weight}"]
    with _pipe() as (lifeline, _), _pipe() as (ready, told_ready):
        # The lifeline: should this process be killed, the worker notices and leaves.
        line = Supervised(
            number=0, announces=False, lifeline=lifeline.fileno(), reports=told_ready.fileno()
        )
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *(*command, "--shutdown-timeout", "1"),
                cwd=directory,
                # In the environment, as others can read a command line and there may be a password.
                env={**os.environ, "ASYNCQ_REDIS_URL": redis_url, **line.to_environment()},
                pass_fds=(lifeline.fileno(), told_ready.fileno()),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for this process, which stops the worker
            )
        told_ready.close()  # only the worker's copy is left: the pipe ends when the worker does
        worker = Worker(process, log)
        try:
            await worker.wait_ready(ready)
            yield worker
        finally:
            await worker.stop()


@contextmanager
def _pipe() -> Generator[tuple[FileIO, FileIO]]:
    reader, writer = os.pipe()
    with FileIO(reader, "r") as read, FileIO(writer, "w") as write:
        yield read, write
