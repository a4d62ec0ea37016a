"""The real command line in a terminal of a given size, which somebody types at."""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from pathlib import Path

from commands import DEADLINE_S

_CONTROL = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|[()][A-B0-9]|[=>])")


class Terminal:
    """`asyncq ARGS` with a terminal of its own; it is killed at the end of `with`."""

    def __init__(
        self,
        *args: str,
        cwd: Path,
        size: tuple[int, int] = (80, 24),
        env: Mapping[str, str] | None = None,
    ) -> None:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("ASYNCQ_")}
        for name in ("REDIS_URL", "COLUMNS", "LINES", "CI"):
            inherited.pop(name, None)
        self._master, slave = os.openpty()
        columns, lines = size
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self._process = subprocess.Popen(
            [sys.executable, "-c", _RUN, *args],
            cwd=cwd,
            env={**inherited, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **(env or {})},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self.raw = b""

    @property
    def text(self) -> str:
        """What it wrote so far, without commands for the terminal."""
        return _CONTROL.sub("", self.raw.decode("utf-8", "replace")).replace("\r", "")

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.text.splitlines()]

    def wait_for(self, text: str) -> None:
        """Returns when it has written this."""
        deadline = time.monotonic() + DEADLINE_S
        while text not in self.text:
            assert time.monotonic() < deadline, f"never wrote {text!r}:\n{self.text}"
            assert self._read(), f"ended without writing {text!r}:\n{self.text}"

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def exit_status(self) -> int:
        """Waits for its end, and has read all by then."""
        deadline = time.monotonic() + DEADLINE_S
        while self._read():
            assert time.monotonic() < deadline, f"it does not end:\n{self.text}"
        return self._process.wait(DEADLINE_S)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)

    def _read(self) -> bool:
        """Whether more may come."""
        if not select.select([self._master], [], [], 0.5)[0]:
            return True
        try:
            data = os.read(self._master, 65536)
        except OSError:  # how Linux says that the other end is closed
            return False
        self.raw += data
        return bool(data)


# The terminal has to be the one that the session belongs to, for Ctrl-C to be a signal.
_RUN = (
    "import fcntl, sys, termios;"
    "fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    "from asyncq.cli.main import main; main()"
)
