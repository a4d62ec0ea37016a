"""Several real servers that belong together: a cluster, and a master with its sentinel."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis_servers import RedisServer, free_port
from waiting import LONGEST_S

SLOTS = 16384


def say(server: RedisServer, *command: str | int) -> Any:
    """One command to one server, blocking; its reply as it came, as text."""
    with redis.Redis(
        unix_socket_path=str(server.socket),
        decode_responses=True,
        protocol=2,
        socket_timeout=LONGEST_S,
        retry=Retry(NoBackoff(), 0),
    ) as client:
        client.response_callbacks.clear()
        return client.execute_command(*command)


def wait_until(
    what: str, happened: Callable[[], object], otherwise: Callable[[], str] = str
) -> None:
    """Returns when `happened()` is true; it may fail with a Redis error on the way.

    Raises `AssertionError` with the last such error, and with what `otherwise` says.
    """
    deadline = time.monotonic() + LONGEST_S
    last = ""
    while time.monotonic() < deadline:
        try:
            if happened():
                return
            last = ""
        except redis.RedisError as error:
            last = f" (Redis: {error})"
        time.sleep(0.01)
    raise AssertionError(f"waited in vain until {what}{last}\n{otherwise()}".rstrip())


@dataclass
class RedisCluster:
    """Three masters, a third of the slots each, and a replica of each if there are any."""

    nodes: list[RedisServer]
    replicas: list[RedisServer] = field(default_factory=list[RedisServer])

    @property
    def url(self) -> str:
        return "redis-cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def owner(self, key: str) -> RedisServer:
        slot = say(self.nodes[0], "CLUSTER", "KEYSLOT", key)
        return self.nodes[_owner_of(slot)]

    def keys_by_node(self, count: int = 1) -> list[list[str]]:
        """For each node so many keys that it has."""
        found: list[list[str]] = [[] for _ in self.nodes]
        n = 0
        while any(len(keys) < count for keys in found):
            key = f"key-{n}-{time.monotonic_ns()}"
            owner = self.nodes.index(self.owner(key))
            if len(found[owner]) < count:
                found[owner].append(key)
            n += 1
        return found

    def id_of(self, node: RedisServer) -> str:
        name: str = say(node, "CLUSTER", "MYID")
        return name

    def move_slot(self, key: str, to: RedisServer) -> None:
        """Give the slot of `key`, which must be empty, to another node."""
        slot = say(to, "CLUSTER", "KEYSLOT", key)
        for node in [to, *(n for n in self.nodes if n is not to)]:
            say(node, "CLUSTER", "SETSLOT", slot, "NODE", self.id_of(to))

    def take_all_slots(self, of: RedisServer, to: RedisServer) -> None:
        """Give all slots of a node, which must be empty, to another."""
        n = self.nodes.index(of)
        slots = (n * SLOTS // 3, (n + 1) * SLOTS // 3 - 1)
        for node in self.nodes:
            say(node, "CLUSTER", "DELSLOTSRANGE", *slots)
        say(to, "CLUSTER", "ADDSLOTSRANGE", *slots)
        wait_until("all nodes know", lambda: all(_complete(node) for node in self.nodes))


def _owner_of(slot: int) -> int:
    return next(n for n in range(3) if slot < (n + 1) * SLOTS // 3)


@contextmanager
def redis_cluster(variant: str | None = None, *, replicas: bool = False) -> Generator[RedisCluster]:
    with ExitStack() as stack:
        nodes = [stack.enter_context(_cluster_node(variant)) for _ in range(3)]
        for n, node in enumerate(nodes):
            first, last = n * SLOTS // 3, (n + 1) * SLOTS // 3 - 1
            # An epoch of its own for each spares them the time to agree on one.
            say(node, "CLUSTER", "SET-CONFIG-EPOCH", n + 1)
            say(node, "CLUSTER", "ADDSLOTSRANGE", first, last)
        for node in nodes[1:]:
            say(nodes[0], "CLUSTER", "MEET", "127.0.0.1", node.port, _bus_port(node))
        wait_until("the cluster is complete", lambda: all(_complete(node) for node in nodes))
        cluster = RedisCluster(nodes)
        if replicas:
            cluster.replicas = [stack.enter_context(_cluster_node(variant)) for _ in nodes]
            for master, replica in zip(nodes, cluster.replicas, strict=True):
                _replicate(cluster, master, replica)
        yield cluster


def _replicate(cluster: RedisCluster, master: RedisServer, replica: RedisServer) -> None:
    say(replica, "CLUSTER", "MEET", "127.0.0.1", master.port, _bus_port(master))
    name = cluster.id_of(master)
    wait_until("they have met", lambda: say(replica, "CLUSTER", "REPLICATE", name))
    wait_until("the replica is in step", lambda: say(replica, "ROLE")[3:4] == ["connected"])


def _cluster_node(variant: str | None) -> RedisServer:
    settings = {
        "cluster-enabled": "yes",
        "cluster-port": str(free_port()),
        "cluster-node-timeout": "2000",
        # A node that died must not stop the others.
        "cluster-require-full-coverage": "no",
        "repl-diskless-sync-delay": "0",
    }
    args = [arg for name, value in settings.items() for arg in (f"--{name}", value)]
    return RedisServer(variant, tcp=True, args=args)


def _bus_port(node: RedisServer) -> int:
    return int(say(node, "CONFIG", "GET", "cluster-port")[1])


def _complete(node: RedisServer) -> bool:
    info: str = say(node, "CLUSTER", "INFO")
    return "cluster_state:ok" in info and f"cluster_slots_ok:{SLOTS}" in info


class _Sentinel(RedisServer):
    """A server that runs as a sentinel: it wants a file instead of arguments."""

    def __init__(self, variant: str | None, master: RedisServer, password: str) -> None:
        super().__init__(variant, tcp=True)
        conf = self.directory / "sentinel.conf"
        conf.write_text(
            f"port {self.port}\n"
            f"bind 127.0.0.1\n"
            f"unixsocket {self.socket}\n"
            f"dir {self.directory}\n"
            f"sentinel monitor mymaster 127.0.0.1 {master.port} 1\n"
            f"sentinel down-after-milliseconds mymaster 300\n"
            f"sentinel failover-timeout mymaster 3000\n"
        )
        self.password = password
        self._args = [str(conf), "--sentinel"]

    def start(self, *args: str) -> None:
        super().start(*args)
        # It looks at its servers ten times a second instead of every second, or ten. A sentinel
        # connects again no sooner than it would look again: were that longer than it takes to hold
        # a server for down, to lose its own connection would be enough, and a failover, which
        # closes all connections, would be followed by the next.
        for period in ("PING-PERIOD", "INFO-PERIOD", "PUBLISH-PERIOD"):
            say(self, "SENTINEL", "DEBUG", period, 100)
        # Only now: the question whether it answers is asked without a password.
        say(self, "ACL", "SETUSER", "default", "resetpass", f">{self.password}")


@dataclass
class RedisWithSentinel:
    """A master, a replica of it, and a sentinel whose password is `password`."""

    servers: list[RedisServer]
    sentinel: RedisServer
    password: str

    @property
    def url(self) -> str:
        return f"redis-sentinel://:{self.password}@127.0.0.1:{self.sentinel.port}"

    @property
    def master(self) -> RedisServer:
        """The server that takes writes now."""
        return next(s for s in self.servers if say(s, "ROLE")[0] == "master")

    def fail_over(self) -> None:
        """Has the sentinel choose another master, and returns when all agree on one.

        Who that is only the sentinel knows: it may have found reason to choose once more.
        """
        before = self._failovers()

        def failed_over() -> bool:
            if self._failovers() > before:
                return True
            if "failover_in_progress" not in self._said_of_master()["flags"]:
                # Refused while no replica is fit; one that was begun may be given up.
                self._ask("SENTINEL", "FAILOVER", "mymaster")
            return False

        wait_until("the sentinel has failed over", failed_over, self.describe)
        self.settle()

    def settle(self) -> None:
        """Returns when a failover could begin: nothing is under way, and the replica follows."""
        wait_until("all agree on a master", self._is_settled, self.describe)

    def named(self) -> int:
        """The port of the server that the sentinel calls the master."""
        return int(self._ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster")[1])

    def describe(self) -> str:
        """What all of them said last, for who waited in vain."""
        logs = [*self.servers, self.sentinel]
        return "\n".join(f"{server.port} logs\n{server.log.read_text()[-2000:]}" for server in logs)

    def _is_settled(self) -> bool:
        said = self._said_of_master()
        if said["flags"] != "master":
            return False
        master, replica = sorted(self.servers, key=lambda server: server.port != int(said["port"]))
        role, *follows = say(replica, "ROLE")
        return (
            say(master, "ROLE")[0] == "master"
            and role == "slave"
            and follows[1:3] == [master.port, "connected"]
            and self._has_replica()
        )

    def _has_replica(self) -> bool:
        """Whether the sentinel could fail over."""
        flags = [str(one) for one in self._ask("SENTINEL", "REPLICAS", "mymaster")]
        return any("s_down" not in flag and "disconnected" not in flag for flag in flags)

    def _failovers(self) -> int:
        """Grows with each failover."""
        return int(self._said_of_master()["config-epoch"])

    def _said_of_master(self) -> dict[str, str]:
        pairs = iter(self._ask("SENTINEL", "MASTER", "mymaster"))
        return dict(zip(pairs, pairs, strict=True))

    def _ask(self, *command: str) -> Any:
        with redis.Redis(
            port=self.sentinel.port,
            password=self.password,
            decode_responses=True,
            protocol=2,
            socket_timeout=LONGEST_S,
        ) as client:
            client.response_callbacks.clear()
            return client.execute_command(*command)


@contextmanager
def redis_with_sentinel(variant: str | None = None) -> Generator[RedisWithSentinel]:
    with ExitStack() as stack:
        args = ["--repl-diskless-sync-delay", "0"]
        servers = [stack.enter_context(RedisServer(variant, tcp=True, args=args)) for _ in "ab"]
        master, replica = servers
        say(replica, "REPLICAOF", "127.0.0.1", master.port)
        wait_until("the replica is in step", lambda: say(replica, "ROLE")[3:4] == ["connected"])
        sentinel = _Sentinel(variant, master, "outer")
        stack.enter_context(sentinel)
        both = RedisWithSentinel(servers, sentinel, "outer")
        wait_until(
            "the sentinel knows the replica",
            lambda: both._ask("SENTINEL", "REPLICAS", "mymaster"),
        )
        yield both
