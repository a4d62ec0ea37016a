"""A file, shared as memory, on which the handlers of a contestant count their runs.

Standard library only: it runs in the environment of every contestant. The Go contestant has a
twin. All numbers are little-endian and 8 bytes long; times are nanoseconds of the Unix clock:

    header, 64 bytes        magic "ASYNCQB1", number of slots, latencies per slot
    slots, 64 bytes each    runs, time of the first run, time of the last one, latencies, process id
    latencies               those of slot 0, then those of slot 1, ...: signed nanoseconds

A process owns one slot, from its first run to its end, by a POSIX write lock on the bytes of that
slot. The lock goes with the process, so a contestant that forks for every task reuses slots: the
next owner counts on.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import threading
import time
from dataclasses import dataclass
from pathlib import Path

MAGIC = b"ASYNCQB1"
SLOTS = 64
LATENCIES = 16_384  # per slot

_HEADER = struct.Struct("<8sQQ")
_BYTES = 64  # of the header, and of each slot
_RUNS, _FIRST, _LAST, _LATENCIES, _PID = range(5)  # words of a slot


@dataclass(frozen=True)
class Slot:
    """What one process has counted. `first_ns` and `last_ns` are 0 before its first run."""

    runs: int
    first_ns: int
    last_ns: int
    pid: int
    latencies_ns: list[int]


def create(path: Path, slots: int = SLOTS, latencies: int = LATENCIES) -> None:
    """Makes an empty board; a file that is there is replaced."""
    size = _BYTES * (1 + slots) + 8 * slots * latencies
    path.unlink(missing_ok=True)
    with path.open("wb") as file:
        file.write(_HEADER.pack(MAGIC, slots, latencies))
        file.truncate(size)


class Board:
    """A board as one process sees it; safe for threads and forks.

    With no path it counts nothing, so that a handler need not ask whether it is measured.
    """

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._fd = -1
        self._base = self._latencies = 0  # this process owns no slot yet
        if path is None:
            self._slots, self._capacity = 1, LATENCIES
            memory: mmap.mmap = mmap.mmap(-1, _BYTES * 2 + 8 * LATENCIES)
        else:
            self._fd = os.open(path, os.O_RDWR)
            memory = mmap.mmap(self._fd, 0)
            magic, self._slots, self._capacity = _HEADER.unpack_from(memory)
            if magic != MAGIC:
                raise ValueError(f"{path} is not a board")
        self._words = memoryview(memory).cast("Q")
        self._signed = memoryview(memory).cast("q")
        os.register_at_fork(after_in_child=self._forget)

    def tick(self) -> None:
        """Counts one run of a handler: about 0.3 microseconds."""
        now = time.time_ns()
        with self._lock:
            base = self._base or self._claim()
            words = self._words
            words[base] += 1
            words[base + _LAST] = now
            if not words[base + _FIRST]:
                words[base + _FIRST] = now

    def latency(self, ns: int) -> None:
        """Counts one run, and notes how long after the time it carried it began.

        Raises:
            OverflowError: the slot has no room left
        """
        self.tick()
        with self._lock:
            at = self._base + _LATENCIES
            noted = self._words[at]
            if noted >= self._capacity:
                raise OverflowError(f"the board takes {self._capacity} latencies per process")
            self._signed[self._latencies + noted] = ns
            self._words[at] = noted + 1  # last, since a reader goes by it

    def runs(self) -> int:
        """How many runs all processes have counted."""
        first = _BYTES // 8
        return sum(self._words[first : first + self._slots * 8 : 8])

    def slots(self) -> list[Slot]:
        """What each process that has run a handler has counted."""
        return [self._slot(n) for n in range(self._slots) if self._words[self._word(n)]]

    def _slot(self, number: int) -> Slot:
        base, latencies = self._word(number), self._latency(number)
        runs, first, last, noted, pid = self._words[base : base + 5]
        return Slot(runs, first, last, pid, list(self._signed[latencies : latencies + noted]))

    def _claim(self) -> int:
        number = self._free()
        self._latencies = self._latency(number)
        self._base = self._word(number)
        self._words[self._base + _PID] = os.getpid()
        return self._base

    def _free(self) -> int:
        if self._path is None:
            return 0
        for number in range(self._slots):
            try:
                fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, _BYTES, 8 * self._word(number))
            except OSError:  # another process lives there
                continue
            return number
        raise OverflowError(f"more than {self._slots} processes run handlers")

    def _forget(self) -> None:
        # A child inherits the memory and the file, but not the lock.
        self._lock = threading.Lock()
        self._base = 0

    def _word(self, slot: int) -> int:
        return _BYTES // 8 * (1 + slot)

    def _latency(self, slot: int) -> int:
        return self._word(self._slots) + slot * self._capacity
