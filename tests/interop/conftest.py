"""One Redis, and processes of both languages on it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from redis_servers import RedisServer

from .build import NoGoError, build
from .peers import Peer

StartPeer = Callable[[str], Peer]


@pytest.fixture(scope="session")
def go_programs(request: pytest.FixtureRequest) -> Path:
    """Where the Go programs are; skips the test where they cannot be built."""
    cache = request.config.cache
    assert cache is not None, "the Go programs are kept in pytest's cache"
    try:
        return build(cache.mkdir("interop"))
    except NoGoError as reason:
        pytest.skip(f"interoperation with Go is not tested: {reason}")


@pytest.fixture(scope="session")
def system_redis(go_programs: Path) -> Iterator[RedisServer]:
    """A Redis on TCP for all tests here: Go's command line speaks nothing else."""
    with RedisServer(tcp=True) as server:
        yield server


@pytest.fixture
def redis_server(system_redis: RedisServer) -> RedisServer:
    """What `redis` and `redis_url` of all tests lead to."""
    return system_redis


@pytest.fixture(scope="session")
def _start(
    go_programs: Path, system_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> StartPeer:
    commands = {
        "go": [str(go_programs / "interop"), f"127.0.0.1:{system_redis.port}"],
        "python": [sys.executable, str(Path(__file__).parent / "peer.py"), system_redis.url],
    }
    logs = tmp_path_factory.mktemp("peers")
    return lambda language: Peer(language, commands[language], logs / language)


@pytest.fixture(scope="session")
def lasting_peers(_start: StartPeer) -> Iterator[dict[str, Peer]]:
    """A process of each language for all tests: clients and inspectors, no workers."""
    with ExitStack() as stack:
        peers = {language: _start(language) for language in ("go", "python")}
        for peer in peers.values():
            stack.callback(peer.close)
        yield peers


@pytest.fixture
def go(lasting_peers: dict[str, Peer]) -> Peer:
    return lasting_peers["go"]


@pytest.fixture
def python(lasting_peers: dict[str, Peer]) -> Peer:
    return lasting_peers["python"]


@pytest.fixture
def start_peer(_start: StartPeer) -> Iterator[StartPeer]:
    """Starts a process of its own, `start_peer("go")`, which is gone after the test."""
    with ExitStack() as stack:

        def start(language: str) -> Peer:
            peer = _start(language)
            stack.callback(peer.close)
            return peer

        yield start
