"""How long a task waits for its next attempt after the `kill -9` of its worker, at the settings
that users have.

python -m chaos.recovery [KILLS [KILLS_OF_GO]]
"""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from redis_servers import RedisServer
from waiting import until

from asyncq import Client, ServeMux, Server, ServerConfig, Task, current

from .go import GoWorker
from .journal import Note, notes
from .nursery import Child, Process
from .roles import Told, journal, tell_of_start, told

_HEARTBEATS_S = 10
"""Workers are killed at any moment between two heartbeats, of which some have been."""
_MOST_QUEUES = 12
"""So many queues a worker waits on at most before it polls some."""

mux = ServeMux()


@mux.handle("hang-first")
async def hang_first(task: Task) -> None:
    journal().note("start", task.payload.decode(), number=current().retry_count)
    if current().retry_count == 0:
        await asyncio.Event().wait()


def worker() -> Server:
    """A target of `asyncq worker`: defaults throughout."""
    return Server(
        None, mux, ServerConfig(queues=dict.fromkeys(told().queues, 1), lifespan=tell_of_start)
    )


class Measure:
    """Some workers with a task each, and others that see them die."""

    def __init__(self, directory: Path, url: str, language: str) -> None:
        self._directory = directory
        self._url = url
        self._language = language
        self._processes: list[Process] = []

    def python(self, name: str, queues: Sequence[str]) -> Process:
        """A worker of ours."""
        mine = Told(directory=str(self._directory), name=name, queues=queues, seed=0)
        environment = {"ASYNCQ_REDIS_URL": self._url, **mine.to_environment()}
        command = ("worker", "chaos.recovery:worker")
        return self._made(Child(command, environment, self._directory / f"{name}.log"))

    def _made(self, process: Process) -> Process:
        self._processes.append(process)
        return process

    async def run(self, kills: int, make: Callable[[str, Sequence[str]], Process]) -> list[float]:
        """Seconds from each kill to the next attempt, the shortest first."""
        queues = [f"{self._language}{n}" for n in range(kills)]
        victims = {queue: make(f"victim-{queue}", [queue]) for queue in queues}
        async with Client(self._url) as client:
            for queue in queues:
                await client.enqueue(Task("hang-first", queue, queue=queue))
        await until(lambda: len(self._starts(0, queues)) == kills, "all hold their task")
        others = [queues[n : n + _MOST_QUEUES] for n in range(0, kills, _MOST_QUEUES)]
        for n, some in enumerate(others):
            make(f"rescuer-{self._language}{n}", some)
        killed: dict[str, int] = {}

        async def kill(queue: str, victim: Process) -> None:
            await asyncio.sleep(random.uniform(_HEARTBEATS_S, 2 * _HEARTBEATS_S))
            victim.kill()
            killed[queue] = time.monotonic_ns()

        await asyncio.gather(*(kill(*one) for one in victims.items()))
        await until(
            lambda: len(self._starts(1, queues)) == kills, "all run again", longest_s=200, every_s=1
        )
        again = self._starts(1, queues)
        return sorted((again[queue].at_ns - at_ns) / 1e9 for queue, at_ns in killed.items())

    def close(self) -> None:
        for process in self._processes:
            process.kill()

    def go(self, port: int) -> Callable[[str, Sequence[str]], Process]:
        """What makes workers of Go, for one queue each."""

        def make(name: str, queues: Sequence[str]) -> Process:
            log = self._directory / f"{name}.log"
            made = [
                self._made(GoWorker(self._directory, f"{name}{n}", port, queue, log))
                for n, queue in enumerate(queues)
            ]
            return made[0]

        return make

    def _starts(self, number: int, queues: Sequence[str]) -> dict[str, Note]:
        return {
            note.token: note
            for note in notes(self._directory)
            if note.event == "start" and note.number == number and note.token in queues
        }


async def main(kills: int, kills_of_go: int) -> None:
    directory = Path(tempfile.mkdtemp(prefix="asyncq-chaos-recovery-"))
    with RedisServer(tcp=True) as server:
        for language, count in (("python", kills), ("go", kills_of_go)):
            if not count:
                continue
            measure = Measure(directory, server.url, language)
            try:
                make = measure.python if language == "python" else measure.go(server.port)
                found = await measure.run(count, make)
            finally:
                measure.close()
            _say(
                f"{language}: {count} kills; seconds from kill to the next attempt: least"
                f" {found[0]:.1f}, p50 {statistics.median(found):.1f}, max {found[-1]:.1f}"
            )


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - what this is run for


if __name__ == "__main__":
    asyncio.run(main(*[int(arg) for arg in sys.argv[1:]] or (40, 0)))
