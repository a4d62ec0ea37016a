"""One scheduler process: from the target to its exit status."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from asyncq import (
    Client,
    PeriodicTaskFile,
    PeriodicTaskManager,
    RedisNotConfiguredError,
    RedisReplyError,
    RedisUnavailableError,
    Scheduler,
    __version__,
)

from . import leaving, logs
from .failure import CommandError, Exit
from .process import cancel_on_signal, interrupt, loop_factory
from .reach import use_redis, wait_for_redis
from .settings import NO_REDIS_GIVEN
from .target import Wanted, call_factory, load_target, wrong_type

WANTED = Wanted(
    (Scheduler, PeriodicTaskManager),
    "a target is a Scheduler, a PeriodicTaskManager, or a function without arguments that returns"
    " one of these; or a TOML or YAML file of periodic tasks",
    "scheduler",
)
_FILES = (".toml", ".yaml", ".yml")

Runnable: TypeAlias = Scheduler | PeriodicTaskManager

_log = logging.getLogger("asyncq")


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerSettings:
    """The flags of `asyncq scheduler`; None where one was not given."""

    target: str
    redis: str | None
    connect_timeout: float
    log_level: logs.LogLevel | None
    log_format: logs.LogFormat


def run_scheduler(settings: SchedulerSettings) -> int:
    """Runs the target until it is told to stop; the exit status.

    Raises `CommandError` if it cannot run at all.
    """
    logs.configure(settings.log_format, settings.log_level or logs.LogLevel.INFO)
    use_redis(settings.redis)
    signal.signal(signal.SIGTERM, interrupt)
    try:
        is_file = Path(settings.target).suffix.lower() in _FILES
        value = None if is_file else load_target(settings.target, WANTED)
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            return runner.run(_work(value, settings))
    except KeyboardInterrupt:
        return Exit.OK  # told to leave before there was anything to finish


async def _work(value: object, settings: SchedulerSettings) -> int:
    stopped = cancel_on_signal()
    try:
        try:
            scheduler = await _make(value, settings)
            client = Client(scheduler.redis)
        except RedisNotConfiguredError:
            raise CommandError(NO_REDIS_GIVEN) from None
        async with client:
            _announce(scheduler, settings.target)
            await wait_for_redis(client, settings.connect_timeout)
        status = await _run(scheduler)
    except asyncio.CancelledError:
        if not stopped:
            raise
        return Exit.OK
    await leaving.stop_leftovers()
    leaving.exit_within(leaving.EXIT_S, status)
    return status


async def _make(value: object, settings: SchedulerSettings) -> Runnable:
    if value is None:
        provider = PeriodicTaskFile(settings.target)
        try:
            provider()
        except (ValueError, OSError) as error:
            raise CommandError(str(error)) from None
        return PeriodicTaskManager(settings.redis, provider)
    made = await call_factory(value, settings.target)
    if not isinstance(made, (Scheduler, PeriodicTaskManager)):
        raise wrong_type(settings.target, made, returned=made is not value, wanted=WANTED)
    return made


def _announce(scheduler: Runnable, target: str) -> None:
    if logs.is_json():
        extra = {"version": __version__, "target": target, "redis": scheduler.where}
        _log.info("scheduler starting", extra=extra)
        return
    rows = {"target": target, "redis": scheduler.where, "to stop": "Ctrl-C"}
    lines = [f"  {name:11}  {text}" for name, text in rows.items()]
    print("\n".join(["", f"  asyncq {__version__}", "", *lines, ""]), file=sys.stderr, flush=True)


async def _run(scheduler: Runnable) -> int:
    try:
        await scheduler.run()
    except (RedisUnavailableError, RedisReplyError) as error:
        _log.critical("%s", error)
        return Exit.NO_REDIS
    except Exception:  # noqa: BLE001 - whatever it is, it is logged and the process ends
        _log.critical("the scheduler failed", exc_info=True)
        return Exit.FAILED
    return Exit.OK
