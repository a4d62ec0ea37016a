"""The dashboard in a real terminal: tmux, whose screen is compared with what it should show."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest
from placed import put
from redis_servers import RedisServer
from tmux import Tmux

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
      Queue     State  Size  Latency   Memory  Processed  Failed  ErrorRate
      critical  RUN      12     4.6s  1.7 KiB          0       0          -
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


@pytest.fixture
def server(start_redis: Callable[..., RedisServer]) -> RedisServer:
    return start_redis()


@pytest.fixture
def terminal(server: RedisServer, tmp_path: Path) -> Iterator[Callable[..., Tmux]]:
    opened: list[Tmux] = []

    def start(*options: str, width: int = 80, height: int = 24) -> Tmux:
        directory = tmp_path / f"{len(opened)}"
        directory.mkdir()
        command = [sys.executable, "-m", "asyncq", "dash", "--redis", f"'{server.url}'", *options]
        opened.append(Tmux(directory, width, height, command))
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


async def test_dashboard_in_a_terminal(server: RedisServer, terminal: Callable[..., Tmux]) -> None:
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
    server: RedisServer, terminal: Callable[..., Tmux]
) -> None:
    screen = terminal("--theme", "light")
    screen.shows("no queues")
    screen.keys("C-c")
    screen.shows("it left with 0")
    assert screen.screen == "it left with 0"
