"""How soon tasks begin: those for an idle worker, and those with a delay. And what idling costs."""

from __future__ import annotations

import math
import re
import socket
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager

from benchmarks import processes
from benchmarks.contestants.board import Board
from benchmarks.place import Figures, Place, until
from benchmarks.programs import Contestant, Workers

WARM_UP = 10
APART_MS = 53  # no multiple of anybody's polling interval
SETTLED_S = 1.0
DELAY_MS = 2000
_MONITORED = re.compile(rb"^\+[\d.]+ \[\d+ (\S+)\] ", re.MULTILINE)


def pick_up(place: Place, contestant: Contestant, producer: Contestant | None = None) -> Figures:
    """From before the enqueue call to the handler, one task at a time, long apart."""
    with _idle_worker(place, contestant) as (seen, workers):
        noted = _noted(seen)
        count = place.sizes.latencies
        (producer or contestant).ask(
            "produce-stamped", redis=place.server.url, count=count, interval_ms=APART_MS
        )
        until(seen, WARM_UP + count, workers)
        return summary(_latencies(seen, noted))


def lateness(place: Place, contestant: Contestant) -> Figures:
    """How long after they were due delayed tasks begin; negative is early."""
    with _idle_worker(place, contestant) as (seen, workers):
        noted = _noted(seen)
        count, spread_ms = place.sizes.latencies, place.sizes.spread_ms
        contestant.ask(
            "produce-delayed",
            redis=place.server.url,
            count=count,
            delay_ms=DELAY_MS,
            spread_ms=spread_ms,
        )
        until(seen, WARM_UP + count, workers)
        return summary(_latencies(seen, noted))


def idling(place: Place, contestant: Contestant) -> Figures:
    """What a worker with nothing to do asks of Redis: sent by it, and run inside its scripts."""
    with _idle_worker(place, contestant) as (_, workers):
        start = processes.usage(workers.sessions)
        seconds = place.sizes.idle_s
        sent, inside = _monitored(place.server.port, seconds)
        end = processes.usage(workers.sessions)
    figures = {"calls_per_s": sent / seconds, "commands_in_scripts_per_s": inside / seconds}
    if start and end:
        figures["worker_rss_mib"] = end.resident_bytes / 2**20
        figures["worker_cpu_percent"] = (end.cpu_seconds - start.cpu_seconds) / seconds * 100
    return figures


def memory(place: Place, contestant: Contestant) -> Figures:
    """What Redis needs for a pending task, ids made by the library."""
    count = place.sizes.backlog
    place.fresh()
    # Once before: what is there whatever the number of tasks does not count.
    contestant.ask("fill", redis=place.server.url, count=WARM_UP, workload="noop")
    before = place.server.used_memory()
    contestant.ask("fill", redis=place.server.url, count=count, workload="noop")
    return {"bytes_per_task": (place.server.used_memory() - before) / count}


def summary(latencies_ns: Sequence[int]) -> Figures:
    return {
        "p50_ms": percentile(latencies_ns, 0.5) / 1e6,
        "p99_ms": percentile(latencies_ns, 0.99) / 1e6,
        "min_ms": min(latencies_ns) / 1e6,
        "max_ms": max(latencies_ns) / 1e6,
    }


def percentile(values: Sequence[int], share: float) -> int:
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


@contextmanager
def _idle_worker(place: Place, contestant: Contestant) -> Generator[tuple[Board, Workers]]:
    """A worker that has run a few tasks and has nothing more to do."""
    seen = place.fresh()
    with contestant.working(
        1,
        redis=place.server.url,
        concurrency=100,
        workload="stamp",
        board=place.board_path,
    ) as workers:
        contestant.ask(
            "produce-stamped", redis=place.server.url, count=WARM_UP, interval_ms=APART_MS
        )
        until(seen, WARM_UP, workers)
        time.sleep(SETTLED_S)
        yield seen, workers


def _noted(seen: Board) -> dict[int, int]:
    return {slot.first_ns: len(slot.latencies_ns) for slot in seen.slots()}


def _latencies(seen: Board, noted: dict[int, int]) -> list[int]:
    """Those noted since. A slot is known by its first run."""
    return [ns for slot in seen.slots() for ns in slot.latencies_ns[noted.get(slot.first_ns, 0) :]]


def _monitored(port: int, seconds: float) -> tuple[int, int]:
    """How many commands Redis ran: sent to it, and called by scripts."""
    said: list[bytes] = []
    deadline = time.monotonic() + seconds
    with socket.create_connection(("127.0.0.1", port)) as monitor:
        monitor.sendall(b"MONITOR\r\n")
        while (left := deadline - time.monotonic()) > 0:
            monitor.settimeout(left)
            try:
                said.append(monitor.recv(65536))
            except TimeoutError:
                break
    by = _MONITORED.findall(b"".join(said))
    inside = by.count(b"lua")
    return len(by) - inside, inside
