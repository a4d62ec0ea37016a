"""`Server`: takes tasks from queues and runs their handlers."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import signal
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack

from . import _threads
from ._background import Living
from ._broker.connection import Connection
from ._clock import Clock
from ._worker.heartbeat import Identity
from ._worker.loop import keep_alive, wait_any
from ._worker.parts import Given, Parts
from ._worker.processor import Ends, Processor
from ._worker.timing import Timing
from .client import RedisSource, connection_source
from .config import ServerConfig
from .errors import RedisError, ServerStateError
from .mux import ServeMux, TaskFunction, as_handler
from .periodic import PeriodicTaskManager
from .scheduler import Scheduler

_log = logging.getLogger("asyncq")

_LAST_STEPS_S = 2.0
"""How long a shutdown waits at least for a periodic step that is under way."""


class Server(Living):
    """Takes tasks from queues and runs their handlers, in tasks of its own.

        async with Server(url, mux, ServerConfig(concurrency=50)):     # inside an application
            ...
        await Server(url, mux).run()                                   # as a program of its own

    `redis` is what `Client` takes. `handler` is a `ServeMux`, or a function of a raw `Task`
    (`async`, or a plain `def` that runs in a thread).
    `scheduler` is a scheduler (or a periodic task manager) that is started and shut down with the
    server; each due time is enqueued once, however many servers carry one.

    A part that fails is restarted. A fatal error (such as one of the lifespan) ends the server
    and is raised by `start`, `wait`, `run` or the end of `async with`. The caller's task is
    never cancelled, and only `run` touches signal handlers.

    Raises what `Client` raises, and `TypeError` for a handler that cannot be called with a task.
    """

    _what = "server"

    def __init__(
        self,
        redis: RedisSource | None,
        handler: ServeMux | TaskFunction,
        config: ServerConfig | None = None,
        *,
        scheduler: Scheduler | PeriodicTaskManager | None = None,
        _clock: Clock | None = None,
        _timing: Timing | None = None,
    ) -> None:
        super().__init__()
        if config is not None and not isinstance(config, ServerConfig):
            raise TypeError(f"config= takes a ServerConfig, got {config!r}")
        if scheduler is not None and not isinstance(scheduler, (Scheduler, PeriodicTaskManager)):
            raise TypeError(
                f"scheduler= takes a Scheduler or a PeriodicTaskManager, got {scheduler!r}"
            )
        self._redis = redis
        self._scheduler = scheduler
        self._given_handler = handler
        self._handler = as_handler(handler)
        self._config = config or ServerConfig()
        self._clock = _clock or Clock()
        self._timing = _timing or Timing()
        self._connection = Connection.open(connection_source(redis))
        self._identity = Identity(self._clock)
        self._shutdown_asked = asyncio.Event()
        self._hurry = asyncio.Event()
        self._retiring = asyncio.Event()
        self._ends = Ends()
        self._stop_asked = False
        self._start_abandoned = False
        self._parts: Parts | None = None
        self._exit_if_blocked = False
        self._threads: _threads.HandlerThreads | None = None

    # What it is

    @property
    def redis(self) -> RedisSource | None:
        """What was given to find Redis by."""
        return self._redis

    @property
    def handler(self) -> ServeMux | TaskFunction:
        """What was given to handle tasks."""
        return self._given_handler

    @property
    def config(self) -> ServerConfig:
        """How it works."""
        return self._config

    @property
    def scheduler(self) -> Scheduler | PeriodicTaskManager | None:
        """What it carries: started and shut down with it."""
        return self._scheduler

    @property
    def id(self) -> str:
        """The random id under which it is listed in Redis."""
        return self._identity.id

    @property
    def where(self) -> str:
        """The address of Redis, without secrets."""
        return self._connection.where

    @property
    def state(self) -> str:
        """`new`, `starting`, `active`, `stopped` (takes no new tasks) or `closed`."""
        return self._state

    @property
    def patterns(self) -> list[str]:
        """The task types it handles; empty if its handler takes them all."""
        handler = self._given_handler
        return list(handler.patterns) if isinstance(handler, ServeMux) else []

    def abandoned_threads(self) -> list[_threads.ThreadCall]:
        """`def` handlers that still run although nobody waits for them any more."""
        return self._threads.abandoned() if self._threads else []

    async def handled(self, count: int) -> None:
        """Return when so many attempts have ended since the start, whatever came of them. For one
        waiter at a time; it waits for ever if the server closes before."""
        await self._ends.reach(count)

    # Its life

    async def start(self) -> None:
        """Enter the lifespan and begin to work. Returns when tasks are being taken.

        Cancelled, it leaves nothing running: it ends the server before it raises.

        Raises `ServerStateError` unless the server is new, `RedisUnavailableError` or
        `RedisReplyError` if Redis does not answer, and what the lifespan raises.
        """
        if self._state != "new":
            raise ServerStateError("start", self._state, "make a new Server")
        self._state = "starting"
        started = asyncio.get_running_loop().create_future()
        # A context of its own: what the lifespan sets is for handlers, not for the caller.
        self._life = asyncio.create_task(
            self._live(started), name="asyncq-server", context=contextvars.copy_context()
        )
        try:
            await asyncio.wait({self._life, started}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await self.shutdown()
            raise
        if not started.done():
            await self.wait()

    async def stop(self) -> None:
        """Take no new tasks; running ones go on. Does nothing when already stopped or closed.

        Raises `ServerStateError` if the server was never started.
        """
        if self._state == "new":
            raise ServerStateError("stop", self._state, "start it first")
        self._take_no_more()

    def retire(self) -> None:
        """Take no new tasks, and close when the running ones have ended, however long they take.
        Returns at once; `wait` waits for the end, and `shutdown` does not wait so long.

        Raises `ServerStateError` if the server was never started.
        """
        if self._state == "new":
            raise ServerStateError("retire", self._state, "start it first")
        self._retiring.set()
        self._take_no_more()

    async def shutdown(self) -> None:
        """End gracefully: take no new tasks, wait for running ones for `shutdown_timeout`, put
        the rest back at the head of their queue. Returns when all is closed; does nothing for a
        server that is new or closed. A lifespan that is still starting is cancelled, and `start`
        returns. Fatal errors are raised by `wait`, not here.
        """
        if self._life is not None:
            self._ask_to_shut_down()
            # After its first step: a task cancelled before that would not even clean up.
            asyncio.get_running_loop().call_soon(self._abandon_start, self._life)
            await asyncio.wait({self._life})

    async def run(self, *, exit_if_blocked: bool = False) -> None:
        """Work until a signal ends it: `start`, `wait`, and signal handlers in between.

        TERM and INT shut down gracefully; a second one puts running tasks back at once; TSTP
        takes no new tasks. With `exit_if_blocked` the process leaves with status 70 when a handler
        has blocked the event loop past the time of every running task.

        Raises what `start` and `wait` raise.
        """
        self._exit_if_blocked = exit_if_blocked
        await self._run("SIGTERM", "SIGINT", "SIGTSTP")

    def __repr__(self) -> str:
        return f"<Server {self.id} at {self.where}: {self._state}>"

    def _ask_to_shut_down(self) -> None:
        self._shutdown_asked.set()
        # Now, not when its life hears of it: a fetch that comes back meanwhile is given back.
        self._take_no_more()

    def _take_no_more(self) -> None:
        self._stop_asked = True  # of a server that starts: it stops as soon as it has
        if self._parts is not None and self._state == "active":
            self._state = "stopped"
            self._parts.processor.stop(self._config.shutdown_timeout)

    def _abandon_start(self, life: asyncio.Task[None]) -> None:
        # Only once: a second cancellation would interrupt how the lifespan cleans up.
        if self._state == "starting" and not self._start_abandoned:
            self._start_abandoned = True
            life.cancel()

    def _on_signal(self, number: int) -> None:
        name = signal.Signals(number).name
        if number == getattr(signal, "SIGTSTP", None):
            _log.info("%s: taking no new tasks", name)
            self._take_no_more()
        elif not self._shutdown_asked.is_set():
            _log.info(
                "%s: shutting down; running tasks have %g s (again: leave at once)",
                name,
                self._config.shutdown_timeout,
            )
            self._ask_to_shut_down()
        else:
            _log.warning("%s again: putting running tasks back and leaving", name)
            self._hurry.set()
            if self._state == "starting" and self._life is not None:
                self._life.cancel()  # a lifespan that does not come up must not hold us

    async def _live(self, started: asyncio.Future[None]) -> None:
        """The whole life. The nesting is the order: what is entered first is left last."""
        try:
            async with AsyncExitStack() as stack:
                stack.push_async_callback(self._connection.aclose)
                await self._connection.ping()
                self._set_log_level()
                lifespan = self._config.lifespan
                value = await stack.enter_async_context(lifespan(self)) if lifespan else None
                self._threads = _threads.HandlerThreads(self._config.sync_concurrency)
                _threads.use(self._threads)
                self._parts = self._make_parts(value)
                if self._parts.observation is not None:
                    stack.enter_context(self._parts.observation)
                if self._scheduler is not None:
                    await stack.enter_async_context(self._scheduler)
                await self._work(self._parts, started)
        except asyncio.CancelledError:
            if started.done() or not self._shutdown_asked.is_set():
                raise
            _log.warning("left before it had started")
        finally:
            self._state = "closed"

    async def _work(self, parts: Parts, started: asyncio.Future[None]) -> None:
        stop_periodic = asyncio.Event()
        async with asyncio.TaskGroup() as outlasting:
            # Heartbeat and settler see the last handler out.
            lasting = [outlasting.create_task(part) for part in parts.lasting()]
            async with asyncio.TaskGroup() as working:
                processing = working.create_task(keep_alive("processor", parts.processor.run))
                periodic = [working.create_task(part) for part in parts.periodic(stop_periodic)]
                self._state = "active"
                if self._stop_asked:
                    self._take_no_more()
                started.set_result(None)
                _log.info("taking tasks from %s", ", ".join(self._config.queues))
                await self._until_over(parts.processor)
                until = time.monotonic() + self._config.shutdown_timeout
                self._state = "stopped"
                stop_periodic.set()
                parts.processor.stop(self._config.shutdown_timeout)
                await processing
                await parts.processor.drain(self._config.shutdown_timeout, self._hurry)
                await self._end(periodic, until)
            if not await parts.settler.drain(self._timing.last_writes):
                _log.error("left with outcomes unwritten: their tasks will run again")
            for task in lasting:
                task.cancel()
        await self._sign_off(parts)

    async def _until_over(self, processor: Processor) -> None:
        """Return when a shutdown is asked for, or a server that retires has nothing to do."""
        await wait_any(None, self._shutdown_asked, self._retiring)
        if not self._shutdown_asked.is_set():
            await processor.until_idle(None, self._shutdown_asked)

    async def _end(self, periodic: Sequence[asyncio.Task[None]], until: float) -> None:
        """Let the steps that run end, the user's aggregator included, but only as long as
        handlers may go on."""
        steps = asyncio.create_task(asyncio.wait(periodic))
        hurry = asyncio.create_task(self._hurry.wait())
        left = max(_LAST_STEPS_S, until - time.monotonic())
        await asyncio.wait({steps, hurry}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        for task in (steps, hurry, *periodic):
            task.cancel()

    async def _sign_off(self, parts: Parts) -> None:
        for leave, otherwise in (
            (parts.forwarder.resign, "its delayed tasks are left to others in a few seconds"),
            (parts.heartbeat.clear, "the server stays listed for a few seconds"),
        ):
            try:
                await leave()
            except RedisError as error:
                _log.warning("%s: %s", otherwise, error)

    def _make_parts(self, state: object) -> Parts:
        return Parts(
            Given(
                server=self,
                handler=self._handler,
                connection=self._connection,
                clock=self._clock,
                timing=self._timing,
                identity=self._identity,
                ends=self._ends,
                state=state,
                exit_if_blocked=self._exit_if_blocked,
            )
        )

    def _set_log_level(self) -> None:
        if self._config.log_level is not None:
            _log.setLevel(self._config.log_level.upper())
