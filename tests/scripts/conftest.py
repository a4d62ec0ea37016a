"""The operations under test, over one connection, and the clock that moves them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from asyncq._broker.aggregation import Aggregation
from asyncq._broker.broker import Broker
from asyncq._broker.connection import Connection
from asyncq._broker.maintenance import Maintenance
from asyncq._clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def connection(redis_url: str) -> AsyncIterator[Connection]:
    connection = Connection.open(redis_url)
    yield connection
    await connection.aclose()


@pytest.fixture
def broker(connection: Connection, clock: Clock) -> Broker:
    return Broker(connection, clock)


@pytest.fixture
def maintenance(connection: Connection, clock: Clock) -> Maintenance:
    return Maintenance(connection, clock)


@pytest.fixture
def aggregation(connection: Connection, clock: Clock) -> Aggregation:
    return Aggregation(connection, clock)
