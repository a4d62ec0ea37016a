"""Every way to say where Redis is, and what is answered to a wrong one. Nothing connects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio
import redis.asyncio.cluster
import redis.asyncio.sentinel

from asyncq._broker.address import (
    Address,
    Cluster,
    Embedded,
    Endpoint,
    Sentinels,
    Single,
    by_reason,
)
from asyncq._broker.connection import Connection
from asyncq._broker.source import read_source
from asyncq.errors import RedisNotConfiguredError, RedisReplyError, RedisUnavailableError


def single(source: Any) -> Endpoint:
    address = read_source(source)
    assert isinstance(address, Single)
    return address.endpoint


def nodes(endpoints: tuple[Endpoint, ...]) -> list[tuple[str, int]]:
    return [(endpoint.host, endpoint.port) for endpoint in endpoints]


@pytest.mark.parametrize(
    ("url", "host", "port", "db"),
    [
        ("redis://localhost", "localhost", 6379, 0),
        ("redis://localhost/", "localhost", 6379, 0),
        ("redis://localhost:6380/3", "localhost", 6380, 3),
        ("redis://localhost?db=4", "localhost", 6379, 4),
        ("REDIS://Redis.Example:1/0", "Redis.Example", 1, 0),
        ("redis://[::1]:6380/1", "::1", 6380, 1),
        ("redis://[2001:db8::7]", "2001:db8::7", 6379, 0),
        ("redis://10.0.0.1/2/ignored", "10.0.0.1", 6379, 2),
    ],
)
def test_tcp_url(url: str, host: str, port: int, db: int) -> None:
    endpoint = single(url)
    assert (endpoint.host, endpoint.port, endpoint.options["db"]) == (host, port, db)
    assert not endpoint.tls


@pytest.mark.parametrize(
    ("url", "username", "password"),
    [
        ("redis://:secret@h", None, "secret"),
        ("redis://ann:secret@h", "ann", "secret"),
        ("redis://ann:p%40ss%3A%2F%23@h", "ann", "p@ss:/#"),
        ("redis://ann:p@ss@h", "ann", "p@ss"),
        ("redis://h?username=ann&password=p%26s", "ann", "p&s"),
        ("unix://ann:secret@/run/redis.sock", "ann", "secret"),
        ("redis-socket://:secret@/run/redis.sock?db=2", None, "secret"),
        ("redis://ann@h", "ann", None),
        ("redis://h", None, None),
    ],
)
def test_credentials_are_percent_decoded(
    url: str, username: str | None, password: str | None
) -> None:
    options = single(url).options
    assert (options.get("username"), options.get("password")) == (username, password)


@pytest.mark.parametrize(
    ("url", "path", "db"),
    [
        ("unix:///run/redis.sock", "/run/redis.sock", 0),
        ("unix:///run/redis.sock?db=3", "/run/redis.sock", 3),
        ("unix:///run/a%20b.sock", "/run/a b.sock", 0),
        ("redis-socket:///run/redis.sock?db=5", "/run/redis.sock", 5),
        ("redis-socket:///run/redis.sock?db=", "/run/redis.sock", 0),
    ],
)
def test_socket_url(url: str, path: str, db: int) -> None:
    endpoint = single(url)
    assert (endpoint.path, endpoint.options["db"]) == (path, db)


def test_tls_verifies_certificates_unless_told_not_to() -> None:
    endpoint = single("rediss://cache.example")
    assert endpoint.tls
    assert endpoint.options["ssl_cert_reqs"] == "required"
    assert endpoint.options["ssl_check_hostname"] is True

    trusting = single("rediss://cache.example?ssl_cert_reqs=none").options
    assert (trusting["ssl_cert_reqs"], trusting["ssl_check_hostname"]) == ("none", False)


def test_tls_options_of_redis_py_are_understood() -> None:
    url = "rediss://h?ssl_ca_certs=/ca.pem&ssl_certfile=/c.pem&ssl_keyfile=/k&ssl_check_hostname=no"
    options = single(url).options
    assert options["ssl_ca_certs"] == "/ca.pem"
    assert (options["ssl_certfile"], options["ssl_keyfile"]) == ("/c.pem", "/k")
    assert options["ssl_check_hostname"] is False


def test_time_outs_have_defaults_and_can_be_set() -> None:
    assert (single("redis://h").connect_timeout, single("redis://h").read_timeout) == (5.0, 5.0)
    endpoint = single("redis://h?socket_timeout=2.5&socket_connect_timeout=1")
    assert (endpoint.connect_timeout, endpoint.read_timeout) == (1.0, 2.5)


def test_sentinel_url_gives_the_password_to_the_sentinels() -> None:
    address = read_source("redis-sentinel://:secret@s1,s2:26380,[::1]:26381/3?master=prod")
    assert isinstance(address, Sentinels)
    assert nodes(address.sentinels) == [("s1", 26379), ("s2", 26380), ("::1", 26381)]
    assert address.name == "prod"
    assert [s.options.get("password") for s in address.sentinels] == ["secret"] * 3
    assert [s.options.get("db") for s in address.sentinels] == [None] * 3
    assert "password" not in address.master.options
    assert address.master.options["db"] == 3


def test_sentinel_url_defaults_and_credentials_of_the_master() -> None:
    address = read_source("redis-sentinel://s1?username=ann&password=inner")
    assert isinstance(address, Sentinels)
    assert address.name == "mymaster"
    assert (address.master.options["username"], address.master.options["password"]) == (
        "ann",
        "inner",
    )
    assert "password" not in address.sentinels[0].options


@pytest.mark.parametrize("scheme", ["redis-cluster", "rediss-cluster"])
def test_cluster_url(scheme: str) -> None:
    address = read_source(f"{scheme}://ann:secret@n1:7000,n2,[::1]:7002")
    assert isinstance(address, Cluster)
    assert nodes(address.seeds) == [("n1", 7000), ("n2", 6379), ("::1", 7002)]
    assert {seed.options["password"] for seed in address.seeds} == {"secret"}
    assert {seed.tls for seed in address.seeds} == {scheme == "rediss-cluster"}


@pytest.mark.parametrize(
    ("url", "directory"),
    [
        ("embedded://", None),
        ("embedded:///var/lib/dev", Path("/var/lib/dev")),
        ("embedded://data/redis", Path("data/redis")),
        ("embedded://~/redis", Path("~/redis").expanduser()),
    ],
)
def test_embedded_url(url: str, directory: Path | None) -> None:
    assert read_source(url) == Embedded(directory)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("localhost:6379", "did you mean 'redis://localhost:6379'?"),
        ("http://localhost:6379", "does not know http://"),
        ("reddis://localhost", "did you mean redis://?"),
        ("redis-cluser://localhost", "did you mean redis-cluster://?"),
        ("redis-sentinels://localhost", "did you mean redis-sentinel://?"),
        ("", "no scheme"),
        ("redis://", "a host is missing"),
        ("redis:///0", "a host is missing"),
        ("redis://:6379", "a host is missing"),
        ("redis://h/abc", "the database 'abc' is not a number"),
        ("redis://h?db=-1", "the database '-1' is not a number"),
        ("redis://h:99999", "port 99999 is not between 1 and 65535"),
        ("redis://h:port", "that is not host:port"),
        ("redis://::1:6379", "needs brackets"),
        ("redis://h1,h2", "redis-cluster:// or redis-sentinel://"),
        ("redis://h#0", "%23"),
        ("redis://h?sockettimeout=3", "did you mean socket_timeout=?"),
        ("redis://h?ssl_ca_certs=/ca", "without TLS (rediss://)"),
        ("redis://h?socket_timeout=soon", "socket_timeout=soon is not a number of seconds"),
        ("redis://h?socket_timeout=0", "socket_timeout=0 is not a number of seconds above 0"),
        ("rediss://h?ssl_cert_reqs=maybe", "'maybe' is none of required, optional, none"),
        ("rediss://h?ssl_check_hostname=perhaps", "neither true nor false"),
        ("unix://", "the path of the socket is missing"),
        ("unix://run/redis.sock", "unix:///run/redis.sock"),
        ("redis-socket:///s?db=one", "the database 'one' is not a number"),
        ("redis-sentinel://", "a host is missing"),
        ("redis-sentinel://s1,,s2", "a host is missing"),
        ("redis-cluster://n1/2", "a cluster has only database 0"),
        ("redis-cluster://n1?master=x", "master= means nothing here"),
        ("embedded:///d?db=1", "a directory and nothing else"),
    ],
)
def test_wrong_url_says_what_is_wrong_and_what_is_accepted(url: str, says: str) -> None:
    with pytest.raises(ValueError, match="accepted are") as caught:
        Connection.open(url)
    assert says in str(caught.value)
    assert "redis-cluster://" in str(caught.value)


SECRET = "hunter2"


@pytest.mark.parametrize(
    "url",
    [
        f"redis://ann:{SECRET}@h/abc",
        f"redis://:{SECRET}@h:x",
        f"redis://{SECRET}@h:x",
        f"redis://ann:{SECRET}#@h",
        f"redis://ann:{SECRET}?@h",
        f"redis://ann:x/{SECRET}@h",
        f"redis://ann:12/{SECRET}@h",
        f"redis://ann:12?{SECRET}@h",
        f"redis://ann:12?{SECRET}=@h",
        f"unix://ann:12/{SECRET}@/run/r.sock",
        f"redis://ann:x@{SECRET}@h:x",
        f"http://ann:{SECRET}@h",
        f"ann:{SECRET}@h:6379",
        f"redis://h?password={SECRET}&nonsense=1",
        f"rediss://h?ssl_password={SECRET}&nonsense=1",
        f"redis-sentinel://:{SECRET}@s1,,s2",
        f"redis-cluster://:{SECRET}@h/5",
        f"embedded://:{SECRET}@h",
        f"redis://ann:{SECRET}\uff1aret@host",
        f"redis://ann:{SECRET}[ret@host",
        f"redis://ann:{SECRET}://ret@host:x",
        f"ann:{SECRET}://ret@host:1",
        f"ann:x://{SECRET}@host:1",
        f"redis://ann:x@h/{SECRET}@host:1",
        f"redis://ann:x@h?{SECRET}@host:1",
    ],
)
def test_errors_about_urls_hide_their_secrets(url: str) -> None:
    with pytest.raises(ValueError, match="is not a Redis URL") as caught:
        read_source(url)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "where"),
    [
        (f"redis://ann:{SECRET}@h", "redis://h:6379"),
        (f"redis://h:1/2?password={SECRET}", "redis://h:1/2"),
        (f"rediss://:{SECRET}@[::1]", "rediss://[::1]:6379"),
        (f"unix://:{SECRET}@/run/r.sock?db=1", "unix:///run/r.sock?db=1"),
        (f"redis-socket://:{SECRET}@/run/r.sock", "unix:///run/r.sock"),
        (
            f"redis-sentinel://:{SECRET}@s1,s2:1/4?password={SECRET}",
            "redis-sentinel://s1:26379,s2:1/4?master=mymaster",
        ),
        (f"redis-cluster://:{SECRET}@n1,n2:1", "redis-cluster://n1:6379,n2:1"),
        (f"rediss-cluster://:{SECRET}@n1", "rediss-cluster://n1:6379"),
        ("embedded:///d", "embedded:///d"),
    ],
)
def test_where_is_the_address_without_secrets(url: str, where: str) -> None:
    connection = Connection.open(url)
    assert connection.where == where
    assert SECRET not in repr(connection)
    assert SECRET not in repr(read_source(url))


def test_environment_is_asked_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASYNCQ_REDIS_URL", raising=False)
    monkeypatch.delenv("REDIS_URL", raising=False)
    with pytest.raises(RedisNotConfiguredError, match="ASYNCQ_REDIS_URL"):
        Connection.open(None)
    monkeypatch.setenv("REDIS_URL", "redis://general")
    assert Connection.open(None).where == "redis://general:6379"
    monkeypatch.setenv("ASYNCQ_REDIS_URL", "redis://own")
    assert Connection.open(None).where == "redis://own:6379"
    assert Connection.open("redis://given").where == "redis://given:6379"


def test_client_is_read_for_address_and_credentials() -> None:
    client = redis.asyncio.Redis(host="h", port=1, db=2, username="ann", password="secret")
    endpoint = single(client)
    assert (endpoint.host, endpoint.port, endpoint.tls) == ("h", 1, False)
    assert endpoint.options["db"] == 2
    assert (endpoint.options["username"], endpoint.options["password"]) == ("ann", "secret")


def test_client_settings_that_would_change_replies_or_time_outs_are_not_taken_over() -> None:
    client = redis.asyncio.Redis(
        host="h", decode_responses=True, socket_timeout=77, protocol=3, client_name="x"
    )
    endpoint = single(client)
    assert not {"decode_responses", "protocol", "socket_timeout", "retry"} & set(endpoint.options)
    assert endpoint.read_timeout == 5.0


def test_client_of_a_socket_and_of_tls() -> None:
    assert single(redis.asyncio.Redis(unix_socket_path="/run/r.sock", db=1)).path == "/run/r.sock"
    assert single(redis.asyncio.from_url("unix:///run/r.sock")).path == "/run/r.sock"
    tls = single(redis.asyncio.Redis(host="h", ssl=True, ssl_ca_certs="/ca.pem"))
    assert tls.tls
    assert tls.options["ssl_ca_certs"] == "/ca.pem"


def test_client_with_a_credential_provider_keeps_it() -> None:
    provider = redis.UsernamePasswordCredentialProvider("ann", "secret")
    options = single(redis.asyncio.Redis(host="h", credential_provider=provider)).options
    assert options["credential_provider"] is provider
    assert "password" not in options


def test_client_from_sentinel_is_read_for_its_sentinels() -> None:
    sentinel = redis.asyncio.sentinel.Sentinel(  # type: ignore[no-untyped-call]  # redis-py's
        [("s1", 1), ("s2", 2)], sentinel_kwargs={"password": "outer"}, password="inner", db=3
    )
    address = read_source(sentinel.master_for("prod"))
    assert isinstance(address, Sentinels)
    assert nodes(address.sentinels) == [("s1", 1), ("s2", 2)]
    assert address.name == "prod"
    assert address.sentinels[0].options["password"] == "outer"
    assert (address.master.options["password"], address.master.options["db"]) == ("inner", 3)
    with pytest.raises(TypeError, match="master_for"):
        read_source(sentinel.slave_for("prod"))


def test_cluster_client_is_read_for_its_nodes() -> None:
    client = redis.asyncio.RedisCluster(
        startup_nodes=[
            redis.asyncio.cluster.ClusterNode("127.0.0.1", 7000),
            redis.asyncio.cluster.ClusterNode("127.0.0.1", 7001),
        ],
        password="secret",
    )
    address: Address = read_source(client)
    assert isinstance(address, Cluster)
    assert nodes(address.seeds) == [("127.0.0.1", 7000), ("127.0.0.1", 7001)]
    assert {seed.options["password"] for seed in address.seeds} == {"secret"}


@pytest.mark.parametrize("make", [redis.Redis, lambda: redis.Redis.from_url("redis://h")])
def test_synchronous_client_is_refused_with_the_remedy(make: Any) -> None:
    with pytest.raises(TypeError, match=r"synchronous client.*redis\.asyncio"):
        read_source(make())


@pytest.mark.parametrize("thing", [42, b"redis://h", object(), ["redis://h"]])
def test_anything_else_is_refused_with_its_type(thing: Any) -> None:
    with pytest.raises(TypeError, match=f"got builtins.{type(thing).__name__}"):
        Connection.open(thing)


def test_a_reason_that_several_servers_share_is_said_once() -> None:
    refused = RedisUnavailableError("redis://a:1", "Connection refused", sent=False)
    failures = [("a:1", refused), ("b:1", RedisReplyError("NOAUTH no")), ("c:1", refused)]
    assert by_reason(failures) == "a:1, c:1: Connection refused; b:1: NOAUTH no"
