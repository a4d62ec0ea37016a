"""Where a measure takes place: the server, the board, how much is asked of each contestant."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from benchmarks.contestants import board
from benchmarks.programs import Contestant, ContestantError, Workers
from benchmarks.server import Server

Figures: TypeAlias = Mapping[str, float]
"""What one run of a measure gave, by name; the unit is part of the name."""

LOOK_S = 0.005
QUIET_S = 30.0
"""A worker that runs nothing for so long, with tasks waiting, has failed. The slowest rivals
start in about three seconds, and look at their queues once a second."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    rounds: int
    seconds: float
    """How long an enqueue or a drain should take: a contestant is given as many tasks. 0: a few
    hundred tasks, whoever it is."""
    backlog: int
    """The most tasks of a drain, for each process."""
    large_backlog: int
    latencies: int
    spread_ms: float
    """Delayed tasks are due over so long."""
    idle_s: float
    concurrencies: Sequence[int]


FULL = Sizes(
    rounds=3,
    seconds=2,
    backlog=20_000,
    large_backlog=1_000_000,
    latencies=200,
    spread_ms=6000,
    idle_s=20,
    concurrencies=(10, 100, 500),
)
QUICK = Sizes(
    rounds=1,
    seconds=0,
    backlog=2000,
    large_backlog=5000,
    latencies=20,
    spread_ms=500,
    idle_s=2,
    concurrencies=(100,),
)


@dataclass(frozen=True)
class Place:
    server: Server
    board_path: Path
    sizes: Sizes
    _counts: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])

    def fresh(self) -> board.Board:
        """Empties Redis, its statistics, and the board."""
        self.server.empty()
        self.server.redis.config_resetstat()
        board.create(self.board_path)
        return board.Board(self.board_path)

    def count(
        self,
        contestant: Contestant,
        what: str,
        most: int,
        rate_of: Callable[[int], float],
        probe: int = 500,
    ) -> int:
        """How many tasks take the contestant `sizes.seconds`, found once by a short run."""
        if not self.sizes.seconds:
            return min(probe, most)
        key = (contestant.name, what)
        if key not in self._counts:
            rate = rate_of(min(probe, most))
            self._counts[key] = max(min(probe, most), int(rate * self.sizes.seconds))
        return min(most, self._counts[key])


def until(
    seen: board.Board,
    runs: int,
    workers: Workers,
    look: Callable[[int], None] | None = None,
    quiet_s: float = QUIET_S,
) -> None:
    """Returns when handlers have run so many times. `look` is told the number, again and again.

    Raises:
        ContestantError: a worker has ended, or nothing runs
    """
    last, since = 0, time.monotonic()
    while True:
        now = seen.runs()
        if look is not None:
            look(now)
        if now >= runs:
            return
        if now > last:
            last, since = now, time.monotonic()
        workers.check()
        if time.monotonic() - since > quiet_s:
            reason = f"{now:,} of {runs:,} tasks were run, then none for {quiet_s:.0f} s"
            raise ContestantError(f"{reason}: {workers.last_words()}")
        time.sleep(LOOK_S)
