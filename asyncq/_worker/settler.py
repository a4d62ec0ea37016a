"""Writes outcomes in batches: they gather while the previous write is in flight."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from .._broker.broker import Broker, passing
from .._broker.outcome import Outcome
from ..errors import RedisError, RedisUnavailableError
from .inflight import Inflight, Running
from .loop import Backoff, Complaints

_log = logging.getLogger("asyncq")

_BATCH = 500
_TRIES = 3
"""How often an outcome is tried that Redis refuses for a reason of its own."""


class _Entry:
    __slots__ = ("lease_until", "outcome", "refused", "running", "sent_before")

    def __init__(self, outcome: Outcome, running: Running | None, lease_until: float = 0.0) -> None:
        self.outcome = outcome
        self.running = running
        self.lease_until = lease_until
        """Of an outcome without an attempt, whose lease nobody renews."""
        self.refused = 0
        self.sent_before = False
        """Whether an earlier sending may have been executed: then `gone` is success."""


class Settler:
    """Takes outcomes at once and writes them until Redis has them or their lease is over."""

    def __init__(self, broker: Broker, inflight: Inflight, lease_s: float) -> None:
        self._broker = broker
        self._inflight = inflight
        self._lease_s = lease_s
        self._waiting: list[_Entry] = []
        self._batch: list[_Entry] = []  # being written; kept should `run` fail
        self._unwritten = 0
        self._more = asyncio.Event()
        self._written = asyncio.Event()
        self.on_written: Callable[[], None] = self._written.set
        """Called whenever there are fewer outcomes to write."""
        self._complaints = Complaints()

    @property
    def unwritten(self) -> int:
        """How many outcomes Redis does not have yet."""
        return self._unwritten

    def put(self, outcome: Outcome, running: Running | None) -> None:
        """Hand over an outcome. Not awaited, so that no cancellation can come between."""
        if running is not None:
            running.decided = True
            self._waiting.append(_Entry(outcome, running))
        else:
            self._waiting.append(_Entry(outcome, None, time.monotonic() + self._lease_s))
        self._unwritten += 1
        self._more.set()

    async def run(self) -> None:
        """Write outcomes, for ever."""
        backoff = Backoff(first=0.05, longest=1.0)
        while True:
            if not self._batch:
                await self._more.wait()
            self._batch += self._take(_BATCH - len(self._batch))
            self._batch = await self._write(self._batch)
            if self._batch:
                await asyncio.sleep(backoff.next())
            else:
                backoff.reset()

    async def drain(self, timeout: float) -> bool:
        """Wait until all outcomes are written, at most so long; whether they are."""
        deadline = time.monotonic() + timeout
        while self._unwritten and time.monotonic() < deadline:
            self._written.clear()
            try:
                async with asyncio.timeout(deadline - time.monotonic()):
                    await self._written.wait()
            except TimeoutError:
                break
        return not self._unwritten

    def _take(self, count: int) -> list[_Entry]:
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        if not self._waiting:
            self._more.clear()
        return batch

    async def _write(self, batch: list[_Entry]) -> list[_Entry]:
        """One try. Returns what is to be tried again."""
        try:
            answers: list[bool | RedisError] = await self._broker.settle(
                [entry.outcome for entry in batch]
            )
        except RedisError as error:
            answers = [error] * len(batch)
        except Exception as error:  # noqa: BLE001 - a fault of ours must not take others with it
            return await self._write_singly(batch, error)
        again = [
            entry for entry, answer in zip(batch, answers, strict=True) if self._open(entry, answer)
        ]
        self._written.set()
        self.on_written()
        return again

    async def _write_singly(self, batch: list[_Entry], error: Exception) -> list[_Entry]:
        """After an error that is not Redis's: give up the outcome that it comes from."""
        if len(batch) > 1:
            for entry in batch:
                entry.sent_before = True  # some may have been written before it was raised
            return [again for entry in batch for again in await self._write([entry])]
        (entry,) = batch
        _log.error(
            "%s: its outcome cannot be written; it will be recovered and run again",
            _name(entry),
            exc_info=error,
            extra=_fields(entry),
        )
        self._close(entry)
        self._written.set()
        self.on_written()
        return []

    def _open(self, entry: _Entry, answer: bool | RedisError) -> bool:
        """Note an answer; whether the outcome has to be sent again."""
        if answer is True:
            self._close(entry)
            return False
        if isinstance(answer, RedisError):
            return self._send_again(entry, answer)
        if not entry.sent_before:
            _log.warning(
                "%s: its outcome came too late, the task was no longer ours",
                _name(entry),
                extra=_fields(entry),
            )
        self._close(entry)
        return False

    def _send_again(self, entry: _Entry, error: RedisError) -> bool:
        if isinstance(error, RedisUnavailableError):
            entry.sent_before = entry.sent_before or error.sent
        if passing(error):
            self._complaints.log("writing outcomes", error)
            if time.monotonic() < self._lease_until(entry):
                return True
            reason = "its lease ran out"
        else:
            entry.refused += 1
            if entry.refused < _TRIES:
                return True
            reason = f"Redis refused it {_TRIES} times"
        _log.error(
            "%s: its outcome could not be written (%s; %s); it will be recovered and run again",
            _name(entry),
            error,
            reason,
            extra=_fields(entry),
        )
        self._close(entry)
        return False

    def _lease_until(self, entry: _Entry) -> float:
        return entry.lease_until if entry.running is None else entry.running.lease_until

    def _close(self, entry: _Entry) -> None:
        if entry.running is not None:
            # From here on the heartbeat lets the lease go.
            self._inflight.remove(entry.running)
        self._unwritten -= 1


def _name(entry: _Entry) -> str:
    return "an unreadable task" if entry.running is None else repr(entry.running)


def _fields(entry: _Entry) -> dict[str, object]:
    return {} if entry.running is None else entry.running.log_fields()
