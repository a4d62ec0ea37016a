"""A private Redis for development, shared by the processes that name the same directory.

`ensure` joins the server that runs there, or starts one. It belongs to none of its users: a
keeper (`keeper.py`, a process of its own) stops it when they are gone, however they went.
The data stays for the next time.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from . import keeper
from .programs import DevRedisError, ServerProgram, find_server

_LONGEST_ADDRESS = 100
"""Bytes of a unix socket's path: systems allow 104 (macOS) or 108, with a NUL at the end."""

_LARGEST_LOG = 1_000_000

_log = logging.getLogger("asyncq")


def ensure(
    home: Path | str | None = None, *, grace: float = 1.0, timeout: float = 10.0
) -> DevRedis:
    """The development server of the directory `home`, started if it does not run yet.

    `home` keeps the data; it is made when missing, and `default_home()` if not given. It must be
    on a local disk. The server runs until every `DevRedis` of every process is closed or its
    process is gone, and `grace` seconds (those of the call that started it) more.

    Blocks for about 0.1 s when it starts the server, a few ms when it joins one, at most `timeout`
    seconds; a server that is reading its data is waited for beyond that.

    Raises `DevRedisError`.
    """
    if sys.platform == "win32":
        raise DevRedisError(
            "the development server does not run on Windows; use WSL, or start a Redis elsewhere"
            " (docker run -p 6379:6379 redis) and set ASYNCQ_REDIS_URL to its URL"
        )
    directory = default_home() if home is None else Path(home).expanduser().absolute()
    deadline = time.monotonic() + timeout
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _starting(directory, deadline):
            redis = _join_or_start(directory, grace, deadline)
    except OSError as error:
        raise DevRedisError(
            f"{directory} cannot hold a development server: {error}; name a directory of your own"
            " on a local disk, with embedded:///path/of/directory"
        ) from error
    _log.info("%s", redis.describe())
    return redis


def default_home() -> Path:
    """The directory of the development server that all of a user's projects share.

    `$XDG_DATA_HOME/asyncq/dev`, which is `~/.local/share/asyncq/dev` unless set;
    `~/Library/Application Support/asyncq/dev` on macOS.
    """
    try:
        if sys.platform == "darwin":
            data = Path.home() / "Library" / "Application Support"
        else:
            named = os.environ.get("XDG_DATA_HOME", "")
            data = Path(named) if os.path.isabs(named) else Path.home() / ".local" / "share"
    except RuntimeError as error:
        raise DevRedisError(
            f"there is no home directory for the development server's data ({error});"
            " name a directory, with embedded:///path/of/directory"
        ) from error
    return data / "asyncq" / "dev"


class DevRedis:
    """One user's hold on a development server; `ensure` makes it.

    The server stays until this is closed or the process is gone, even if the object is dropped.
    A process forked from this one holds on to the server too, until it ends or closes its copy.
    """

    home: Path
    """The directory of its data, its log `server.log` and its locks."""
    socket: str
    """The path of its unix socket."""
    url: str
    """`unix://` and that path; append `?db=1` for another database."""
    executable: str
    name: str
    """`Valkey` or `Redis`."""
    version: str
    started: bool
    """Whether this call started the server, rather than joined one."""

    def __init__(
        self, home: Path, address: str, hold: int, facts: Mapping[str, str], *, started: bool
    ) -> None:
        self.home = home
        self.socket = address
        self.url = "unix://" + quote(address)
        self.executable = facts["executable"]
        self.name = "Valkey" if "valkey_version" in facts else "Redis"
        self.version = facts.get("valkey_version") or facts["redis_version"]
        self.started = started
        self._hold: int | None = hold

    def describe(self) -> str:
        """One line: which server, its version, its data, and that it is for development."""
        return (
            f"{'started' if self.started else 'joined'} the development Redis:"
            f" {self.name} {self.version} ({self.executable}), data in {self.home},"
            " for development only"
        )

    def close(self) -> None:
        """Lets go of the server. Closing twice is fine."""
        hold, self._hold = self._hold, None
        if hold is not None:
            os.close(hold)

    def __enter__(self) -> DevRedis:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


# Joining and starting


@contextlib.contextmanager
def _starting(home: Path, deadline: float) -> Generator[None]:
    """Nobody else starts the server of `home`, and its keeper does not stop it."""
    lock = keeper.open_lock(home / "start.lock")
    while not keeper.take(lock):
        if time.monotonic() > deadline:
            os.close(lock)
            raise DevRedisError(
                f"another process is starting or stopping the server of {home}, and has not"
                " come to an end in the time allowed; try again"
            )
        time.sleep(0.005)
    try:
        yield
    finally:
        keeper.release(lock)


