"""Signals of the process that end what runs in it."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Callable, Sequence
from types import TracebackType

_log = logging.getLogger("asyncq")


class Signals:
    """Signal handlers for as long as it is entered; only in the main thread can there be any.

    Names that the platform does not know are left out. `what` is what they end, for the log.
    """

    def __init__(
        self, on_signal: Callable[[int], None], names: Sequence[str], what: str = "server"
    ) -> None:
        self._on_signal = on_signal
        self._names = names
        self._what = what
        self._installed: list[int] = []

    def __enter__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            _log.warning("not in the main thread: signals will not end this %s", self._what)
            return
        loop = asyncio.get_running_loop()
        for name in self._names:
            number = getattr(signal, name, None)
            if number is None:
                continue
            try:
                loop.add_signal_handler(number, self._on_signal, number)
            except NotImplementedError:
                # Windows: the loop cannot; the handler runs between two of its steps.
                signal.signal(
                    number,
                    lambda n, _: self._wake_loop(loop, n),
                )
            self._installed.append(number)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        loop = asyncio.get_running_loop()
        for number in self._installed:
            try:
                loop.remove_signal_handler(number)
            except NotImplementedError:
                signal.signal(number, signal.SIG_DFL)

    def _wake_loop(self, loop: asyncio.AbstractEventLoop, number: int) -> None:
        loop.call_soon_threadsafe(self._on_signal, number)
