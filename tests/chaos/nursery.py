"""Starts processes that have imported asyncq already: forked from one that did nothing else.

To import all that a worker needs takes longer than many a fault of this campaign lasts. Otherwise
they are as real as any: each has its pid, its session, its log, and dies of `kill -9`.
"""

from __future__ import annotations

import asyncio
import importlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from redis_servers import forget_process, watch_process

_FORKING = multiprocessing.get_context("forkserver")
_FORKING.set_forkserver_preload(
    [
        "asyncq.cli.main",
        "asyncq.cli.process",
        "asyncq.cli.scheduling",
        "asyncq.cli.supervisor",
        "chaos.roles",
        "uvloop",
    ]
)
TESTS = Path(__file__).parent.parent


class Process(Protocol):
    """What a fleet asks of a process."""

    @property
    def pid(self) -> int: ...

    @property
    def log(self) -> str: ...

    @property
    def status(self) -> int | None: ...

    def send_signal(self, number: int) -> None: ...

    def kill(self) -> None: ...

    async def wait(self, longest_s: float) -> int | None: ...


class Child:
    """One process. It is killed when the process that started it is gone."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self._log = log
        self._process = _FORKING.Process(
            target=_become, args=(list(command), dict(environment), log), daemon=True
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid
        watch_process(self.pid)

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def status(self) -> int | None:
        """None while it runs."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.status is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
        self._process.join()
        forget_process(self.pid)

    async def wait(self, longest_s: float) -> int | None:
        """The exit status; None if it is still there after so long."""
        loop = asyncio.get_running_loop()
        until = loop.time() + longest_s
        while self.status is None:
            if loop.time() > until:
                return None
            await asyncio.sleep(0.01)
        forget_process(self.pid)
        return self.status


def _become(command: list[str], environment: dict[str, str], log: Path) -> None:
    os.setsid()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.environ.update(environment)
    os.chdir(TESTS)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["asyncq", *command]
    # What a supervisor starts again for its worker processes.
    sys.orig_argv = [sys.executable, "-m", "asyncq", *command]
    if command[0] == "call":  # a function, as in chaos.roles:produce
        module, _, name = command[1].partition(":")
        getattr(importlib.import_module(module), name)()
    else:
        from asyncq.cli.main import main

        main()
