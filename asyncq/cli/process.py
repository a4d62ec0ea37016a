"""One worker process: from the target to its exit status."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import logging
import signal
import sys
from collections.abc import Callable
from typing import Any

from asyncq import RedisReplyError, RedisUnavailableError, Server

from . import leaving, logs
from .banner import announce
from .failure import Exit
from .monitoring import Monitor, monitoring
from .reach import use_redis, wait_for_redis
from .settings import WorkerSettings, make_server
from .supervised import READY, RETIRING, Supervised
from .target import load_target

_log = logging.getLogger("asyncq")


def run_worker(settings: WorkerSettings, supervised: Supervised | None) -> int:
    """Runs the target until it is told to stop; the exit status.

    Raises `CommandError` if it cannot run at all.
    """
    logs.configure(
        settings.log_format,
        settings.log_level or logs.LogLevel.INFO,
        process=supervised.number if supervised else 0,
    )
    use_redis(settings.redis)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What handlers print is read beside the logs, also where it goes through a pipe.
        sys.stdout.reconfigure(line_buffering=True)
    signal.signal(signal.SIGTERM, interrupt)
    if supervised:
        supervised.leave_when_orphaned()
    thresholds = gc.get_threshold()
    try:
        with monitoring(settings.metrics, supervised.number if supervised else 0) as monitor:
            value = load_target(settings.target)
            if gc.get_threshold() == thresholds:  # else the target knows better
                _collect_less_often()
            with asyncio.Runner(loop_factory=loop_factory()) as runner:
                return runner.run(_work(value, settings, supervised, monitor))
    except KeyboardInterrupt:
        return Exit.OK  # told to leave before there was anything to finish


def _collect_less_often() -> None:
    """What is imported stays, so it need not be looked through again and again; and a few hundred
    objects, after which Python looks for cycles by default, are the traffic of a dozen tasks."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, *gc.get_threshold()[1:])


def interrupt(number: int, frame: object) -> None:
    """The handler of TERM before there is an event loop."""
    raise KeyboardInterrupt


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the event loop: uvloop where there is one."""
    if sys.platform == "win32":
        return None
    import uvloop  # noqa: PLC0415 - does not exist on Windows

    return uvloop.new_event_loop


async def _work(
    value: object,
    settings: WorkerSettings,
    supervised: Supervised | None,
    monitor: Monitor | None,
) -> int:
    stopped = cancel_on_signal()
    try:
        server, client = await make_server(value, settings)
        if monitor is not None and server.config.statistics is not None:
            monitor.watch(server.config.statistics)
        async with client:
            if settings.log_level is None and server.config.log_level is not None:
                logs.set_level(server.config.log_level)
            if supervised is None or supervised.announces:
                announce(server, settings.target, settings.processes)
            await wait_for_redis(client, settings.connect_timeout)
            if server.redis is not client:
                await client.aclose()  # it was only there to knock
            settings.limits.check()
            if supervised:
                supervised.report(READY)
            status = await _run(server, settings, supervised)
    except asyncio.CancelledError:
        if not stopped:
            raise
        return Exit.OK
    await _leave(server, status)
    return status


def cancel_on_signal() -> list[signal.Signals]:
    """Until the server has handlers of its own, a signal to stop ends this task.

    The list that is returned holds the signal then.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    stopped: list[signal.Signals] = []

    def stop(number: signal.Signals) -> None:
        stopped.append(number)
        if task is not None:
            task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        if sys.platform != "win32":
            loop.add_signal_handler(number, stop, number)
    return stopped


async def _run(server: Server, settings: WorkerSettings, supervised: Supervised | None) -> int:
    retiring = asyncio.create_task(_retire_in_time(server, settings, supervised))
    try:
        await server.run(exit_if_blocked=True)
    except (RedisUnavailableError, RedisReplyError) as error:
        _log.critical("%s", error)
        return Exit.NO_REDIS
    except Exception:  # noqa: BLE001 - whatever it is, it is logged and the process ends
        _log.critical("the worker failed", exc_info=True)
        return Exit.FAILED
    finally:
        retiring.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await retiring
    return Exit.OK


async def _retire_in_time(
    server: Server, settings: WorkerSettings, supervised: Supervised | None
) -> None:
    """Have this process replaced when it has reached a limit."""
    if supervised is None or not settings.limits:
        return
    reason = await settings.limits.reached(server)
    _log.info("this process %s: it takes no more, and leaves when those that run are done", reason)
    supervised.report(RETIRING)
    server.retire()


async def _leave(server: Server, status: int) -> None:
    """Returns if the process can end in an orderly way."""
    threads: list[Any] = list(server.abandoned_threads())
    running = [
        f"the handler of {call.what}{leaving.place_of_thread(call.thread_id)}" for call in threads
    ]
    running += await leaving.stop_leftovers()
    if running:
        leaving.leave_at_once(running, status)
    leaving.exit_within(leaving.EXIT_S, status)
