"""The processes of a campaign: workers of both languages, producers, schedulers."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from waiting import until

from asyncq.cli.failure import Exit

from .go import GoWorker
from .journal import count
from .nursery import Child, Process
from .roles import Told

QUEUES = ("a", "b")
"""The first one is worked on by Go, too."""

TIMING = {
    "lease": 3,
    "heartbeat": 1,
    "claimed_grace": 1,
    "unclaimed_grace": 2,
    "recover": 0.5,
    "sweep": 1,
    "orphan": 3,
    "cancel": 1,
    "block": 1,
    "set_deadline": 3,
    "blocked_after": 1.5,
    "last_writes": 5,
}
_COMMANDS: dict[str, tuple[str, ...]] = {
    "worker": ("worker", "chaos.roles:worker", "--connect-timeout", "120"),
    "scheduler": ("scheduler", "chaos.roles:scheduler", "--connect-timeout", "120"),
    "producer": ("call", "chaos.roles:produce"),
}
_LONGEST_S = 60


@dataclass
class Fates:
    """What became of processes, by their ids."""

    killed: set[int] = field(default_factory=set[int])
    ended: set[int] = field(default_factory=set[int])
    """Asked to end."""
    problems: list[str] = field(default_factory=list[str])
    """Those that ended by themselves, or did not when they were asked to."""


class Member:
    """One place in the fleet, taken by one process after another."""

    def __init__(
        self, role: str, number: int, make: Callable[[str], Process], directory: Path, fates: Fates
    ) -> None:
        self.role = role
        self._number = number
        self._make = make
        self._directory = directory
        self._fates = fates
        self._generation = 0
        self._busy = False
        self._process: Process | None = None

    @property
    def name(self) -> str:
        """That of the process which is there now."""
        return f"{self.role}{self._number}-{self._generation}"

    @property
    def process(self) -> Process:
        assert self._process is not None
        return self._process

    @property
    def is_up(self) -> bool:
        """Whether its process has begun to work."""
        return count(self._directory, self.name, "up") > 0

    def start(self) -> None:
        self._generation += 1
        self._process = self._make(self.name)

    async def up(self) -> None:
        await until(
            lambda: self.is_up,
            lambda: f"{self.name} works; it said\n{self.last_words}",
            every_s=0.02,
        )

    async def kill(self, away_s: float) -> bool:
        """SIGKILL, and another process after a while. False if it is being replaced already."""

        async def kill() -> None:
            self._fates.killed.add(self.process.pid)
            self.process.kill()
            await asyncio.sleep(away_s)

        return await self._replaced(kill)

    async def end(self, hurry_s: float | None) -> bool:
        """SIGTERM, a second one after a while if that is given, and another process. False if it
        is being replaced already."""
        return await self._replaced(lambda: self._end(hurry_s))

    async def freeze(self, seconds: float) -> bool:
        """SIGSTOP, and SIGCONT after a while. It may be killed meanwhile."""
        process = self.process
        if not self.is_up or self._busy:
            return False
        process.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            if process.status is None:
                process.send_signal(signal.SIGCONT)
        return True

    async def step_clock(self) -> bool:
        """Its clock jumps, or jumps back. False if it does not work yet."""
        if not self.is_up or self._busy:
            return False
        self.process.send_signal(signal.SIGUSR2)
        return True

    async def leave(self) -> None:
        """SIGTERM for good."""
        await self._end(None)

    def replace_dead(self) -> None:
        """Another process if this one ended by itself, which it should not have, unless it found
        no Redis when it began: then whoever started it starts another."""
        status = self.process.status
        if self._busy or status is None:
            return
        was_starting = not self.is_up or self.role == "scheduler"
        if not (was_starting and status == Exit.NO_REDIS):
            self._fates.problems.append(f"{self.name} ended by itself:\n{self.last_words}")
        self.start()

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()

    @property
    def last_words(self) -> str:
        return self.process.log[-3000:]

    async def _replaced(self, how: Callable[[], Awaitable[None]]) -> bool:
        if self._busy:
            return False
        self._busy = True
        try:
            await how()
            self.start()
        finally:
            self._busy = False
        return True

    async def _end(self, hurry_s: float | None) -> None:
        process, was_up = self.process, self.is_up
        self._fates.ended.add(process.pid)
        process.send_signal(signal.SIGTERM)
        if hurry_s is not None:
            await asyncio.sleep(hurry_s)
            if process.status is None:
                process.send_signal(signal.SIGTERM)
        status = await process.wait(_LONGEST_S)
        # One that is only starting has no handler of signals yet; one that has ended its work, and
        # is told again, has none any more.
        may_die_of_it = not was_up or self.role == "scheduler" or hurry_s is not None
        if status != 0 and not (may_die_of_it and status == -signal.SIGTERM):
            self._fates.problems.append(f"{self.name} left with {status}:\n{self.last_words}")
            process.kill()


@dataclass
class Fleet:
    """All of them."""

    workers: list[Member]
    go_workers: list[Member]
    producers: list[Member]
    schedulers: list[Member]
    fates: Fates

    def __iter__(self) -> Iterator[Member]:
        yield from self.schedulers + self.workers + self.go_workers + self.producers


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How many there are of each."""

    workers: int = 3
    go_workers: int = 0
    producers: int = 2
    schedulers: int = 2


def make_fleet(
    told: Told,
    url: str,
    sizes: Sizes,
    *,
    go_port: int = 0,
    producer: tuple[str, ...] = _COMMANDS["producer"],
) -> Fleet:
    """None of them is started. Every second worker aggregates."""
    directory, fates = Path(told.directory), Fates()
    commands = _COMMANDS | {"producer": producer}

    def python(role: str, number: int) -> Member:
        mine = replace(told, aggregates=number % 2 == 0)

        def make(name: str) -> Process:
            environment = {"ASYNCQ_REDIS_URL": url, **replace(mine, name=name).to_environment()}
            return Child(commands[role], environment, directory / f"{name}.log")

        return Member(role, number, make, directory, fates)

    def go(number: int) -> Member:
        def make(name: str) -> Process:
            return GoWorker(directory, name, go_port, told.queues[0], directory / f"{name}.log")

        return Member("go", number, make, directory, fates)

    return Fleet(
        workers=[python("worker", n) for n in range(sizes.workers)],
        go_workers=[go(n) for n in range(sizes.go_workers)],
        producers=[python("producer", n) for n in range(sizes.producers)],
        schedulers=[python("scheduler", n) for n in range(sizes.schedulers)],
        fates=fates,
    )
