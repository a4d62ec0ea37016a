"""What processes note outside of Redis: a file for each, in which every line is written at once.

A line that was written survives the `kill -9` of its process.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Note:
    """`at_ns` is comparable between the processes of one machine."""

    at_ns: int
    event: str
    token: str
    number: int
    """How often the task was retried before, for notes of handlers."""
    process: str
    pid: int


class Journal:
    """The notes of this process, which has a name in the fleet, or of one that cannot write."""

    def __init__(self, directory: Path, process: str, pid: int | None = None) -> None:
        file = directory / f"journal.{process}.{pid or os.getpid()}"
        self._descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, event: str, *tokens: str, number: int = 0) -> None:
        now = time.monotonic_ns()
        lines = "".join(f"{now} {event} {token} {number}\n" for token in tokens)
        os.write(self._descriptor, lines.encode())


def notes(directory: Path) -> Iterator[Note]:
    """What all processes noted, each in order."""
    for file in sorted(directory.glob("journal.*")):
        _, process, pid = file.name.split(".")
        for line in file.read_text().splitlines():
            at_ns, event, token, number = line.split()
            yield Note(int(at_ns), event, token, int(number), process, int(pid))


def count(directory: Path, process: str, event: str) -> int:
    """How often a process noted an event, cheaply."""
    word = f" {event} ".encode()
    files = directory.glob(f"journal.{process}.*")
    return sum(file.read_bytes().count(word) for file in files)
