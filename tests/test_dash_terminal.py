"""The dashboard in a real terminal: tmux, whose screen is compared with what it should show."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from textwrap import dedent

import pytest
from commands import DEADLINE_S
from placed import put
from redis_servers import RedisServer, forget_process, watch_process

pytestmark = pytest.mark.skipif(
    shutil.which("tmux") is None, reason="needs tmux (test_dash_app drives the same without it)"
)


QUEUES = dedent(
    """\
    [1 Queues] 2 Servers  3 Workers  4 Schedulers  5 Redis                   asyncq
     Queues: 2   tasks: 14
     done/s      0.0   max 0.0
     failed/s    0.0   max 0.0
     tasks        14   max 14
     a active p pending g aggregating s scheduled r retry x archived c completed
     critical         pppppppppppppppppppppppppppppppppppppppppppppppppppppppppp 12
     default          xxxxxxxxxx 2
      Queue     State  Size  Latency  Memory  Processed  Failed  ErrorRate
      critical  RUN      12     4.6s  1.7 kB          0       0          -
      default   RUN       2       0s   704 B          0       0          -










     page 1 of 1   1 to 2 of 2
     as of 17:04:48 UTC, every 0.5 s, unix:///redis.sock
     ?  help  Esc  back  Enter  open  P  pause  n  next page  Ctrl+C  quit"""
)
ARCHIVED = dedent(
    """\
    [1 Queues] 2 Servers  3 Workers  4 Schedulers  5 Redis                   asyncq
     default  RUN  size 2  latency 0s  704 B  today 0, 0 failed (-)
     done/s      0.0   max 0.0
     failed/s    0.0   max 0.0
     tasks         2   max 2
     active 0  pend 0  aggr 0  sched 0  retry 0 [arch 2] compl 0
      ID  Type           Retry  Last Failure        Failed           Payload
    > x1  email:deliver  25/25  connection refused  -                {"user_id": 42}
      x2  email:deliver  25/25  connection refused  -                {"user_id": 42}












     page 1 of 1   1 to 2 of 2
     as of 17:04:48 UTC, every 0.5 s, unix:///redis.sock
     ?  help  Esc  back  Enter  open  /  filter  r  run  a  archive  Ctrl+C  quit"""
)
QUESTION = dedent(
    """\
    [1 Queues] 2 Servers  3 Workers  4 Schedulers  5 Redis                   asyncq
     default  RUN  size 2  latency 0s  704 B  today 0, 0 failed (-)
     done/s      0.0   max 0.0
     failed/s    0.0   max 0.0
     tasks         2   max 2
     active 0  pend 0  aggr 0  sched 0  retry 0 [arch 2] compl 0
      ID  Type           Retry  Last Failure        Failed           Payload
    > x1  email:deliver  25/25  connection refused  -                {"user_id": 42}
      x2  email:deliver  25/25  connection refused  -                {"user_id": 42}
      ╭─ Are you sure? ──────────────────────────────────────────────────────────╮
      │Delete task x1 of queue default?                                          │
      │This cannot be undone.                                                    │
      │                                                                          │
      │y: yes   n: no                                                            │
      ╰──────────────────────────────────────────────────────────────────────────╯






     page 1 of 1   1 to 2 of 2
     as of 17:04:48 UTC, every 0.5 s, unix:///redis.sock
     y  yes  n  no  Ctrl+C  quit"""
)


class Terminal:
    """A tmux of its own, with one window in which a command runs."""

    def __init__(self, directory: Path, width: int, height: int, command: Sequence[str]) -> None:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("ASYNCQ_", "TMUX"))}
        # The size is the window's, whatever pytest-xdist says to its workers.
        for name in ("REDIS_URL", "NO_COLOR", "COLORFGBG", "COLUMNS", "LINES"):
            inherited.pop(name, None)
        self._env = inherited | {
            "TMUX_TMPDIR": str(directory),
            "LC_ALL": "C.UTF-8",
            "TERM": "xterm-256color",
        }
        (directory / "tmux.conf").write_text("set -s escape-time 0\nset -g status off\n")
        # What it leaves behind is seen after it; the window goes with the tmux only.
        shell = f"{' '.join(command)}; echo it left with $?; exec sleep 1000"
        self._tmux("-f", str(directory / "tmux.conf"), "new-session", "-d", "-s", "dash",
                   "-x", str(width), "-y", str(height), "-c", str(directory), shell)  # fmt: skip
        self._pid = int(self._tmux("display-message", "-p", "#{pid}"))
        watch_process(self._pid)

    def keys(self, *keys: str) -> None:
        self._tmux("send-keys", "-t", "dash", *keys)

    def resize(self, width: int, height: int) -> None:
        self._tmux("resize-window", "-t", "dash", "-x", str(width), "-y", str(height))

    @property
    def screen(self) -> str:
        """What is seen, without blanks at the ends of lines."""
        lines = self._tmux("capture-pane", "-p", "-t", "dash").split("\n")
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
    screen = re.sub(r" +\d+(\.\d)? (B|kB|MB)", " <memory>", screen)
    screen = re.sub(r" +(\d+d\d\dh|\d+h\d\dm|\d+m\d\ds|\d+s|\d\.\ds)", " <duration>", screen)
    return re.sub(r"[▁▂▃▄▅▆▇█ ]+ max ", " <chart> max ", screen)


@pytest.fixture
def server(start_redis: Callable[..., RedisServer]) -> RedisServer:
    return start_redis()


@pytest.fixture
def terminal(server: RedisServer, tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def start(*options: str, width: int = 80, height: int = 24) -> Terminal:
        directory = tmp_path / f"{len(opened)}"
        directory.mkdir()
        command = [sys.executable, "-m", "asyncq", "dash", "--redis", f"'{server.url}'", *options]
        opened.append(Terminal(directory, width, height, command))
        return opened[-1]

    yield start
    for each in opened:
        each.close()


async def fill(server: RedisServer) -> None:
    async with server.client() as redis:
        await put(redis, "critical", "pending", [f"p{n}" for n in range(12)])
        await put(
            redis,
            "default",
            "archived",
            ["x1", "x2"],
            type="email:deliver",
            payload=b'{"user_id": 42}',
            error_msg="connection refused",
            retried=25,
        )


async def test_dashboard_in_a_terminal(
    server: RedisServer, terminal: Callable[..., Terminal]
) -> None:
    await fill(server)
    screen = terminal("--refresh", "500ms")
    screen.shows("Queues: 2", "failed/s    0.0")
    screen.shows_screen(QUEUES)

    screen.keys("k", "Enter", "Left", "h")
    screen.shows("  x1", "failed/s    0.0")
    screen.keys("j")
    screen.shows_screen(ARCHIVED)

    screen.keys("d")
    screen.shows_screen(QUESTION)
    screen.keys("y")
    screen.shows("task x1 deleted", "[arch 1]")

    screen.resize(140, 40)
    screen.shows("Last Failure Time", "Ctrl+C  quit")
    assert len(screen.screen.split("\n")) == 40

    screen.keys("q", "q")
    assert "Warning" not in screen.shows("it left with 0")


async def test_terminal_is_left_as_it_was(
    server: RedisServer, terminal: Callable[..., Terminal]
) -> None:
    screen = terminal("--theme", "light")
    screen.shows("no queues")
    screen.keys("C-c")
    screen.shows("it left with 0")
    assert screen.screen == "it left with 0"
