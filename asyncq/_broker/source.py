"""What a user says Redis is: a URL, a client of redis-py's, or nothing but the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import redis
import redis.asyncio
import redis.asyncio.sentinel
from redis.asyncio.connection import SSLConnection, UnixDomainSocketConnection

from ..errors import RedisNotConfiguredError
from .address import REDIS_PORT, Address, Cluster, Endpoint, RedisSource, Sentinels, Single
from .url import read_url


def read_source(source: RedisSource | None) -> Address:
    """What `source` says, or the environment if it says nothing.

    Raises `RedisNotConfiguredError`, `ValueError` (a wrong URL), `TypeError` (not a source).
    """
    if source is None:
        source = os.environ.get("ASYNCQ_REDIS_URL") or os.environ.get("REDIS_URL")
        if not source:
            raise RedisNotConfiguredError
    if isinstance(source, str):
        return read_url(source)
    return read_client(source)


_KEPT = ("db", "username", "password", "credential_provider", "socket_keepalive_options")


def read_client(client: object) -> Address:
    """Address, credentials and TLS settings of a `redis.asyncio` client; nothing else of it.

    Raises `TypeError` for anything else.
    """
    if isinstance(client, redis.asyncio.RedisCluster):
        return _of_cluster(client)
    if isinstance(client, redis.asyncio.Redis):
        pool: Any = client.connection_pool
        if isinstance(pool, redis.asyncio.sentinel.SentinelConnectionPool):
            return _of_sentinel(pool)
        return Single(_endpoint(pool.connection_kwargs, pool.connection_class))
    if isinstance(client, redis.Redis | redis.RedisCluster):
        raise TypeError(
            f"{_name(client)} is a synchronous client; asyncq is asynchronous:"
            " pass a client of redis.asyncio, or a URL"
        )
    raise TypeError(
        f"expected a Redis URL, a redis.asyncio client or an asyncq Client, got {_name(client)}"
    )


def _name(thing: object) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


def _endpoint(kwargs: Mapping[str, Any], connection_class: type) -> Endpoint:
    tls = issubclass(connection_class, SSLConnection)
    options = {k: kwargs[k] for k in _KEPT if kwargs.get(k) is not None}
    if tls:
        options |= {k: v for k, v in kwargs.items() if k.startswith("ssl_")}
    if issubclass(connection_class, UnixDomainSocketConnection):
        options.pop("socket_keepalive_options", None)
        return Endpoint(path=kwargs["path"], options=MappingProxyType(options))
    return Endpoint(
        host=str(kwargs.get("host") or "localhost"),
        port=int(kwargs.get("port") or REDIS_PORT),
        tls=tls,
        options=MappingProxyType(options),
    )


def _of_sentinel(pool: Any) -> Address:
    if not pool.is_master:
        raise TypeError(
            "this client comes from Sentinel.slave_for and reads from replicas;"
            " asyncq writes: pass one from Sentinel.master_for"
        )
    watching = [s.connection_pool for s in pool.sentinel_manager.sentinels]
    return Sentinels(
        tuple(_endpoint(p.connection_kwargs, p.connection_class) for p in watching),
        pool.service_name,
        _endpoint(pool.connection_kwargs, pool.connection_class),
    )


def _of_cluster(client: Any) -> Address:
    nodes = client.nodes_manager
    # The nodes it was made with, and those it has found out about since.
    known = {
        node.name: node for node in (*nodes.startup_nodes.values(), *nodes.nodes_cache.values())
    }
    return Cluster(
        tuple(
            _endpoint(
                {**client.connection_kwargs, "host": n.host, "port": n.port}, n.connection_class
            )
            for n in known.values()
        ),
        nodes.address_remap,
    )
