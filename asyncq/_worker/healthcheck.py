"""Tells the user's callback at intervals whether Redis answers."""

from __future__ import annotations

import inspect
from typing import Any

from .._broker.connection import Connection
from ..config import HealthCheck
from ..errors import RedisError


class Healthcheck:
    """Pings Redis and hands the outcome to a callback: None, or the error."""

    def __init__(self, connection: Connection, callback: HealthCheck) -> None:
        self._connection = connection
        self._callback = callback

    async def step(self) -> None:
        error: RedisError | None = None
        try:
            await self._connection.ping()
        except RedisError as failed:
            error = failed
        told: Any = self._callback(error)
        if inspect.isawaitable(told):
            await told
