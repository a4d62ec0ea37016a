"""One worker process, as its supervisor sees it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable, Sequence

from .supervised import READY, RETIRING, Supervised


class WorkerProcess:
    """One worker process. `on_ready` is called when it has found its target and its Redis."""

    def __init__(self, number: int, on_ready: Callable[[], None]) -> None:
        self.retires = asyncio.Event()
        """It takes no new tasks, and leaves when those that it runs are done."""
        self._number = number
        self._on_ready = on_ready
        self._process: Process | None = None
        self._reports = -1

    @property
    def pid(self) -> int:
        """Its process id; 0 before it has one."""
        return self._process.pid if self._process is not None else 0

    async def start(self, command: Sequence[str], lifeline: int, *, announces: bool) -> None:
        """Start it: this program again, and a variable that tells it what it is."""
        self._reports, reports = os.pipe()
        os.set_blocking(self._reports, False)
        asyncio.get_running_loop().add_reader(self._reports, self._hear)
        told = Supervised(self._number, announces, lifeline, reports)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=DEVNULL,
                env={**os.environ, **told.to_environment()},
                pass_fds=(lifeline, reports),
                start_new_session=True,
            )
        finally:
            os.close(reports)

    async def wait(self) -> int:
        """Its status when it has ended, below 0 for that of a signal. To be called once."""
        assert self._process is not None
        status = await self._process.wait()
        self._hear()  # it may have become ready and died since the last look
        asyncio.get_running_loop().remove_reader(self._reports)
        os.close(self._reports)
        return status

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it is there."""
        if self._process is not None and self._process.returncode is None:
            # Not `send_signal`: it looks first whether the process has ended, and if so takes its
            # status away from asyncio, which reports 255 then.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, number)

    def _hear(self) -> None:
        try:
            said = os.read(self._reports, 16)
        except BlockingIOError:
            return
        if not said:  # the other end is closed
            asyncio.get_running_loop().remove_reader(self._reports)
        if READY in said:
            self._on_ready()
        if RETIRING in said:
            self.retires.set()
