"""What the servers of a Redis say of themselves: their settings and their condition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from redis.crc import key_slot

from ..errors import RedisError, RedisReplyError
from .address import host_and_port
from .connection import Call, Connection

SETTINGS = (
    "appendfsync",
    "save",
    "min-replicas-to-write",
    "timeout",
    "maxmemory-policy",
    "maxclients",
)


@dataclass(frozen=True, slots=True)
class Master:
    """A server that has tasks, and the key by which calls get there."""

    where: str
    key: str


@dataclass(frozen=True, slots=True)
class Vitals:
    """One server: INFO, and those of its settings that we may see."""

    where: str
    info: Mapping[str, str]
    settings: Mapping[str, str] = field(default_factory=dict)
    refused: str = ""
    """Why the settings could not be read."""

    def number(self, name: str) -> int:
        """A number of INFO; 0 if it is not there."""
        text = self.info.get(name, "0").strip()
        return int(text) if text.isdigit() else 0


async def masters(connection: Connection) -> list[Master]:
    """All servers that have keys: one, or the masters of a cluster."""
    if not connection.is_cluster:
        return [Master(connection.where, "asynq:queues")]
    ranges = await connection.run_one(Call.command("CLUSTER", "SLOTS"))
    slots: dict[str, list[tuple[int, int]]] = {}
    for first, last, (host, port, *_), *_ in ranges:
        where = host_and_port((host or b"").decode(), port)
        slots.setdefault(where, []).append((first, last))
    return [Master(where, _key_within(held)) for where, held in sorted(slots.items())]


def _key_within(ranges: list[tuple[int, int]]) -> str:
    """A key in one of these slots."""
    n = 0
    while True:
        key = f"asyncq:node:{n}"
        slot = key_slot(key.encode())
        if any(first <= slot <= last for first, last in ranges):
            return key
        n += 1


async def read_info(connection: Connection, master: Master) -> dict[str, str]:
    """INFO, by name. Raises `RedisError`."""
    # Without a section: in a cluster calls go by their keys, and this has none of its own.
    return _parsed(await connection.run_one(Call(None, (master.key,), ("INFO",))))


async def read_vitals(connection: Connection, master: Master) -> Vitals:
    """Raises `RedisError`; that settings may not be read is part of the answer."""
    at = (master.key,)
    info = await read_info(connection, master)
    replies = await connection.run([Call(None, at, ("CONFIG", "GET", name)) for name in SETTINGS])
    settings: dict[str, str] = {}
    refused = ""
    for reply in replies:
        if isinstance(reply, RedisReplyError):
            refused = reply.text
        elif isinstance(reply, RedisError):
            raise reply
        else:
            settings |= {
                name.decode(): value.decode("utf-8", "replace")
                for name, value in zip(reply[::2], reply[1::2], strict=True)
            }
    return Vitals(master.where, info, settings, refused)


async def may_not(
    connection: Connection, master: Master, tried: Mapping[str, tuple[str, ...]]
) -> tuple[str, dict[str, str]]:
    """Who we are, and which of these commands (with arguments) we may not give, and why.

    Raises `RedisReplyError` where Redis does not tell us (before Redis 7, or not allowed).
    """
    user: bytes = await connection.run_one(Call(None, (master.key,), ("ACL", "WHOAMI")))
    calls = [
        Call(None, (master.key,), ("ACL", "DRYRUN", user, *command)) for command in tried.values()
    ]
    refused: dict[str, str] = {}
    for name, reply in zip(tried, await connection.run(calls), strict=True):
        if isinstance(reply, RedisError):
            raise reply
        if reply != b"OK":
            refused[name] = reply.decode("utf-8", "replace")
    return user.decode("utf-8", "replace"), refused


def _parsed(info: bytes) -> dict[str, str]:
    lines = info.decode("utf-8", "replace").splitlines()
    pairs = [line.split(":", 1) for line in lines if ":" in line and not line.startswith("#")]
    return dict(pairs)
