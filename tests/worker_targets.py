"""What the worker processes of the fault tests run; `worker_processes` starts them.

Handlers write what they do into a journal, a file for each process.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import sys
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from asyncq import ServeMux, Server, ServerConfig, Task, current
from asyncq._worker.timing import Timing

mux = ServeMux()


@dataclass(frozen=True)
class State:
    """Owned by the process; what handlers find as `current().state`."""

    journal: int
    """A file descriptor, opened to append."""
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """Open once the file `gate` exists."""

    def note(self, event: str) -> None:
        context = current()
        line = (
            f"{time.monotonic_ns()} {event} {context.queue} {context.task_id} {context.retry_count}"
        )
        os.write(self.journal, line.encode() + b"\n")


def server() -> Server:
    """Made as the variable ASYNCQ_TEST_WORKER says."""
    wanted = json.loads(os.environ["ASYNCQ_TEST_WORKER"])
    directory = Path(wanted["directory"])

    @asynccontextmanager
    async def lifespan(server: Server) -> AsyncGenerator[State]:
        journal = directory / f"journal.{os.getpid()}"
        state = State(os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND))
        watching = asyncio.create_task(_watch_gate(directory / "gate", state.gate))
        yield state
        watching.cancel()

    config = ServerConfig(
        lifespan=lifespan, retry_delay=lambda *_: wanted["retry_delay"], **wanted["config"]
    )
    return Server(None, mux, config, _timing=Timing(**wanted["timing"]))


async def _watch_gate(file: Path, gate: asyncio.Event) -> None:
    while not file.exists():  # noqa: ASYNC240 - a look takes microseconds
        await asyncio.sleep(0.02)
    gate.set()


def _state() -> State:
    state = current().state
    assert isinstance(state, State)
    return state


@mux.handle("quick")
async def quick(task: Task) -> None:
    _state().note("done")


@mux.handle("gated")
async def gated(task: Task) -> None:
    """Done when the gate is open; cancelled, it ends at once."""
    state = _state()
    state.note("start")
    await state.gate.wait()
    state.note("done")


@mux.handle("hangs")
async def hangs(task: Task) -> None:
    _state().note("start")
    await asyncio.Event().wait()


@mux.handle("blocks")
async def blocks(task: Task) -> None:
    """Blocks the event loop for as many seconds as its payload says."""
    _state().note("start")
    time.sleep(float(task.payload))  # noqa: ASYNC251 - the point of it
    _state().note("done")


@mux.handle("holds-gil")
async def holds_the_gil(task: Task) -> None:
    """At the first attempt nothing else of the process runs until the gate is open."""
    _state().note("start")
    if not current().retry_count:
        gate = Path(json.loads(os.environ["ASYNCQ_TEST_WORKER"])["directory"]) / "gate"
        libc = ctypes.PyDLL(None)  # unlike CDLL it keeps the GIL
        interval = sys.getswitchinterval()
        sys.setswitchinterval(3600)
        while libc.access(bytes(gate), os.F_OK):
            libc.usleep(10_000)
        sys.setswitchinterval(interval)
    _state().note("done")


@mux.handle("not-utf8")
async def raises_what_is_not_utf8(task: Task) -> None:
    raise ValueError(b"caf\xe9 \xff".decode("utf-8", "surrogateescape") + "\ud800")


@mux.handle("unserialisable")
async def returns_what_cannot_be_stored(task: Task) -> object:
    return threading.Lock()


@mux.handle("exits")
async def calls_exit(task: Task) -> None:
    sys.exit(3)


@mux.handle("swallows")
async def swallows_its_cancellation(task: Task) -> None:
    _state().note("start")
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            _state().note("swallowed")


@mux.handle("thread")
def thread_that_never_returns(task: Task) -> None:
    _state().note("start")
    threading.Event().wait()
