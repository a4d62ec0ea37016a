"""Real servers for the tests: a unix socket (or a free port) in a directory of their own.

Every server dies with the process that started it, even if that is killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import IO

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from waiting import LONGEST_S

from asyncq import devredis

VARIANTS = ("valkey", "redis")
_OLDEST = (6, 2)

_GUARD = """
trap '' INT TERM HUP
while read -r word pid; do
    case "$word" in
        watch) pids="$pids $pid " ;;
        *) pids=$(echo "$pids" | sed "s/ $pid / /") ;;
    esac
done
for pid in $pids; do kill -9 "$pid"; done 2>/dev/null
"""


@cache
def program(variant: str) -> devredis.ServerProgram:
    """The server of a variant: `valkey`, the embedded one, or `redis`, the one on PATH.

    Raises `DevRedisError` with the reason when this machine does not have it.
    """
    find: Callable[[], str] = (
        devredis.embedded_executable
        if variant == "valkey"
        else lambda: devredis.on_path("redis-server")
    )
    return devredis.examine(find(), oldest=_OLDEST)


def default_variant() -> str:
    """The embedded server, or the one on PATH where that is not installed."""
    try:
        program("valkey")
    except devredis.DevRedisError:
        program("redis")
        return "redis"
    return "valkey"


@cache
def _guard() -> subprocess.Popen[str]:
    """A shell that reads which servers to kill when this process is gone and its pipe ends.

    Unlike PR_SET_PDEATHSIG it works on macOS too, and from any thread.
    """
    return subprocess.Popen(
        ["/bin/sh", "-c", _GUARD], stdin=subprocess.PIPE, text=True, start_new_session=True
    )


def watch_process(pid: int) -> None:
    """Have a process killed when this one is gone."""
    _tell_guard("watch", pid)


def forget_process(pid: int) -> None:
    """It has ended, and its pid may soon be another's."""
    _tell_guard("forget", pid)


def _tell_guard(word: str, pid: int) -> None:
    pipe = _guard().stdin
    assert pipe is not None
    pipe.write(f"{word} {pid}\n")
    pipe.flush()


def connect(url: str) -> Redis:
    """A client that neither retries nor times out: tests decide how long they wait."""
    return Redis.from_url(url, socket_timeout=None, retry=Retry(NoBackoff(), 0))


class RedisServer:
    """One server, not started yet. `with RedisServer() as server:` starts and stops it.

    * `variant`: one of `VARIANTS`; the default is `default_variant()`.
    * `persistent`: keep the data over `kill` and `restart` (append-only file, written before
      each reply).
    * `tcp`: listen on a free port of 127.0.0.1 instead of a unix socket.
    * `args`: further arguments of the server.
    """

    def __init__(
        self,
        variant: str | None = None,
        *,
        persistent: bool = False,
        tcp: bool = False,
        args: Sequence[str] = (),
    ) -> None:
        self.program = program(variant or default_variant())
        self.directory = Path(tempfile.mkdtemp(prefix="asyncq-test-"))
        self.socket = self.directory / "redis.sock"
        self.port = free_port() if tcp else 0
        self.url = f"redis://127.0.0.1:{self.port}/0" if tcp else f"unix://{self.socket}?db=0"
        self.log = self.directory / "server.log"
        self._args = [
            *("--port", str(self.port), "--bind", "127.0.0.1"),
            *("--unixsocket", str(self.socket), "--unixsocketperm", "700"),
            *("--dir", str(self.directory), "--daemonize", "no", "--save", ""),
            *("--appendonly", "yes" if persistent else "no", "--appendfsync", "no"),
            *args,
        ]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        return self._running().pid

    def start(self, *args: str) -> None:
        """Starts the server and returns when it answers; `args` are for this time only."""
        assert self._process is None, "the server runs already"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [self.program.path, *self._args, *args],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        watch_process(self._process.pid)
        deadline = time.monotonic() + LONGEST_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"the server did not start:\n{self.log.read_text()}")
            time.sleep(0.002)

    def stop(self) -> None:
        """Asks the server to end, and waits until it has. Nothing happens if it does not run."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL. Nothing happens if the server does not run."""
        self._end(signal.SIGKILL)

    def restart(self, *, kill: bool = False) -> None:
        """Ends the server and starts it again: same address, an empty script cache.

        Without `persistent` the data is gone.
        """
        self.kill() if kill else self.stop()
        self.start()

    def pause(self) -> None:
        """Stops the process in its tracks (SIGSTOP): it accepts connections, but says nothing."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Lets a paused server go on."""
        self._running().send_signal(signal.SIGCONT)

    def client(self) -> Redis:
        """A client of this server. The caller closes it."""
        return connect(self.url)

    def close(self) -> None:
        """Kills the server and deletes its directory."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the server does not run"
        return self._process

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            process.wait()
            forget_process(process.pid)

    def _answers(self) -> bool:
        """Whether the server answers and has read its data."""
        return _ask(self.socket, b"PING\r\n").startswith(b"+PONG")


def _ask(address: Path, request: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection, contextlib.suppress(OSError):
        connection.connect(str(address))
        connection.sendall(request)
        return connection.recv(1024)
    return b""


_RESERVED: list[IO[bytes]] = []
"""Open, and locked, as long as this process lives: a file for each port that it was given."""


def free_port() -> int:
    """A port that nobody has. Nor will anybody before it is used, or while its server is away:
    it is below those that systems give to whoever asks for any, and outgoing connections have,
    and no other process of tests is given it.
    """
    reservations = Path(tempfile.gettempdir()) / f"asyncq-test-ports-{os.getuid()}"
    reservations.mkdir(exist_ok=True)
    while True:
        # Not of `random`, which a plugin may seed alike in every test process.
        port = 10_000 + secrets.randbelow(20_000)
        reservation = (reservations / str(port)).open("ab")
        with socket.socket() as probe, contextlib.suppress(OSError):
            fcntl.flock(reservation, fcntl.LOCK_EX | fcntl.LOCK_NB)
            probe.bind(("127.0.0.1", port))
            _RESERVED.append(reservation)
            return port
        reservation.close()


def wait_until_gone(pid: int) -> None:
    """Returns when no process has this id any more (or only an unreaped rest of one)."""
    deadline = time.monotonic() + LONGEST_S
    while is_alive(pid):
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not.

    An orphan stays a zombie for ever where process 1 does not reap, as in many containers.
    """
    if Path("/proc/self/stat").exists():
        try:
            status = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return False
        return status.rpartition(")")[2].split()[0] != "Z"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
