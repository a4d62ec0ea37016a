"""The tasks of the benchmarks."""

from __future__ import annotations

import time

from asyncq import ServeMux, Task

mux = ServeMux()


@mux.handle("noop")
async def noop(task: Task) -> None:
    pass


@mux.handle("lag")
async def lag(task: Task) -> str:
    """The payload is a Unix time; the result, how many seconds ago it was."""
    return repr(time.time() - float(task.payload))
