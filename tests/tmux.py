"""A terminal that people would see: tmux, typed at and looked at."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from commands import DEADLINE_S
from redis_servers import forget_process, watch_process


class Tmux:
    """A tmux of its own, with one window in which a command runs."""

    def __init__(
        self,
        directory: Path,
        width: int,
        height: int,
        command: Sequence[str],
        env: Mapping[str, str] | None = None,
    ) -> None:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("ASYNCQ_", "TMUX"))}
        # The size is the window's, whatever pytest-xdist says to its workers.
        for name in ("REDIS_URL", "NO_COLOR", "COLORFGBG", "COLUMNS", "LINES"):
            inherited.pop(name, None)
        self._env = {
            **inherited,
            "TMUX_TMPDIR": str(directory),
            "LC_ALL": "C.UTF-8",
            "TERM": "xterm-256color",
            **(env or {}),
        }
        (directory / "tmux.conf").write_text("set -s escape-time 0\nset -g status off\n")
        # What it leaves behind is seen after it; the window goes with the tmux only.
        shell = f"{' '.join(command)}; echo it left with $?; exec sleep 1000"
        self._tmux("-f", str(directory / "tmux.conf"), "new-session", "-d", "-s", "asyncq",
                   "-x", str(width), "-y", str(height), "-c", str(directory), shell)  # fmt: skip
        self._pid = int(self._tmux("display-message", "-p", "#{pid}"))
        watch_process(self._pid)

    def keys(self, *keys: str) -> None:
        self._tmux("send-keys", "-t", "asyncq", *keys)

    def resize(self, width: int, height: int) -> None:
        self._tmux("resize-window", "-t", "asyncq", "-x", str(width), "-y", str(height))

    @property
    def screen(self) -> str:
        """What is seen, without blanks at the ends of lines."""
        lines = self._tmux("capture-pane", "-p", "-t", "asyncq").split("\n")
        return "\n".join(line.rstrip() for line in lines).rstrip("\n")

    def shows(self, *texts: str) -> str:
        """Waits until all of these are seen."""
        return self._until(lambda seen: all(text in seen for text in texts))

    def shows_screen(self, wanted: str) -> None:
        """Waits until exactly this is seen, apart from what differs from run to run."""
        seen = self._until(lambda seen: same(seen) == same(wanted), fail=False)
        assert same(seen) == same(wanted)

    def close(self) -> None:
        subprocess.run(["tmux", "kill-server"], env=self._env, capture_output=True, check=False)
        forget_process(self._pid)

    def _until(self, seen_enough: Callable[[str], bool], *, fail: bool = True) -> str:
        deadline = time.monotonic() + DEADLINE_S
        while not seen_enough(seen := self.screen):
            if time.monotonic() > deadline:
                assert not fail, f"never seen:\n{seen}"
                break
            time.sleep(0.02)
        return seen

    def _tmux(self, *arguments: str) -> str:
        done = subprocess.run(
            ["tmux", "-u", *arguments],
            env=self._env,
            capture_output=True,
            text=True,
            check=True,
            timeout=DEADLINE_S,
        )
        return done.stdout


def same(screen: str) -> str:
    """A screen without times, sizes in memory, and the address of the test's Redis."""
    screen = re.sub(r"as of \d\d:\d\d:\d\d UTC", "as of <time> UTC", screen)
    screen = re.sub(r"unix://\S+", "<redis>", screen)
    screen = re.sub(r" +\d+(\.\d)? (B|KiB|MiB)", " <memory>", screen)
    screen = re.sub(r" +(\d+d\d\dh|\d+h\d\dm|\d+m\d\ds|\d+s|\d\.\ds)", " <duration>", screen)
    return re.sub(r"[▁▂▃▄▅▆▇█ ]+ max ", " <chart> max ", screen)
