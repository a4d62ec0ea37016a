"""One run of the demo: a Redis, a worker process, this process as the producer, and the end.

Imported only after `quickstart.make_importable`: `enqueue` and `tasks` are the quick start's.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from enqueue import (
    enqueue_failing,
    enqueue_files,
    enqueue_hanging,
    enqueue_import_twice,
    enqueue_reminder,
    enqueue_tick,
    files_of,
)
from redis.asyncio import Redis
from redis.exceptions import RedisError
from tasks import Attempts, Fingerprint, Lateness, Summary

from asyncq import AsyncqError, Client, TaskInfo

from ..failure import CommandError, Exit
from . import quickstart
from .display import Display, display
from .look import Look, Queues, Stored
from .place import redis_for_demo
from .report import print_closing, print_opening
from .story import TICKS, Story, rows
from .worker import Worker, worker_process

_LOOK_EVERY_S = 0.05
_STALLED_S = 30.0
"""After so long without any progress the demo ends, and tells what is missing."""
_INTERRUPTED = 128


def run_demo(root: Path, redis_url: str | None) -> int:
    """Runs it all; the exit status. Raises `CommandError` if it cannot be run."""
    names = list(files_of(root))
    good = [name for name in names if _is_text(name)]
    if not good:
        raise CommandError(f"there are no files to read below {root}; name another directory")
    story = Story(
        files=len(good),
        directories=len({str(Path(name).parent) for name in good}),
        skipped=len(names) - len(good),
    )
    stopped: list[signal.Signals] = []
    try:
        asyncio.run(_demo(root, good, redis_url, story, stopped))
    except asyncio.CancelledError:
        number = stopped[0] if stopped else signal.SIGINT
        print(f"\n{number.name}: the worker is stopped, nothing is left behind", file=sys.stderr)
        return _INTERRUPTED + number
    except (AsyncqError, RedisError) as error:
        raise CommandError(f"the demo lost its Redis: {error}", status=Exit.NO_REDIS) from None
    seen = rows(story)
    print_closing(story, seen, root, quickstart.nearest_copy())
    return Exit.OK if all(row.kept for row in seen) else Exit.FAILED


def _is_text(name: str) -> bool:
    return name == name.encode(errors="replace").decode()


async def _demo(
    root: Path, names: list[str], url: str | None, story: Story, stopped: list[signal.Signals]
) -> None:
    _cancel_on_signal(stopped)
    async with redis_for_demo(url) as place:
        print_opening(root, story, place.described)
        queues = Queues.unique()
        with tempfile.TemporaryDirectory(prefix="asyncq-demo-") as directory:
            log = Path(directory, "worker.log")
            async with (
                Client(place.url) as client,
                _looking(place.url, queues) as look,
                worker_process(quickstart.directory(), place.url, queues, log) as worker,
            ):
                with display(story, queues) as shown:
                    await _Run(client, look, worker, queues, story, shown).play(root, names)


def _cancel_on_signal(stopped: list[signal.Signals]) -> None:
    """A signal to stop ends this task, in order; another one does not disturb that."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def stop(number: signal.Signals) -> None:
        if task is not None and not stopped:
            stopped.append(number)
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)


@asynccontextmanager
async def _looking(url: str, queues: Queues) -> AsyncGenerator[Look]:
    """Reads the queues, and deletes them in the end, when the worker is gone."""
    async with Redis.from_url(url) as redis:
        look = Look(redis, queues)
        try:
            yield look
        finally:
            await look.delete()


