"""Contestants as programs: asked one thing at a time, or started as workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
ASK_TIMEOUT_S = 600  # a million tasks take a slow producer minutes
STOP_TIMEOUT_S = 15


class UnsupportedError(Exception):
    """The library has no way to do this."""


class ContestantError(Exception):
    """A contestant did not do what it was asked."""


@dataclass(frozen=True)
class Contestant:
    """A program that speaks the protocol, and what it said about itself."""

    name: str
    command: Sequence[str]
    directory: Path
    info: dict[str, str] = field(default_factory=dict[str, str])
    worker_flags: Sequence[str] = ()
    """Of its own, for a setting that is measured beside its best one."""

    def ask(self, action: str, **options: object) -> dict[str, Any]:
        """The answer of one action.

        Raises:
            UnsupportedError: the library cannot do it
            ContestantError: the program failed; the message has its last words
        """
        with tempfile.TemporaryFile() as log:
            try:
                done = subprocess.run(
                    [*self.command, action, *_flags(options)],
                    cwd=self.directory,
                    env=_environment(options),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    timeout=ASK_TIMEOUT_S,
                    check=False,
                )
            except subprocess.TimeoutExpired as error:
                raise ContestantError(f"{action} took more than {ASK_TIMEOUT_S} s") from error
            if done.returncode:
                reason = f"{action} ended with {done.returncode}: {_last_words(log)}"
                raise ContestantError(reason)
        try:
            answer: dict[str, Any] = json.loads(done.stdout)
        except ValueError as error:
            raise ContestantError(f"{action} answered {done.stdout[:200]!r}") from error
        if "unsupported" in answer:
            raise UnsupportedError(answer["unsupported"])
        return answer

    @contextmanager
    def working(self, processes: int, **options: object) -> Generator[Workers]:
        """Worker processes; they may still be starting."""
        with ExitStack() as stack:
            yield Workers(
                [
                    stack.enter_context(self._worker(slot=slot, processes=1, **options))
                    for slot in range(processes)
                ]
            )

    @contextmanager
    def _worker(self, **options: object) -> Generator[Worker]:
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen(
                [*self.command, "work", *_flags(options), *self.worker_flags],
                cwd=self.directory,
                env=_environment(options),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,  # so that its children can be found, and ended
            )
            try:
                yield Worker(process, log)
            finally:
                _end(process)


@dataclass(frozen=True)
class Worker:
    process: subprocess.Popen[bytes]
    log: Any

    def last_words(self) -> str:
        return _last_words(self.log)


@dataclass(frozen=True)
class Workers:
    """Workers started at once. Each is a session of its own."""

    each: Sequence[Worker]

    @property
    def sessions(self) -> set[int]:
        return {worker.process.pid for worker in self.each}

    def check(self) -> None:
        """Raises `ContestantError` if one has ended."""
        for worker in self.each:
            if worker.process.poll() is not None:
                code = worker.process.returncode
                raise ContestantError(f"a worker ended with {code}: {worker.last_words()}")

    def last_words(self) -> str:
        return " | ".join(worker.last_words() for worker in self.each)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_TIMEOUT_S)
    # What is left is killed, like the children of one that did end.
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def _flags(options: dict[str, object]) -> list[str]:
    return [
        text
        for name, value in options.items()
        for text in ("--" + name.replace("_", "-"), str(value))
    ]


def _environment(options: dict[str, object]) -> dict[str, str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    if "board" in options:
        environment["BENCH_BOARD"] = str(options["board"])
    return environment


def _last_words(log: Any) -> str:
    """The last line of an error output: for Python, the error itself."""
    log.seek(max(0, log.seek(0, os.SEEK_END) - 4000))
    lines = log.read().decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "it said nothing"