def _join_or_start(home: Path, grace: float, deadline: float) -> DevRedis:
    hold = keeper.open_lock(home / "users.lock")
    try:
        keeper.share(hold)
        started = _bring_up(home, grace, deadline)
        address = keeper.address(home)
        facts = dict(_FACT.findall(_ask(address, "INFO server")))
        if "executable" not in facts:
            raise DevRedisError(f"the development server went away: {_last_words(home)}")
        return DevRedis(home, address, hold, facts, started=started)
    except BaseException:
        os.close(hold)
        raise


_FACT = re.compile(r"^(\w+):(.*?)\r?$", re.MULTILINE)
"""A line of INFO."""


def _bring_up(home: Path, grace: float, deadline: float) -> bool:
    """Returns when the server answers; whether it was started for that."""
    started = False
    while True:
        answer = _ask(keeper.address(home), "PING")
        if keeper.is_free(home / "server.lock"):
            if started:
                raise DevRedisError(f"the development server ended at once: {_last_words(home)}")
            _start_keeper(home, grace, deadline)
            started = True
        elif keeper.is_free(home / "keeper.lock"):
            # Its keeper was killed, so nobody would ever stop it. It keeps its data.
            _ask(keeper.address(home), "SHUTDOWN")
        elif answer.startswith("+PONG"):
            return started
        if time.monotonic() > deadline and not answer.startswith("-LOADING"):
            raise DevRedisError(
                f"the development server of {home} runs but does not answer on"
                f" {keeper.address(home)}: {_last_words(home)}; to end it, end its keeper, process"
                f" {(home / 'keeper.lock').read_text().strip()}"
            )
        time.sleep(0.005)


def _start_keeper(home: Path, grace: float, deadline: float) -> None:
    """Returns when the keeper has started the server, or has given up."""
    if not sys.executable:
        raise DevRedisError(
            "this Python does not know its own executable, which the development server needs;"
            " start a Redis and set ASYNCQ_REDIS_URL to its URL"
        )
    arguments = _arguments(find_server(), home, _new_address(home))
    reader, writer = os.pipe()
    try:
        with _open_log(home) as log:
            subprocess.run(
                [
                    *(sys.executable, "-I", "-S", keeper.__file__),
                    *(str(home), str(grace), str(writer)),
                    *arguments,
                ],
                pass_fds=[writer],
                cwd=home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                check=False,  # the locks and the log tell more than its exit status
            )
    finally:
        os.close(writer)
        _wait_readable(reader, deadline)
        os.close(reader)


def _arguments(program: ServerProgram, home: Path, address: str) -> list[str]:
    arguments = [
        *(program.path, "--dir", str(home), "--daemonize", "no"),
        *("--port", "0", "--unixsocket", address, "--unixsocketperm", "700"),
        *("--save", "", "--appendonly", "yes", "--appendfsync", "everysec"),
        # Plain commands: the only format that older and newer servers read alike.
        *("--aof-use-rdb-preamble", "no"),
        # The default, 64 MB, is much for the queues of a development machine.
        *("--auto-aof-rewrite-min-size", "4mb"),
        *("--maxmemory-policy", "noeviction"),
    ]
    if program.name == "Valkey" and program.version >= (8, 0):
        # For tools that look for Redis's own words in INFO; older ones do not know the option.
        arguments += ["--extended-redis-compatibility", "yes"]
    return arguments


def _new_address(home: Path) -> str:
    """A path for the socket of a new server; `keeper.address` finds it from now on."""
    keeper.forget_address(home)
    link = home / "redis.sock"
    if _fits(str(link)):
        return str(link)
    for parent in (tempfile.gettempdir(), "/tmp"):
        if _fits(os.path.join(parent, "asyncq-12345678", "redis.sock")):
            address = os.path.join(tempfile.mkdtemp(prefix="asyncq-", dir=parent), "redis.sock")
            link.unlink(missing_ok=True)
            link.symlink_to(address)
            return address
    raise DevRedisError(f"{link} is too long for a unix socket; choose a shorter directory")


def _fits(path: str) -> bool:
    return len(os.fsencode(path)) <= _LONGEST_ADDRESS


def _ask(address: str, command: str) -> str:
    """The server's reply to one command, all of it as text; empty when it says nothing."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1)
            connection.connect(address)
            connection.sendall(f"{command}\r\nQUIT\r\n".encode())
            with connection.makefile("rb") as reply:
                return reply.read().decode(errors="replace")
    except OSError:
        # Not there, not there yet, or gone in the middle of it: the caller looks again.
        return ""


def _wait_readable(descriptor: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(descriptor)
    poll.poll(max(0, deadline - time.monotonic()) * 1000)


def _open_log(home: Path) -> BinaryIO:
    path = home / "server.log"
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > _LARGEST_LOG:
            path.replace(home / "server.log.1")
    return path.open("ab")


def _last_words(home: Path) -> str:
    log = home / "server.log"
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return f"see {log}, which ends with {' | '.join(lines[-3:])!r}"
