"""The line between a supervisor and its worker processes: an environment variable and pipes.

A worker process has the supervisor's own command line; the variable tells it what it is. It holds
the read end of a pipe that only the supervisor can write to, and nobody ever does: when the pipe
ends, the supervisor is gone, however it went, and the worker leaves too.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass

VARIABLE = "ASYNCQ_SUPERVISED"
READY = b"1"
RETIRING = b"r"

_log = logging.getLogger("asyncq")


@dataclass(frozen=True, slots=True)
class Supervised:
    """One of several worker processes; `number` counts from 1."""

    number: int
    announces: bool
    """Whether it prints the block, for all."""
    lifeline: int
    """The file descriptor that ends when the supervisor is gone."""
    reports: int
    """The file descriptor to write reports to: that the target is found and Redis answers, and
    that this process takes no new tasks, so that another is wanted."""

    def to_environment(self) -> Mapping[str, str]:
        """What `from_environment` reads in the worker."""
        return {VARIABLE: f"{self.number} {self.announces:d} {self.lifeline} {self.reports}"}

    @classmethod
    def from_environment(cls) -> Supervised | None:
        """What this process is, once: processes that it starts are none of the supervisor's."""
        told = os.environ.pop(VARIABLE, None)
        if told is None:
            return None
        number, announces, lifeline, reports = map(int, told.split())
        for descriptor in (lifeline, reports):
            os.set_inheritable(descriptor, False)
        return cls(number, bool(announces), lifeline, reports)

    def leave_when_orphaned(self) -> None:
        """Have this process sent a SIGTERM when the supervisor is gone."""
        # A thread, as it must work while the target is imported and the event loop is blocked.
        threading.Thread(target=self._watch, name="asyncq-lifeline", daemon=True).start()

    def _watch(self) -> None:
        os.read(self.lifeline, 1)
        _log.warning("the supervising process is gone: leaving")
        os.kill(os.getpid(), signal.SIGTERM)

    def report(self, what: bytes) -> None:
        """Tell the supervisor `READY` or `RETIRING`."""
        with contextlib.suppress(BrokenPipeError):  # it is gone, which `_watch` sees to
            os.write(self.reports, what)
