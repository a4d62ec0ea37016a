"""The threads in which plain `def` handlers run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import ContextVar, Token
from dataclasses import dataclass
from typing import TypeVar

import anyio
import anyio.to_thread

A = TypeVar("A")
R = TypeVar("R")


@dataclass(eq=False, slots=True)
class ThreadCall:
    """A call that runs in a thread now."""

    what: str
    """Which task type or function, for people."""
    thread_id: int = 0
    """The thread's identifier, the key of its stack in `sys._current_frames()`."""
    abandoned: bool = False
    """Whether nobody waits for it any more."""


class HandlerThreads:
    """Runs calls in threads, at most `limit` waited-for calls at a time.

    A thread cannot be interrupted. A call whose waiter was cancelled is abandoned: its place is
    free for others at once while its thread runs on, so there may be more threads than `limit`.
    `abandoned()` names them. Made for one event loop.
    """

    def __init__(self, limit: int) -> None:
        self._limiter = anyio.CapacityLimiter(limit)
        self._lock = threading.Lock()
        self._calls: set[ThreadCall] = set()  # owned by the threads: each adds and removes its own

    async def run(self, what: str, function: Callable[[A], R], argument: A) -> R:
        """`function(argument)` in a thread, with the caller's context variables.

        Waits for a free place first. Cancelled while waiting, it does not call `function`.
        """
        call = ThreadCall(what)
        try:
            return await anyio.to_thread.run_sync(
                self._call, call, function, argument, abandon_on_cancel=True, limiter=self._limiter
            )
        finally:
            call.abandoned = True  # seen only if the thread is still in `_call`

    def abandoned(self) -> list[ThreadCall]:
        """The calls that still run although nobody waits for them."""
        with self._lock:
            return [call for call in self._calls if call.abandoned]

    def _call(self, call: ThreadCall, function: Callable[[A], R], argument: A) -> R:
        call.thread_id = threading.get_ident()
        with self._lock:
            self._calls.add(call)
        try:
            return function(argument)
        finally:
            with self._lock:
                self._calls.discard(call)


_threads: ContextVar[HandlerThreads] = ContextVar("asyncq_handler_threads")


def use(threads: HandlerThreads) -> Token[HandlerThreads]:
    """Let `def` handlers called from this context, and from tasks made in it, run in `threads`."""
    return _threads.set(threads)


async def run(what: str, function: Callable[[A], R], argument: A) -> R:
    """`function(argument)` in a thread of the server that is calling, else in one of anyio's."""
    threads = _threads.get(None)
    if threads is None:
        return await anyio.to_thread.run_sync(function, argument, abandon_on_cancel=True)
    return await threads.run(what, function, argument)
