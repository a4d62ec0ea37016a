"""What a server shows of itself, as asynq writes it (wire format, section 9)."""

from __future__ import annotations

from collections.abc import Sequence

from .._clock import Clock
from ..errors import RedisError
from ..info import ServerInfo, WorkerInfo
from . import keys, scripts
from .arguments import Arg
from .codec import encode_server, encode_worker
from .connection import Call, Connection

TIME_TO_LIVE_S = 10
"""Twice the heartbeat; asynq's."""


class Presence:
    """The presence keys of one server."""

    def __init__(
        self, connection: Connection, clock: Clock, host: str, pid: int, server_id: str
    ) -> None:
        self._connection = connection
        self._clock = clock
        self._server = keys.server(host, pid, server_id)
        self._workers = keys.workers(host, pid, server_id)

    async def write(self, server: ServerInfo, workers: Sequence[WorkerInfo]) -> int:
        """Show the server and what it runs, for ten seconds. Returns how many servers there are."""
        until = int(self._clock.now()) + TIME_TO_LIVE_S
        args: list[Arg] = [TIME_TO_LIVE_S, encode_server(server)]
        for worker in workers:
            args += (worker.task_id, encode_worker(worker))
        replies = await self._connection.run(
            [
                Call.command("ZADD", keys.SERVERS, until, self._server),
                Call.command("ZADD", keys.WORKERS, until, self._workers),
                Call.of(scripts.WRITE_SERVER_STATE, (self._server, self._workers), args),
                Call.command("ZCOUNT", keys.SERVERS, until - TIME_TO_LIVE_S, "+inf"),
            ]
        )
        for reply in replies:
            if isinstance(reply, RedisError):
                raise reply
        return int(replies[-1])

    async def clear(self) -> None:
        """Take the server off the lists, at shutdown."""
        await self._connection.run(
            [
                Call.command("ZREM", keys.SERVERS, self._server),
                Call.command("ZREM", keys.WORKERS, self._workers),
                Call.command("DEL", self._server),
                Call.command("DEL", self._workers),
            ]
        )
