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
from collections.abc import Sequence
from pathlib import Path

from . import logs
from .failure import CommandError, Exit
from .monitoring import gathering
from .reloading import changes, check_installed
from .settings import WorkerSettings
from .worker_process import WorkerProcess

_log = logging.getLogger("asyncq")

LONGEST_PAUSE_S = 30.0
"""Between two restarts of a process that dies again and again."""
HEALTHY_S = 60.0
"""A process that ran for so long is restarted at once when it dies. By feel."""

_KILL_AT = 3
"""Which signal to stop ends processes that did not heed those before."""

_MOST_RETIRING = 3
"""How many processes of one number may run their last tasks while another takes new ones."""


def supervise(settings: WorkerSettings, watched: Sequence[Path] | None) -> int:
    """Runs until told to stop; the exit status.

    Raises `CommandError` if it cannot run at all.
    """
    if sys.platform == "win32":
        raise CommandError(
            "--processes, --reload, --max-tasks-per-process and --max-rss need a system with Unix"
            " signals; use WSL"
        )
    if watched is not None:
        check_installed()
    logs.configure(settings.log_format, settings.log_level or logs.LogLevel.INFO)
    command = [sys.executable, *sys.orig_argv[1:]]
    with gathering(settings.metrics):
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
        self._process: WorkerProcess | None = None
        self._retiring: dict[asyncio.Task[int], WorkerProcess] = {}
        """Those that take no new tasks, and run what they have."""
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
            if clock() - started > HEALTHY_S:
                self._deaths = 0
            if status is None:
                await self._make_way()
            elif not (self._leaving or self._restarting):
                if self._is_hopeless(status):
                    return status
                await self._pause(status)
                status = 0
            if self._leaving:
                return await self._last_status(status or 0)

    def leave(self, number: signal.Signals) -> None:
        """No more processes after this one, which is sent a signal."""
        stopping = self._restarting and not self._leaving
        self._leaving = True
        self._wake.set()
        for process in self._retiring.values():
            process.send(number)
        # One that stops already, so as to be restarted, would take it for an "at once".
        if self._process is not None and (not stopping or number == signal.SIGKILL):
            self._process.send(number)

    def restart(self) -> None:
        """Another process when this one has left, which it is asked to."""
        if not self._restarting:
            self._restarting = True
            self._wake.set()
            if self._process is not None:
                self._process.send(signal.SIGTERM)

    def quiet(self) -> None:
        """No new tasks, and so no new processes."""
        self._quiet = True
        if self._process is not None:
            self._process.send(signal.SIGTSTP)

    async def _run_one(self) -> int | None:
        """The status of a process that has ended; None of one that retires."""
        process = WorkerProcess(self._number, self.ready.set)
        self._process = process
        announces = self._number == 1 and not self.ready.is_set()
        await process.start(self._command, self._lifeline, announces=announces)
        _log.info("started process %d (pid %d)", self._number, process.pid)
        if self._leaving or self._restarting:  # told so while the process was made
            process.send(signal.SIGTERM)
        ended = asyncio.create_task(process.wait())
        retires = asyncio.create_task(process.retires.wait())
        await asyncio.wait({ended, retires}, return_when=asyncio.FIRST_COMPLETED)
        retires.cancel()
        if ended.done():
            return ended.result()
        self._process = None  # a signal is for those that retire, and reaches it once
        self._retiring[ended] = process
        ended.add_done_callback(self._see_off)
        return None

    def _see_off(self, ended: asyncio.Task[int]) -> None:
        process = self._retiring[ended]
        if not self._leaving:
            del self._retiring[ended]
        level = logging.WARNING if ended.result() else logging.INFO
        ending = _ending(ended.result())
        _log.log(level, "process %d (pid %d), replaced, %s", self._number, process.pid, ending)

    async def _make_way(self) -> None:
        """Return when another process may start in place of one that retires: those that take long
        over their last tasks must not become many."""
        if self._quiet:
            await self._wake.wait()
        if len(self._retiring) < _MOST_RETIRING:
            return
        _log.warning(
            "process %d: %d processes before it still run their last tasks; another is started"
            " when one of them has left",
            self._number,
            len(self._retiring),
        )
        waking = asyncio.create_task(self._wake.wait())
        await asyncio.wait({waking, *self._retiring}, return_when=asyncio.FIRST_COMPLETED)
        waking.cancel()

    async def _last_status(self, status: int) -> int:
        """That of the last process, or of one that retired, if it is the worse."""
        statuses = [status, *await asyncio.gather(*self._retiring)]
        return next((s for s in statuses if s not in (0, -signal.SIGTERM)), 0)

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