class _Run:
    """The producer, and the watching of what comes of its tasks."""

    def __init__(
        self,
        client: Client,
        look: Look,
        worker: Worker,
        queues: Queues,
        story: Story,
        shown: Display,
    ) -> None:
        self._client = client
        self._look = look
        self._worker = worker
        self._queues = queues
        self._story = story
        self._shown = shown
        self._moved = time.monotonic()

    async def play(self, root: Path, names: list[str]) -> None:
        start = time.monotonic()
        await self._pick_up()
        await self._work(root, names)
        await self._read_results()
        self._story.seconds = time.monotonic() - start

    async def _pick_up(self) -> None:
        """Single tasks for a worker that has nothing else to do."""
        await self._time_one()  # the worker may be starting still: this one does not count
        while len(self._story.pickups) < TICKS and not self._is_stalled():
            self._story.pickups += await self._time_one()
            self._shown.update()

    async def _time_one(self) -> list[float]:
        """How long one task took to its handler; empty if it never got there."""
        info = await enqueue_tick(self._client, self._queues.run)
        while not self._is_stalled():
            self._worker.check()
            stored = await self._task(info)
            if stored.state == "completed":
                self._has_moved()
                return [Lateness.model_validate_json(stored.result).seconds]
            await asyncio.sleep(0.005)
        return []

    async def _work(self, root: Path, names: list[str]) -> None:
        client, queue, story = self._client, self._queues.run, self._story
        late = await enqueue_reminder(client, queue)
        first, story.duplicate_refused = await enqueue_import_twice(client, queue)
        failing = await enqueue_failing(client, queue)
        hanging = await enqueue_hanging(client, queue)
        since = time.monotonic()
        producing = asyncio.create_task(
            enqueue_files(client, root, iter(names), self._queues.files)
        )
        try:
            while not self._is_stalled():
                self._worker.check()
                await self._look_at_specials(late, first, failing, hanging, since)
                files_done = await self._look_at_files(since)
                self._shown.update()
                if producing.done():
                    producing.result()  # raises what it raised
                    if files_done and story.specials_done:
                        return
                await asyncio.sleep(_LOOK_EVERY_S)
        finally:
            producing.cancel()
            await asyncio.wait({producing})

    async def _look_at_files(self, since: float) -> bool:
        """Whether all of them are read and summarised."""
        story = self._story
        before, story.counts = story.counts, await self._look.counts()
        if story.counts != before:
            self._has_moved()
        files, summaries = (
            story.counts[self._queues.files],
            story.counts[self._queues.summaries],
        )
        read = files.finished >= story.files
        if not read or not story.reading_s:
            story.reading_s = time.monotonic() - since
        story.files_archived = files.archived
        story.summaries = summaries.completed
        return read and not files.unfinished and not summaries.unfinished

    async def _look_at_specials(
        self, late: TaskInfo, first: TaskInfo, failing: TaskInfo, hanging: TaskInfo, since: float
    ) -> None:
        story = self._story
        if story.late_s is None and (found := await self._task(late)).state == "completed":
            story.late_s = Lateness.model_validate_json(found.result).seconds
        if not story.first_imported:
            story.first_imported = (await self._task(first)).state == "completed"
        if not story.gave_up:
            found = await self._task(failing)
            story.attempts = Attempts.model_validate_json(found.result).made if found.result else 0
            story.gave_up = found.state == "archived"
        if not story.timed_out:
            found = await self._task(hanging)
            story.timed_out = found.state == "archived" and found.says("deadline exceeded")
            story.timed_out_s = time.monotonic() - since

    async def _task(self, info: TaskInfo) -> Stored:
        return await self._look.task(info.queue, info.id)

    async def _read_results(self) -> None:
        story = self._story
        story.counts = await self._look.counts()
        for stored in await self._look.completed(self._queues.files):
            found = Fingerprint.model_validate_json(stored.result)
            story.files_read += 1
            story.bytes_read += found.bytes
        for stored in await self._look.completed(self._queues.summaries):
            summary = Summary.model_validate_json(stored.result)
            story.files_summarised += summary.files
            story.bytes_summarised += summary.bytes

    def _has_moved(self) -> None:
        self._moved = time.monotonic()

    def _is_stalled(self) -> bool:
        return time.monotonic() - self._moved > _STALLED_S
