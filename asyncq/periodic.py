"""`PeriodicTaskManager`: keeps a scheduler in step with a list that may change."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, tzinfo
from typing import Any

from typing_extensions import Unpack

from . import _threads
from ._background import Background
from ._clock import Clock
from ._entry import Entry, Missed
from ._worker.loop import run_every
from .client import RedisSource
from .info import SchedulerEntry
from .options import Duration, EnqueueOptions, seconds
from .scheduler import PostEnqueue, PreEnqueue, Scheduler, Trace
from .task import Task

_log = logging.getLogger("asyncq")


class PeriodicTask:
    """What a provider lists: `Scheduler.register` is called with these, and checks them."""

    __slots__ = ("name", "options", "spec", "task")

    def __init__(
        self, spec: str, task: Task, *, name: str | None = None, **options: Unpack[EnqueueOptions]
    ) -> None:
        self.spec = spec
        self.task = task
        self.name = name
        self.options = options

    def __repr__(self) -> str:
        name = "" if self.name is None else f" {self.name!r}"
        return f"<PeriodicTask{name} {self.spec!r}: {self.task!r}>"


Provider = Callable[[], Iterable[PeriodicTask] | Awaitable[Iterable[PeriodicTask]]]
"""`provider()`: all periodic tasks there should be; async, or plain and called in a thread."""


class PeriodicTaskManager(Background):
    """A scheduler whose entries are those that `provider` lists, asked every `sync_interval`.

        async with PeriodicTaskManager(url, provider): ...      # or: await manager.run()

    At the start the list must be right: what the provider raises, and what is wrong with any of
    its entries, is raised by `start`. Later such an error is logged; if the provider raised,
    everything stays as it is, and if an entry is wrong, the others are kept in step, and the entry
    of the same name goes on as it was. An entry counts as changed, and is registered anew, when
    its name, spec, task, headers or options are others.

    The other settings are those of `Scheduler`, of which it has one of its own.

    Raises what `Scheduler` raises, and `TypeError` for a provider that cannot be called.
    """

    _what = "periodic task manager"

    def __init__(
        self,
        redis: RedisSource | None,
        provider: Provider,
        *,
        sync_interval: Duration = 180,
        location: tzinfo | str = UTC,
        heartbeat_interval: Duration = 10,
        missed: Missed = "skip",
        pre_enqueue: PreEnqueue | None = None,
        post_enqueue: PostEnqueue | None = None,
        trace: Trace | None = None,
        _clock: Clock | None = None,
    ) -> None:
        super().__init__()
        if not callable(provider):
            raise TypeError(
                f"provider= takes a function that returns a list of PeriodicTask, got {provider!r}"
            )
        self._provider: Any = provider
        self._sync_s = seconds("sync_interval", sync_interval)
        if self._sync_s <= 0:
            raise ValueError(f"sync_interval= must be more than 0, got {sync_interval!r}")
        self._scheduler = Scheduler(
            redis,
            location=location,
            heartbeat_interval=heartbeat_interval,
            missed=missed,
            pre_enqueue=pre_enqueue,
            post_enqueue=post_enqueue,
            trace=trace,
            _clock=_clock,
        )
        self._registered: dict[str, Entry] = {}
        """By where their due times are kept: what tells entries apart."""

    @property
    def redis(self) -> RedisSource | None:
        """What was given to find Redis by."""
        return self._scheduler.redis

    @property
    def where(self) -> str:
        """The address of Redis, without secrets."""
        return self._scheduler.where

    @property
    def entries(self) -> list[SchedulerEntry]:
        """What is registered now."""
        return self._scheduler.entries

    def __repr__(self) -> str:
        return f"<PeriodicTaskManager at {self.where}: {self._state}>"

    async def _live(self, started: Callable[[], None]) -> None:
        problems = self._keep_in_step(await self._fetch())
        if problems:
            raise ValueError("periodic tasks: " + "; ".join(problems))
        async with self._scheduler:
            started()
            await run_every("periodic tasks", self._sync, self._sync_s, stop=self._stop)

    async def _sync(self) -> None:
        try:
            tasks = await self._fetch()
        except Exception:  # noqa: BLE001 - user code
            _log.exception("the provider of periodic tasks failed; they stay as they are")
            return
        for problem in self._keep_in_step(tasks):
            _log.error("periodic tasks: %s", problem)

    async def _fetch(self) -> list[PeriodicTask]:
        provider = self._provider
        if inspect.iscoroutinefunction(provider):
            listed: Any = await provider()
        else:
            listed = await _threads.run("provider", lambda _: provider(), None)
            if inspect.isawaitable(listed):
                listed = await listed
        if isinstance(listed, (str, bytes)) or not isinstance(listed, Iterable):
            raise TypeError(f"a provider returns a list of PeriodicTask, this one {listed!r}")
        return list(listed)

    def _keep_in_step(self, tasks: list[PeriodicTask]) -> list[str]:
        """Register what is new, unregister what is gone. Returns what is wrong with the list."""
        wanted: dict[str, Entry] = {}
        problems: list[str] = []
        wrong_names: set[str] = set()
        for number, task in enumerate(tasks, 1):
            try:
                entry = self._read(task)
            except (TypeError, ValueError) as error:
                problems.append(f"entry {number}, {task!r}: {error}")
                wrong_names.add(getattr(task, "name", None) or "")
                continue
            other = wanted.setdefault(entry.place.key, entry)
            if other is not entry:
                problems.append(
                    f"entry {number}, {entry}, is listed twice: the other is {other};"
                    " a name= of its own tells each apart"
                )
        self._replace(wanted, wrong_names - {""})
        return problems

    def _read(self, task: object) -> Entry:
        if not isinstance(task, PeriodicTask):
            raise TypeError("a provider lists PeriodicTask(spec, task, ...)")
        return self._scheduler.make_entry(task.spec, task.task, task.name, task.options)

    def _replace(self, wanted: dict[str, Entry], spared: set[str]) -> None:
        for key, entry in list(self._registered.items()):
            now = wanted.get(key)
            if entry.name in spared or (now and now.fingerprint == entry.fingerprint):
                wanted.pop(key, None)
                continue
            self._scheduler.unregister(entry.id)
            del self._registered[key]
        for key, entry in wanted.items():
            self._scheduler.add_entry(entry)
            self._registered[key] = entry
