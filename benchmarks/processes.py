"""What processes cost, from /proc. Elsewhere than on Linux these figures are missing."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_AFTER_NAME = {"session": 3, "utime": 11, "stime": 12, "cutime": 13, "cstime": 14}


@dataclass(frozen=True)
class Usage:
    """Of all processes of some sessions, those that have ended and were waited for included."""

    cpu_seconds: float
    resident_bytes: int


def usage(sessions: set[int]) -> Usage | None:
    """What the processes of these sessions have used; None where there is no /proc."""
    if not _PROC.is_dir():
        return None
    ticks = resident = 0
    for entry in _PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # The name may hold anything, a bracket too; nothing after it does.
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[_AFTER_NAME["session"]]) not in sessions:
                continue
            pages = int((entry / "statm").read_text().split()[1])
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            continue
        ticks += sum(int(fields[n]) for name, n in _AFTER_NAME.items() if name != "session")
        resident += pages * os.sysconf("SC_PAGE_SIZE")
    return Usage(ticks / os.sysconf("SC_CLK_TCK"), resident)


def machine_ticks() -> tuple[int, int] | None:
    """Busy and all ticks of all cores since the machine was started."""
    try:
        line = (_PROC / "stat").read_text().partition("\n")[0]
    except FileNotFoundError:
        return None
    ticks = [int(field) for field in line.split()[1:9]]
    idle = ticks[3] + ticks[4]
    return sum(ticks) - idle, sum(ticks)


def cpu_model() -> str:
    """As far as the system tells."""
    try:
        for line in (_PROC / "cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except FileNotFoundError:
        pass
    return platform.processor() or platform.machine()
