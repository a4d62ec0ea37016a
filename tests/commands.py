"""The real command line as a process: what it printed, waited for line by line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

DEADLINE_S = 120.0
"""Only tests that fail ever wait so long."""


class Command:
    """`asyncq ARGS` in a directory, in a session of its own; it is killed at the end of `with`.

    The environment says nothing of Redis, and keeps development servers inside the directory.
    """

    program: Sequence[str] = (sys.executable, "-m", "asyncq")

    def __init__(self, *args: str, cwd: Path, env: Mapping[str, str] | None = None) -> None:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("ASYNCQ_")}
        inherited.pop("REDIS_URL", None)
        inherited |= {"XDG_DATA_HOME": str(cwd / "data"), "COLUMNS": "200", "NO_COLOR": "1"}
        self._process = subprocess.Popen(
            [*self.program, *args],
            cwd=cwd,
            env={**inherited, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self.lines: list[str] = []
        self._said = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def output(self) -> str:
        """All that it and its child processes printed so far."""
        return "\n".join(self.lines)

    def wait_for(self, pattern: str, *, times: int = 1) -> re.Match[str]:
        """The match in the line that has `pattern`; the last of `times` such lines."""

        def matches() -> list[re.Match[str]]:
            return [m for m in (re.search(pattern, line) for line in self.lines) if m]

        deadline = time.monotonic() + DEADLINE_S
        with self._said:
            while len(matches()) < times:
                ended = not self._reader.is_alive()
                assert not ended, f"ended without saying {pattern!r}:\n{self.output}"
                assert time.monotonic() < deadline, f"never said {pattern!r}:\n{self.output}"
                self._said.wait(0.5)
            return matches()[times - 1]

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    def send_group(self, number: int) -> None:
        """As a terminal does on Ctrl-C."""
        os.killpg(self.pid, number)

    def exit_status(self) -> int:
        """Waits for its end."""
        try:
            status = self._process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not end:\n{self.output}") from None
        # A process that it left behind holds on to its output.
        self._reader.join(DEADLINE_S)
        return status

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join(DEADLINE_S)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._said:
                self.lines.append(line.rstrip("\n"))
                self._said.notify_all()
        with self._said:
            self._said.notify_all()
