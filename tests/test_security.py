"""What `docs/security.md` says of connections, the embedded server, the source and rights."""

from __future__ import annotations

import ast
import importlib.util
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as redis_driver
import test_connection_topologies
from redis.asyncio import Redis
from redis_servers import RedisServer
from redis_topologies import say
from test_devredis import wait_until_stopped

import asyncq
from asyncq import (
    Client,
    Inspector,
    RedisReplyError,
    RedisUnavailableError,
    Task,
)
from asyncq.devredis import ensure
from asyncq.doctor import Role, rule

PACKAGE = Path(asyncq.__file__).parent
ROOT = Path(__file__).parent.parent

tls = test_connection_topologies.tls
"""The fixture: a port where TLS is spoken, and the certificate."""


# ---- TLS ----


async def test_certificate_of_an_unknown_authority_is_refused_and_the_way_out_is_named(
    tls: tuple[int, Path],
) -> None:
    port, cert = tls
    async with Client(f"rediss://localhost:{port}") as client:
        with pytest.raises(RedisUnavailableError, match="certificate verify failed") as raised:
            await client.ping()
        assert not raised.value.sent
        assert "?ssl_ca_certs=/path/to/ca.pem" in str(raised.value)
    async with Client(f"rediss://localhost:{port}?ssl_ca_certs={cert}") as client:
        await client.ping()


async def test_certificate_of_another_host_is_refused_and_the_way_out_is_named(
    tls: tuple[int, Path],
) -> None:
    port, cert = tls
    async with Client(f"rediss://127.0.0.1:{port}?ssl_ca_certs={cert}") as client:
        with pytest.raises(RedisUnavailableError, match="by a name that the certificate has"):
            await client.ping()


async def test_enqueue_without_a_verified_certificate_sends_nothing(
    tls: tuple[int, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("asyncq._broker.producer._ENQUEUE_PAUSES_S", ())
    port, _ = tls
    async with Client(f"rediss://localhost:{port}") as client:
        with pytest.raises(RedisUnavailableError) as raised:
            await client.enqueue(Task("t"))
        assert not raised.value.sent


# ---- the embedded server ----


@pytest.mark.parametrize("kind", ["made by asyncq", "there before", "too long for a socket"])
def test_embedded_server_lets_nobody_else_in(kind: str, tmp_path: Path) -> None:
    home = tmp_path / ("x" * 120 if kind == "too long for a socket" else "redis")
    if kind == "there before":
        home.mkdir(mode=0o755)
    with ensure(home) as redis:
        socket = Path(redis.socket)
        assert stat.S_ISSOCK(socket.stat().st_mode)
        assert stat.S_IMODE(socket.stat().st_mode) == 0o700
        assert say_to(socket, "CONFIG", "GET", "port") == ["port", "0"]
        if kind != "there before":
            assert stat.S_IMODE(home.stat().st_mode) == 0o700
            assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
    wait_until_stopped(home)


def say_to(socket: Path, *command: str) -> Any:
    with redis_driver.Redis(
        unix_socket_path=str(socket), decode_responses=True, protocol=2
    ) as client:
        client.response_callbacks.clear()
        return client.execute_command(*command)


# ---- the source ----

_RUNS_WHAT_IT_READS = {
    "pickle",
    "cPickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "joblib",
    "marshal",
    "shelve",
    "jsonpickle",
    "multiprocessing",
}


def test_nothing_in_the_package_can_be_made_to_run_what_it_reads() -> None:
    """No pickle and its like, no eval, no YAML but the safe kind, no shell."""
    found: list[str] = []
    files = sorted(PACKAGE.rglob("*.py"))
    assert len(files) > 100
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            for what in dangers(node):
                found.append(f"{file.relative_to(PACKAGE)}:{getattr(node, 'lineno', 0)}: {what}")
    assert found == []


def dangers(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Import(names=names):
            yield from (n.name for n in names if n.name.split(".")[0] in _RUNS_WHAT_IT_READS)
        case ast.ImportFrom(module=str(module), level=0):
            if module.split(".")[0] in _RUNS_WHAT_IT_READS:
                yield module
        case ast.Call(func=ast.Name(id="eval" | "exec" | "compile" as name)):
            yield name
        case ast.Call(func=ast.Attribute(value=ast.Name(id="yaml"), attr="load" | "unsafe_load")):
            yield "yaml.load"
        case ast.Call(keywords=keywords):
            if any(
                k.arg == "shell" and isinstance(k.value, ast.Constant) and k.value.value
                for k in keywords
            ):
                yield "shell=True"
        case _:
            pass


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from multiprocessing import Pool",
        "eval(text)",
        "yaml.load(text)",
        "run(command, shell=True)",
    ],
)
def test_dangers_are_found(text: str) -> None:
    assert [what for node in ast.walk(ast.parse(text)) for what in dangers(node)]


# ---- rights ----


async def test_user_with_no_more_than_the_rights_of_a_producer_cannot_read_the_configuration(
    start_redis: Callable[..., RedisServer],
) -> None:
    server = start_redis(tcp=True)
    words = rule(Role.PRODUCER, user="ann")
    say(server, "ACL", "SETUSER", *(">p" if word == ">PASSWORD" else word for word in words))
    url = server.url.replace("//", "//ann:p@")
    async with Redis.from_url(url) as redis:
        for command in ("CONFIG GET *", "FLUSHALL", "KEYS *", "GET other"):
            with pytest.raises(Exception, match=r"(?i)permission"):
                await redis.execute_command(*command.split())  # type: ignore[no-untyped-call]
    with pytest.raises(RedisReplyError):
        async with Inspector(url) as inspector:
            await inspector.queues()


# ---- dependencies ----


def test_audit_names_what_is_vulnerable_and_nothing_else() -> None:
    spec = importlib.util.spec_from_file_location("noxfile", ROOT / "noxfile.py")
    assert spec is not None
    assert spec.loader is not None
    noxfile = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(noxfile)
    audited = [
        {"name": "sound", "version": "1", "vulns": []},
        {"name": "unknown", "skip_reason": "not found"},
        {
            "name": "bad",
            "version": "2",
            "vulns": [
                {"id": "PYSEC-1", "fix_versions": ["2.1", "3"]},
                {"id": "PYSEC-2", "fix_versions": []},
            ],
        },
    ]
    assert noxfile.vulnerabilities(audited) == [
        "bad 2: PYSEC-1 (fixed in 2.1, 3), PYSEC-2 (fixed in no version yet)"
    ]
