"""Real servers with real replicas: a master, and a cluster of which one master has one."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from redis_servers import RedisServer
from redis_topologies import (
    RedisCluster,
    _bus_port,
    _cluster_node,
    _complete,
    redis_cluster,
    say,
    wait_until,
)

from asyncq._broker import keys


@dataclass
class Replicated:
    """A master and its replicas."""

    master: RedisServer
    replicas: list[RedisServer]

    @property
    def url(self) -> str:
        return self.master.url


@contextmanager
def replicated(
    count: int = 1,
    variant: str | None = None,
    *,
    args: Sequence[str] = (),
    persistent: bool = False,
) -> Generator[Replicated]:
    """All of them up and following."""
    every = ["--repl-diskless-sync-delay", "0", *args]
    with ExitStack() as stack:
        master, *replicas = [
            stack.enter_context(RedisServer(variant, tcp=True, persistent=persistent, args=every))
            for _ in range(count + 1)
        ]
        for replica in replicas:
            say(replica, "REPLICAOF", "127.0.0.1", master.port)
        wait_until("they follow", lambda: followers(master) == count)
        yield Replicated(master, replicas)


@contextmanager
def cluster_with_a_replica(
    variant: str | None = None, of: int = 0
) -> Generator[tuple[RedisCluster, RedisServer]]:
    """Three masters, and a replica of one, the first if nothing else is said."""
    with redis_cluster(variant) as cluster, _cluster_node(variant) as replica:
        master = cluster.nodes[of]
        name = cluster.id_of(master)
        say(master, "CLUSTER", "MEET", "127.0.0.1", replica.port, _bus_port(replica))
        wait_until("they know each other", lambda: name in say(replica, "CLUSTER", "NODES"))
        wait_until("it may follow", lambda: say(replica, "CLUSTER", "REPLICATE", name) == "OK")
        wait_until("it follows", lambda: followers(master) == 1)
        wait_until("it knows whose slots are whose", lambda: _complete(replica))
        yield cluster, replica


def followers(master: RedisServer) -> int:
    """How many replicas listen to what it writes."""
    return int(say(master, "WAIT", 1000, 50))


def state_of(server: RedisServer, queue: str, task_id: str) -> str | None:
    """The state of a task as this server has it; None if it has no such task."""
    state: str | None = say(server, "HGET", keys.task(queue, task_id), "state")
    return state
