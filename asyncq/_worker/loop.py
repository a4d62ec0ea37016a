"""The one loop of everything periodic, and what keeps a part of a server alive."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from ..errors import RedisError

_log = logging.getLogger("asyncq")

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 5.0
_COMPLAIN_EVERY_S, _COMPLAIN_AT_LEAST_EVERY_S = 3.0, 60.0
_OVER_AFTER_S = 15.0
"""What has not gone wrong for so long is a new trouble: longer than any pause between attempts."""
_QUEUES_AT_ONCE = 8


@dataclass(slots=True)
class _Trouble:
    """What has been going wrong for a while."""

    since: float
    latest: float
    pause: float
    quiet_until: float


class Complaints:
    """Logs what goes wrong again and again, but not every time: less and less often while it
    lasts, so that an outage of an hour does not bury what happened before it."""

    def __init__(self) -> None:
        self._troubles: dict[str, _Trouble] = {}

    def log(self, what: str, error: BaseException) -> None:
        """One line for Redis's troubles, which are not ours; a traceback for all else."""
        now = time.monotonic()
        trouble = self._troubles.get(what)
        if trouble is None or now - trouble.latest > _OVER_AFTER_S:
            trouble = self._troubles[what] = _Trouble(now, now, _COMPLAIN_EVERY_S, now)
        trouble.latest = now
        if now < trouble.quiet_until:
            return
        trouble.quiet_until = now + trouble.pause
        trouble.pause = min(2 * trouble.pause, _COMPLAIN_AT_LEAST_EVERY_S)
        if isinstance(error, RedisError):
            _log.warning("%s: %s", what, error)
        else:
            _log.error("%s failed", what, exc_info=error)

    def over(self, what: str) -> None:
        """It went well. Said once, if it was not so before."""
        trouble = self._troubles.pop(what, None)
        if trouble is not None:
            _log.info("%s: works again after %.1f s", what, time.monotonic() - trouble.since)


class Backoff:
    """Pauses that double, up to a few seconds, until `reset`."""

    def __init__(self, first: float = _FIRST_PAUSE_S, longest: float = _LONGEST_PAUSE_S) -> None:
        self._first = first
        self._longest = longest
        self._next = first

    def reset(self) -> None:
        self._next = self._first

    def next(self) -> float:
        pause, self._next = self._next, min(self._next * 2, self._longest)
        return pause


async def run_every(
    name: str,
    step: Callable[[], Awaitable[float | None]],
    interval: float,
    *,
    stop: asyncio.Event,
    wake: asyncio.Event | None = None,
    at_once: bool = False,
) -> None:
    """Call `step` every `interval` seconds after its last end, until `stop` is set.

    A step may return how soon the next one is due. `wake` brings it on at once. A step that
    fails is logged and tried again with growing pauses; a stop lets the step that runs finish.
    """
    complaints, backoff = Complaints(), Backoff()
    pause = 0.0 if at_once else interval
    while not await _pause(pause, stop, wake):
        try:
            soon = await step()
        except (Exception, SystemExit) as error:  # noqa: BLE001
            # One failed step must not end the part, nor a callback of the user's the process.
            complaints.log(name, error)
            pause = min(backoff.next(), interval)
        else:
            complaints.over(name)
            backoff.reset()
            pause = interval if soon is None else min(soon, interval)


async def each_queue(queues: Iterable[str], *steps: Callable[[str], Awaitable[object]]) -> None:
    """Run the steps on every queue: several queues at a time, the steps of a queue in turn.

    What fails, or whose node of a cluster is gone, costs no other queue and no other step its
    turn. The first error is raised when all have ended.
    """
    places = asyncio.Semaphore(_QUEUES_AT_ONCE)

    async def serve(queue: str) -> list[BaseException]:
        failed: list[BaseException] = []
        async with places:
            for step in steps:
                try:
                    await step(queue)
                except (Exception, SystemExit) as error:  # noqa: BLE001
                    # A SystemExit of a user's callback would leave the loop from a task.
                    failed.append(error)
        return failed

    ended = await asyncio.gather(*map(serve, queues), return_exceptions=True)
    for failed in ended:
        if isinstance(failed, BaseException):
            raise failed
        if failed:
            raise failed[0]


async def _pause(seconds: float, stop: asyncio.Event, wake: asyncio.Event | None) -> bool:
    """Sleep, until woken or stopped; True if stopped."""
    await wait_any(seconds, stop, wake)
    if wake is not None:
        wake.clear()
    return stop.is_set()


async def wait_any(seconds: float | None, *events: asyncio.Event | None) -> None:
    """Return when one of the events is set, or after so many seconds."""
    present = [event for event in events if event is not None]
    if any(event.is_set() for event in present):
        return
    waiting = [asyncio.ensure_future(event.wait()) for event in present]
    try:
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for future in waiting:
            future.cancel()


async def keep_alive(name: str, run: Callable[[], Awaitable[None]]) -> None:
    """Run a part of the server until it returns; one that fails is started again."""
    backoff = Backoff()
    while True:
        started = time.monotonic()
        try:
            await run()
            return
        except Exception:  # noqa: BLE001
            # A server with a part missing would look alive and lose tasks slowly.
            if time.monotonic() - started > 60:
                backoff.reset()
            pause = backoff.next()
            _log.exception("the %s failed and starts again in %.1f s", name, pause)
            await asyncio.sleep(pause)
