"""Several worker processes, kept running; or one that starts anew when the code changes.

Each is this program again, with the same command line and a variable that says so: nothing is
forked, so nothing is shared by accident. They live in sessions of their own: a Ctrl-C reaches
them once, from here. See `supervised.py` for how they notice that the supervisor is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Generator, Sequence
from pathlib import Path

from . import logs
from .failure import CommandError, Exit
from .reloading import changes, check_installed
from .settings import WorkerSettings
from .supervised import Supervised

_log = logging.getLogger("asyncq")

LONGEST_PAUSE_S = 30.0
"""Between two restarts of a process that dies again and again."""
HEALTHY_S = 60.0
"""A process that ran for so long is restarted at once when it dies. By feel."""

_KILL_AT = 3
"""Which signal to stop ends processes that did not heed those before."""


def supervise(settings: WorkerSettings, watched: Sequence[Path] | None) -> int:
    """Runs until told to stop; the exit status.

    Raises `CommandError` if it cannot run at all.
    """
    if sys.platform == "win32":
        raise CommandError("--processes and --reload need a system with Unix signals; use WSL")
    if watched is not None:
        check_installed()
    logs.configure(settings.log_format, settings.log_level or logs.LogLevel.INFO)
    command = [sys.executable, *sys.orig_argv[1:]]
    return asyncio.run(Supervisor(command, settings.processes, watched).run())


class Supervisor:
    """Keeps `count` processes of `command` running; restarts them when files in `watched` change.

    The first one has to become ready before there are others: what is wrong with the command
    line or the target is said once.
    """

    def __init__(self, command: Sequence[str], count: int, watched: Sequence[Path] | None) -> None:
        # Nobody writes to it. It ends when this process is gone, and so do its readers.
        self._lifeline, self._held = os.pipe()
        self._watched = watched
        self._asked = 0
        self._slots = [
            _Slot(number, command, self._lifeline, reloads=watched is not None)
            for number in range(1, count + 1)
        ]

    async def run(self) -> int:
        """Returns the exit status when all processes have left."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_stop, number)
        loop.add_signal_handler(signal.SIGTSTP, self._on_quiet)
        first, *others = self._slots
        keeping = [asyncio.create_task(first.keep())]
        watching = asyncio.create_task(self._watch()) if self._watched is not None else None
        ready = asyncio.create_task(first.ready.wait())
        await asyncio.wait({ready, *keeping}, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if first.ready.is_set():
            keeping += [asyncio.create_task(slot.keep()) for slot in others]
        statuses = await asyncio.gather(*keeping)
        if watching is not None:
            watching.cancel()
        return next((_shell_status(status) for status in statuses if status), Exit.OK)

    def _on_stop(self, number: signal.Signals) -> None:
        self._asked += 1
        if self._asked < _KILL_AT:
            _log.info("%s: passed on to the worker processes", number.name)
            passed = signal.SIGTERM  # a process that is only starting dies of an INT with a noise
        else:
            _log.warning("%s again: killing the worker processes", number.name)
            passed = signal.SIGKILL
        for slot in self._slots:
            slot.leave(passed)

    def _on_quiet(self) -> None:
        for slot in self._slots:
            slot.quiet()

    async def _watch(self) -> None:
        async for paths in changes(self._watched or ()):
            _log.info("%s changed: starting anew", ", ".join(paths))
            for slot in self._slots:
                slot.restart()


class _Slot:
    """One worker process after another."""

    def __init__(
        self, number: int, command: Sequence[str], lifeline: int, *, reloads: bool
    ) -> None:
        self.ready = asyncio.Event()
        """A process of this slot has found its target and its Redis."""
        self._number = number
        self._command = command
        self._lifeline = lifeline
        self._reloads = reloads
        self._process: Process | None = None
        self._leaving = False
        self._restarting = False
        self._quiet = False
        self._deaths = 0
        self._wake = asyncio.Event()

    async def keep(self) -> int:
        """Returns the status of the last process: when told to leave, or if none ever worked."""
        clock = asyncio.get_running_loop().time
        while True:
            self._restarting = False
            self._wake.clear()
            started = clock()
            status = await self._run_one()
            if self._leaving:
                return 0 if status == -signal.SIGTERM else status
            if self._restarting:
                continue
            if clock() - started > HEALTHY_S:
                self._deaths = 0
            if self._is_hopeless(status):
                return status
            await self._pause(status)
            if self._leaving:
                return 0

    def leave(self, number: signal.Signals) -> None:
        """No more processes after this one, which is sent a signal."""
        stopping = self._restarting and not self._leaving
        self._leaving = True
        self._wake.set()
        # One that stops already, so as to be restarted, would take it for an "at once".
        if not stopping or number == signal.SIGKILL:
            self._send(number)

    def restart(self) -> None:
        """Another process when this one has left, which it is asked to."""
        if not self._restarting:
            self._restarting = True
            self._wake.set()
            self._send(signal.SIGTERM)

    def quiet(self) -> None:
        """No new tasks, and so no new processes."""
        self._quiet = True
        self._send(signal.SIGTSTP)

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            # Not `send_signal`: it looks first whether the process has ended, and if so takes its
            # status away from asyncio, which reports 255 then.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, number)

    async def _run_one(self) -> int:
        with self._ready_pipe() as ready:
            told = Supervised(
                number=self._number,
                announces=self._number == 1 and not self.ready.is_set(),
                lifeline=self._lifeline,
                ready=ready,
            )
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=DEVNULL,
                env={**os.environ, **told.to_environment()},
                pass_fds=(self._lifeline, ready),
                start_new_session=True,
            )
            os.close(ready)
            _log.info("started process %d (pid %d)", self._number, self._process.pid)
            if self._leaving or self._restarting:  # told so while the process was made
                self._send(signal.SIGTERM)
            return await self._process.wait()

    @contextlib.contextmanager
    def _ready_pipe(self) -> Generator[int]:
        """The end to write to, which is the caller's to close; `ready` is set when written to."""
        loop = asyncio.get_running_loop()
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        loop.add_reader(reader, self._read_ready, reader)
        try:
            yield writer
            self._read_ready(reader)  # it may have become ready and died since the last look
        finally:
            loop.remove_reader(reader)
            os.close(reader)

    def _read_ready(self, reader: int) -> None:
        asyncio.get_running_loop().remove_reader(reader)
        with contextlib.suppress(BlockingIOError):
            if os.read(reader, 1):
                self.ready.set()

    def _is_hopeless(self, status: int) -> bool:
        """Whether the first process of all could not even start."""
        if self.ready.is_set() or self._number > 1:
            return False
        return status == Exit.NO_REDIS or not self._reloads

    async def _pause(self, status: int) -> None:
        pid = self._process.pid if self._process else 0
        ended = f"process {self._number} (pid {pid}) {_ending(status)}"
        self._deaths += 1
        if self._reloads and status > 0 and status != Exit.NO_REDIS:
            _log.warning("%s; waiting for a change of the code", ended)
            await self._wake.wait()
        elif self._quiet:
            _log.warning("%s; no new tasks are taken, so it is not replaced", ended)
            await self._wake.wait()
        else:
            pause = min(2.0 ** (self._deaths - 2), LONGEST_PAUSE_S) if self._deaths > 1 else 0
            _log.warning("%s; starting another%s", ended, f" in {pause:g} s" if pause else "")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), pause)


def _ending(status: int) -> str:
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"left with status {status}"


def _shell_status(status: int) -> int:
    """As shells say it: 128 and the number of the signal."""
    return status if status >= 0 else 128 - status
