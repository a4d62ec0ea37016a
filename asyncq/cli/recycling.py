"""When a worker process has done enough, and is replaced: by its tasks, or by its memory."""

from __future__ import annotations

import asyncio
import os
import random
import re
import sys
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asyncq import Server

from .failure import CommandError

_LEAST_SHARE = 0.9
_LOOK_EVERY_S = 1.0
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMG])(?:i?B)?", re.IGNORECASE)
_STATM = Path("/proc/self/statm")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one worker process may do; None for as much as it likes."""

    tasks: int | None = None
    """How many attempts it may run."""
    memory: int | None = None
    """How much it may hold in memory (RSS), in bytes."""

    def __bool__(self) -> bool:
        return self.tasks is not None or self.memory is not None

    def check(self) -> None:
        """Raises `CommandError` if the process takes too much before it has run anything."""
        if self.memory is not None and (takes := resident()) >= self.memory:
            raise CommandError(
                f"the program takes {_shown(takes)} before its first task, but --max-rss allows"
                f" {_shown(self.memory)}; allow it more"
            )

    async def reached(self, server: Server) -> str:
        """Return when a server has done enough: what, for people. There has to be a limit."""
        await server.handled(1)  # whatever it takes to begin, each process is of some use
        waits = [asyncio.create_task(wait) for wait in self._waits(server)]
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()
        finally:
            for wait in waits:
                wait.cancel()

    def _waits(self, server: Server) -> Iterator[Coroutine[Any, Any, str]]:
        # Processes that began together are not to leave together.
        share = random.uniform(_LEAST_SHARE, 1.0)
        if self.tasks is not None:
            yield _has_run(server, max(1, round(self.tasks * share)))
        if self.memory is not None:
            yield _has_grown(self.memory, share)


async def _has_run(server: Server, count: int) -> str:
    await server.handled(count)
    return f"has run {count} tasks"


async def _has_grown(limit: int, share: float) -> str:
    at_first = resident()
    most = at_first + max(0, limit - at_first) * share
    while (takes := resident()) < most:  # noqa: ASYNC110 - memory sets no event
        await asyncio.sleep(_LOOK_EVERY_S)
    return f"takes {_shown(takes)}"


def parse_size(text: str) -> int:
    """Bytes, of `500M` or `1.5GiB`. Raises `ValueError`."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"a size is written as 500M or 1.5G (units K, M, G), got {text!r}")
    size = int(float(match[1]) * _UNITS[match[2].upper()])
    if size == 0:
        raise ValueError(f"a size is more than nothing, got {text!r}")
    return size


def resident() -> int:
    """The memory that this process holds, in bytes; the most it ever held where the system does
    not tell what it holds now."""
    if _STATM.exists():
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    if sys.platform == "win32":
        raise CommandError("--max-rss needs a system that tells; use WSL")
    import resource  # noqa: PLC0415 - does not exist on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _shown(size: int) -> str:
    return f"{size / _UNITS['M']:.0f} MiB"
