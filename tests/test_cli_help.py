"""What every command has in common: its help and what that costs, flags, hints, exit statuses."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from operating import call, operate, operated
from placed import put
from redis.asyncio import Redis
from redis_servers import RedisServer
from redis_topologies import say

from asyncq.cli.failure import CommandError
from asyncq.cli.inspect.legacy_url import AsynqFlags
from asyncq.cli.main import app
from asyncq.doctor import Role, rule

OURS = ("stats", "queue", "task", "group", "server", "cron")

NAMES = """
queue: ls list inspect history pause resume unpause rm remove delete
task: ls list inspect cancel archive delete rm remove run enqueue archiveall deleteall runall
group: ls list
server: ls list
cron: ls list history
"""
"""Those of asynq."""


def commands() -> Iterator[tuple[str, Any]]:
    """Each of ours with its path."""
    group: Any = typer.main.get_command(app)
    for name in OURS:
        found: Any = group.commands[name]
        if hasattr(found, "commands"):
            yield from ((f"{name} {inner}", found.commands[inner]) for inner in found.commands)
        else:
            yield name, found


def squeezed(text: str) -> str:
    """Without the frames of rich, and the line ends that come of its width."""
    return " ".join("".join(" " if c in "│╭╮╰╯─" else c for c in text).split())


# What it costs


def imported_by(*arguments: str, cwd: Path) -> set[str]:
    program = (
        "import sys\n"
        "from asyncq.cli.main import main\n"
        "try:\n"
        f"    main({list(arguments)!r})\n"
        "except SystemExit:\n"
        "    pass\n"
        "print('\\n', *sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=cwd, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("arguments", [("--help",), ("task", "--help"), ("task", "ls", "--help")])
def test_help_imports_nothing_that_talks_to_redis(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    modules = imported_by(*arguments, cwd=tmp_path)
    heavy = {"redis", "google.protobuf", "croniter", "uvloop", "asyncio", "anyio"}
    if arguments == ("--help",):
        heavy.add("pydantic")  # newer versions of typer read numbers with it
    assert modules & heavy == set()
    ours = {name for name in modules if name.startswith("asyncq")}
    assert {name for name in ours if not name.startswith("asyncq.cli")} <= {"asyncq"}


def test_plain_output_needs_no_drawing(tmp_path: Path, redis_url: str) -> None:
    modules = imported_by("queue", "ls", "--redis", redis_url, cwd=tmp_path)
    assert {"rich", "croniter", "asyncq.server", "asyncq.scheduler"} & modules == set()


# Names and flags


def test_commands_have_the_names_of_asynq() -> None:
    ours = {path for path, _ in commands()}
    for line in NAMES.strip().splitlines():
        group, _, names = line.partition(": ")
        assert {f"{group} {name}" for name in names.split()} <= ours


@pytest.mark.parametrize("path", [path for path, _ in commands()])
def test_every_command_has_the_shared_flags_and_a_help(path: str) -> None:
    command = dict(commands())[path]
    flags = {flag for parameter in command.params for flag in parameter.opts}
    assert {"--redis", "-r", "--json", "--connect-timeout", "--uri", "-u", "-p"} <= flags
    said = call(*path.split(), "--help")
    assert (said.status, said.err) == (0, "")
    assert "--json" in said.out
    assert "--password" not in said.out


def test_short_flags_are_those_of_asynq() -> None:
    wanted = {
        "task ls": "-q -s -g",
        "task inspect": "-q -i",
        "task archive": "-q -i",
        "task delete": "-q -i",
        "task run": "-q -i",
        "task enqueue": "-t -l",
        "task runall": "-q -s -g",
        "task archiveall": "-q -s -g",
        "task deleteall": "-q -s -g",
        "group ls": "-q",
        "queue history": "-x",
        "queue rm": "-f",
    }
    found = {path: {o for p in command.params for o in p.opts} for path, command in commands()}
    for path, flags in wanted.items():
        assert set(flags.split()) <= found[path], path


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("que",), "Did you mean 'queue'?"),
        (("task", "inspct"), "Did you mean 'inspect'"),
        (("task", "ls", "-q", "x", "--state", "pendnig"), "did you mean 'pending'?"),
        (("task", "ls", "-q", "x", "-s", "pending", "--folow"), "--follow"),
        (("task", "ls", "-s", "pending"), "--queue"),
        (("task", "ls", "-q", " ", "-s", "pending"), "it is blank"),
        (("task", "run"), "say which task: its id"),
        (("task", "ls", "-q", "x", "-s", "retry", "--follow", "--all"), "--follow shows what"),
        (("task", "ls", "-q", "x", "-s", "retry", "--type", " "), "it is blank"),
        (("task", "ls", "-q", "x", "-s", "retry", "--error-contains", ""), "to look for is empty"),
        (("task", "inspect", "a", "b", "--raw-payload"), "write one thing of one task"),
        (("stats", "--dev", "--redis", "redis://x"), "use one way"),
        (("stats", "--redis", "rediss//x"), "is not a Redis URL"),
        (("stats",), "nobody said where Redis is"),
    ],
)
def test_wrong_commands_are_status_2_with_a_hint(arguments: tuple[str, ...], hint: str) -> None:
    said = call(*arguments)
    assert (said.status, said.out) == (2, "")
    assert hint in squeezed(said.err)


async def test_redis_that_is_not_there_is_status_69(tmp_path: Path) -> None:
    said = await operate(f"unix://{tmp_path}/none", "queue", "ls", "--connect-timeout", "0.1")
    assert (said.status, said.out, "no Redis within" in said.err) == (69, "", True)


# Where Redis is


@pytest.mark.parametrize("variable", ["ASYNCQ_REDIS_URL", "REDIS_URL"])
async def test_redis_is_said_by_the_environment(
    redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, redis_url)
    said = await in_thread("queue", "ls", "--json")
    assert (said.status, said.err) == (0, "")


async def test_queue_is_said_by_the_environment(
    redis_url: str, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASYNCQ_QUEUE", queue)
    said = await operated(redis_url, "task", "enqueue", "-t", "t")
    assert repr(queue) in said.out
    said = await operated(redis_url, "task", "ls", "-s", "pending", "--json")
    assert [task["queue"] for task in said.json] == [queue]


async def test_redis_is_said_by_the_flags_of_asynq(
    start_redis: Callable[..., RedisServer],
) -> None:
    server = start_redis(tcp=True)
    say(server, "ACL", "SETUSER", "me", "on", ">p@ss/word", "~*", "&*", "+@all")
    say(server, "ACL", "SETUSER", "default", "off")
    flags = ("-u", f"127.0.0.1:{server.port}", "-n", "3", "-U", "me", "-p", "p@ss/word")
    assert (await in_thread("task", "enqueue", "-t", "t", *flags)).status == 0
    assert (await in_thread("queue", "ls", "--names", *flags)).out == "default\n"
    said = await in_thread("queue", "ls", *flags[:-1], "wrong")
    assert (said.status, "refuses" in said.err, "wrong" in said.err) == (69, True, False)


async def test_rights_of_an_inspector_are_enough(start_redis: Callable[..., RedisServer]) -> None:
    server = start_redis()
    async with server.client() as redis:
        for state in ("retry", "archived", "active"):
            await put(redis, "q", state, [f"{state}-task"])
    words = rule(Role.INSPECTOR, user="u")
    say(server, "ACL", "SETUSER", *(">p" if word == ">PASSWORD" else word for word in words))
    url = server.url.replace("//", "//u:p@")
    for arguments in (
        "stats", "queue ls", "queue inspect q", "queue history q", "queue pause q",
        "queue resume q", "task ls -q q -s active", "task inspect retry-task",
        "task run retry-task", "task cancel active-task", "group ls -q q", "server ls", "cron ls",
        "task deleteall -q q -s archived --yes",
    ):  # fmt: skip
        await operated(url, *arguments.split())


async def in_thread(*arguments: str) -> Any:
    return await asyncio.to_thread(call, *arguments)


def flags(**given: Any) -> AsynqFlags:
    nothing: dict[str, Any] = dict.fromkeys("uri db username password cluster_addrs".split())
    nothing |= {"cluster": False, "tls": False, "insecure": False}
    return AsynqFlags(**(nothing | given))


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({}, None),
        ({"uri": "h:1"}, "redis://h:1"),
        ({"db": 2}, "redis://127.0.0.1:6379/2"),
        ({"password": "p:@/"}, "redis://:p%3A%40%2F@127.0.0.1:6379"),
        ({"uri": "h:1", "username": "u", "password": "p", "tls": True}, "rediss://u:p@h:1"),
        ({"tls": True, "insecure": True}, "rediss://127.0.0.1:6379?ssl_cert_reqs=none"),
        ({"cluster_addrs": "a:1,b:2", "password": "p"}, "redis-cluster://:p@a:1,b:2"),
        ({"cluster": True, "tls": True},
         "rediss-cluster://" + ",".join(f"127.0.0.1:{port}" for port in range(7000, 7006))),
    ],
)  # fmt: skip
def test_flags_of_asynq_are_a_url(given: dict[str, Any], url: str | None) -> None:
    assert flags(**given).url() == url


@pytest.mark.parametrize(
    "given",
    [{"insecure": True}, {"uri": "redis://h"}, {"cluster": True, "db": 1},
     {"cluster": True, "uri": "h:1"}],
)  # fmt: skip
def test_flags_of_asynq_that_contradict_each_other_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(CommandError):
        flags(**given).url()


# Completion


def complete(*words: str, cwd: Path, what: str = "complete_bash") -> list[str]:
    env = {
        **os.environ, "_ASYNCQ_COMPLETE": what, "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "asyncq"],
        cwd=cwd, env=env, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_script_for_completion_is_printed(shell: str, tmp_path: Path) -> None:
    script = "\n".join(complete("asyncq", cwd=tmp_path, what=f"source_{shell}"))
    assert "_ASYNCQ_COMPLETE" in script


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("asyncq", "q"), ["queue"]),
        (("asyncq", "task", "in"), ["inspect"]),
        (("asyncq", "task", "ls", "--state", "a"), ["active", "archived", "aggregating"]),
    ],
)
def test_commands_and_states_are_completed(
    words: tuple[str, ...], found: list[str], tmp_path: Path
) -> None:
    assert complete(*words, cwd=tmp_path) == found
