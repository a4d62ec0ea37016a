"""The Redis that is measured: one of our own, on loopback, that writes nothing to disk."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from asyncq import devredis


@dataclass(frozen=True)
class Server:
    """A running server. `redis` is a connection to it, for everything that is not measured."""

    name: str
    version: str
    port: int
    pid: int
    redis: Any  # redis-py types its answers as perhaps awaitable

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def empty(self) -> None:
        self.redis.flushall(asynchronous=False)

    def cpu_seconds(self) -> float:
        """Processor time of all its threads so far."""
        info = self.redis.info("cpu")
        return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])

    def used_memory(self) -> int:
        """Bytes, when nobody else is connected any more: connections have memory of their own."""
        deadline = time.monotonic() + 5
        while self.redis.info("clients")["connected_clients"] > 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        return int(self.redis.info("memory")["used_memory"])

    def script_calls(self) -> int:
        """How many scripts were run since the statistics were reset."""
        stats = self.redis.info("commandstats")
        return sum(
            stats[f"cmdstat_{name}"]["calls"]
            for name in ("eval", "evalsha", "fcall")
            if f"cmdstat_{name}" in stats
        )


@contextmanager
def running() -> Generator[Server]:
    """Redis from PATH, or else Valkey from PATH or from `asyncq[embedded]`."""
    program = _program()
    home = Path(tempfile.mkdtemp(prefix="asyncq-bench-"))
    port = free_port()
    process = subprocess.Popen(
        [
            *(program.path, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(home)),
            *("--save", "", "--appendonly", "no", "--daemonize", "no"),
        ],
        stdin=subprocess.DEVNULL,
        stdout=(home / "server.log").open("wb"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    redis = Redis(port=port, socket_timeout=120)
    try:
        _until_ready(redis, process, home / "server.log")
        version = ".".join(map(str, program.version))
        yield Server(program.name, version, port, process.pid, redis)
    finally:
        redis.close()
        process.terminate()
        process.wait()
        shutil.rmtree(home, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _program() -> devredis.ServerProgram:
    try:
        return devredis.examine(devredis.on_path("redis-server"))
    except devredis.DevRedisError:
        return devredis.find_server()


def _until_ready(redis: Redis, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            redis.ping()
        except RedisConnectionError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not start:\n{log.read_text()}") from error
            time.sleep(0.02)
        else:
            return
