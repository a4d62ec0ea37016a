"""Where Redis is and how to be let in, whatever said so. Nothing here can print a secret."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import redis.asyncio

from ..errors import RedisError, RedisReplyError, RedisUnavailableError

CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 5.0
REDIS_PORT = 6379
SENTINEL_PORT = 26379

RedisSource: TypeAlias = str | redis.asyncio.Redis | redis.asyncio.RedisCluster
"""What a user may say it with, besides something of asyncq that is connected already."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One Redis process and how to be let in.

    `options` are the keyword arguments of redis-py's connections for credentials, database
    and TLS. They hold the secrets, so they are never printed.
    """

    host: str = ""
    port: int = REDIS_PORT
    path: str = ""
    tls: bool = False
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    connect_timeout: float = CONNECT_TIMEOUT
    read_timeout: float = READ_TIMEOUT

    @property
    def where(self) -> str:
        """The address as a person writes it, without credentials."""
        db = self.options.get("db") or 0
        if self.path:
            return f"unix://{self.path}" + (f"?db={db}" if db else "")
        scheme = "rediss" if self.tls else "redis"
        return f"{scheme}://{host_and_port(self.host, self.port)}" + (f"/{db}" if db else "")

    def at(self, host: str, port: int) -> Endpoint:
        """The same credentials and settings at another address."""
        return replace(self, host=host, port=port, path="")


@dataclass(frozen=True, slots=True)
class Single:
    """One Redis process."""

    endpoint: Endpoint

    @property
    def where(self) -> str:
        return self.endpoint.where


@dataclass(frozen=True, slots=True)
class Sentinels:
    """The Redis that these sentinels call the master of `name`; `master` is how to be let in."""

    sentinels: tuple[Endpoint, ...]
    name: str
    master: Endpoint

    @property
    def where(self) -> str:
        hosts = ",".join(host_and_port(s.host, s.port) for s in self.sentinels)
        db = self.master.options.get("db") or 0
        return f"redis-sentinel://{hosts}" + (f"/{db}" if db else "") + f"?master={self.name}"


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Redis Cluster, entered through any of `seeds`."""

    seeds: tuple[Endpoint, ...]
    remap: Callable[[tuple[str, int]], tuple[str, int]] | None = None

    @property
    def where(self) -> str:
        scheme = "rediss-cluster" if self.seeds[0].tls else "redis-cluster"
        return f"{scheme}://" + ",".join(host_and_port(s.host, s.port) for s in self.seeds)


@dataclass(frozen=True, slots=True)
class Embedded:
    """A private development server that keeps its data in `directory` (None: the default one)."""

    directory: Path | None

    @property
    def where(self) -> str:
        return f"embedded://{self.directory or ''}"


Address: TypeAlias = Single | Sentinels | Cluster | Embedded


def host_and_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def by_reason(failures: Iterable[tuple[str, RedisError]]) -> str:
    """Why each of several servers did not answer, each reason once: `a:1, b:1: no route`."""
    found: dict[str, list[str]] = {}
    for where, error in failures:
        match error:
            case RedisUnavailableError():
                reason = error.reason
            case RedisReplyError():
                reason = error.text
            case _:
                reason = str(error)
        found.setdefault(reason, []).append(where)
    return "; ".join(f"{', '.join(wheres)}: {reason}" for reason, wheres in found.items())
