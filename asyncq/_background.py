"""The life of what works beside the caller, in a task of its own."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import signal
from collections.abc import Callable
from types import TracebackType
from typing import ClassVar, Self

from ._signals import Signals
from .errors import ServerStateError

_log = logging.getLogger("asyncq")


class Living:
    """`start`, `shutdown`, `wait` and `async with`, of what lives in a task of its own."""

    _what: ClassVar[str]
    """For people: server, scheduler, periodic task manager."""

    def __init__(self) -> None:
        self._state = "new"
        self._life: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to work. Returns when it is at work."""
        raise NotImplementedError

    async def shutdown(self) -> None:
        """End in good order; returns when all is closed. Does nothing when new or closed."""
        raise NotImplementedError

    async def wait(self) -> None:
        """Return when it has closed. Raises the error that ended it, if one did.

        Raises `ServerStateError` if it was never started.
        """
        if self._life is None:
            raise ServerStateError("wait", self._state, "start it first", what=self._what)
        await asyncio.wait({self._life})
        self._life.result()

    async def _run(self, *signals: str) -> None:
        """Work until one of these signals, or its own end."""
        with Signals(self._on_signal, signals, self._what):
            await self.start()
            try:
                await self.wait()
            finally:
                # Cancelled from outside: leave as gracefully as on a signal.
                await self.shutdown()

    def _on_signal(self, number: int) -> None:
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.shutdown()
        if error is None:
            await self.wait()


class Background(Living):
    """A life that is one coroutine, which ends when it is asked to."""

    def __init__(self) -> None:
        super().__init__()
        self._stop = asyncio.Event()

    async def _live(self, started: Callable[[], None]) -> None:
        """The whole life: call `started` once at work, end when `self._stop` is set."""
        raise NotImplementedError

    @property
    def state(self) -> str:
        """`new`, `starting`, `active` or `closed`."""
        return self._state

    async def start(self) -> None:
        """Begin to work. Returns when it is at work.

        Raises `ServerStateError` unless it is new, `RedisUnavailableError` or `RedisReplyError`
        if Redis does not answer.
        """
        if self._state != "new":
            raise ServerStateError("start", self._state, "make a new one", what=self._what)
        self._state = "starting"
        started = asyncio.Event()
        self._life = asyncio.create_task(
            self._until_the_end(started),
            name=f"asyncq-{self._what.replace(' ', '-')}",
            context=contextvars.copy_context(),
        )
        starting = asyncio.create_task(started.wait())
        try:
            await asyncio.wait({self._life, starting}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._stop.set()  # nobody else will
            raise
        finally:
            starting.cancel()
        if not started.is_set():
            await self.wait()

    async def shutdown(self) -> None:
        """End in good order; returns when all is closed. Does nothing when new or closed."""
        if self._life is not None:
            self._stop.set()
            await asyncio.wait({self._life})

    async def run(self) -> None:
        """Work until TERM or INT ends it: `start`, `wait`, and signal handlers in between."""
        await self._run("SIGTERM", "SIGINT")

    def _on_signal(self, number: int) -> None:
        _log.info("%s: shutting down the %s", signal.Signals(number).name, self._what)
        self._stop.set()

    async def _until_the_end(self, started: asyncio.Event) -> None:
        def at_work() -> None:
            self._state = "active"
            started.set()

        try:
            await self._live(at_work)
        finally:
            self._state = "closed"
