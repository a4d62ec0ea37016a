"""`asyncq doctor`: what it prints, and its exit status."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import Command
from redis_servers import RedisServer
from redis_topologies import say

from asyncq._broker import keys


@pytest.fixture
def server(start_redis: Callable[..., RedisServer]) -> RedisServer:
    server = start_redis(persistent=True)
    say(server, "CONFIG", "SET", "appendfsync", "always")
    return server


def run(*args: str, cwd: Path) -> tuple[int, str]:
    with Command("doctor", *args, cwd=cwd) as command:
        return command.exit_status(), command.output


def test_healthy_redis_is_said_to_be(server: RedisServer, tmp_path: Path) -> None:
    status, output = run("--redis", server.url, cwd=tmp_path)
    assert (status, output.split(":")[0]) == (0, "healthy")


def test_finding_is_explained_and_fixed(server: RedisServer, tmp_path: Path) -> None:
    say(server, "SADD", keys.QUEUES, "q")
    say(server, "HSET", keys.task("q", "a"), "state", "pending", "msg", '\n\x01t\x1a\x01a"\x01q')
    status, output = run("--redis", server.url, cwd=tmp_path)
    assert status == 3
    assert "DANGER   q: Tasks that stand nowhere" in output
    assert "- a (pending)" in output
    assert "asyncq doctor --fix" in output

    status, output = run("--redis", server.url, "--fix", cwd=tmp_path)
    assert "fixed    1 of 1." in output
    assert say(server, "LRANGE", keys.pending("q"), 0, -1) == ["a"]


def test_json_is_one_object(server: RedisServer, tmp_path: Path) -> None:
    say(server, "LPUSH", keys.active("q"), "ghost")
    status, output = run("--redis", server.url, "--json", cwd=tmp_path)
    said = json.loads(output)
    assert (status, said["healthy"]) == (3, False)
    (ghost,) = [f for f in said["findings"] if f["kind"] == "ghost"]
    assert ghost["examples"] == ["ghost"]
    assert (ghost["where"], ghost["count"], ghost["open"]) == ("q", 1, True)


def test_secrets_are_not_printed(server: RedisServer, tmp_path: Path) -> None:
    say(server, "ACL", "SETUSER", "u", "on", ">hush-hush", "~*", "&*", "+@all")
    _, output = run("--redis", server.url.replace("//", "//u:hush-hush@"), cwd=tmp_path)
    assert "hush-hush" not in output
    assert "healthy" in output


def test_redis_that_is_not_there_is_status_69(tmp_path: Path) -> None:
    status, output = run(
        "--redis", f"unix://{tmp_path}/none", "--connect-timeout", "0.1", cwd=tmp_path
    )
    assert (status, "no Redis" in output) == (69, True)


@pytest.mark.parametrize(
    "args", [(), ("--queue", "q"), ("--acl", "worker", "--fix"), ("--acl", "king")]
)
def test_wrong_flags_are_status_2(args: tuple[str, ...], tmp_path: Path) -> None:
    assert run(*args, cwd=tmp_path)[0] == 2


def test_rule_of_a_role_is_one_line_for_redis_cli(server: RedisServer, tmp_path: Path) -> None:
    status, output = run("--acl", "producer", "--queue", "q", cwd=tmp_path)
    assert status == 0
    words = output.split()
    assert words[:3] == ["ACL", "SETUSER", "asyncq-producer"]
    assert "~asynq:{q}:*" in words
    assert say(server, *words) == "OK"
