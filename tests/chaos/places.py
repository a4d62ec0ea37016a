"""Where the queues of a campaign are: one Redis behind a proxy, a master with a sentinel, or a
cluster; and what can be done to their servers.

What talks to servers here blocks: call it by `asyncio.to_thread`.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import redis
from proxy import Proxy
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis_servers import RedisServer, default_variant, free_port, program
from redis_topologies import (
    RedisCluster,
    RedisWithSentinel,
    redis_cluster,
    redis_with_sentinel,
    say,
    wait_until,
)

from asyncq._broker import keys
from asyncq._broker.codec import UndecodableError, decode_task
from asyncq.devredis import DevRedisError

_ALWAYS = ("--appendfsync", "always")
"""What Redis acknowledged it knows after a crash."""

_LOOK = """
local found = {}
for n, key in ipairs(KEYS) do
    local kind = redis.call("TYPE", key).ok
    local size = {list = "LLEN", zset = "ZCARD", set = "SCARD"}
    found[n] = kind == "none" and 0 or redis.call(size[kind], key)
end
return found
"""


class Place:
    """One way to keep queues."""

    url: str
    """What the fleet is told."""
    direct_url: str
    """The same, past a proxy."""
    forgets: bool
    """Whether writes that were acknowledged may be forgotten: a failover does, of those that no
    replica has."""

    def master_of(self, queue: str) -> RedisServer:
        """The server that takes the writes of a queue."""
        raise NotImplementedError

    def waiting(self, queue: str) -> dict[str, int]:
        """How many tasks stand where nothing should stand for ever; empty for nowhere."""
        return standing_of(self.master_of(queue), queue)

    def archived(self, queue: str) -> list[str]:
        """The payloads of archived tasks; of one that cannot be read, its id."""
        master = self.master_of(queue)
        found: list[str] = []
        for task_id in ask(master, "ZRANGE", keys.archived(queue), 0, -1):
            message = ask(master, "HGET", keys.task(queue, task_id.decode()), "msg")
            try:
                found.append(decode_task(message or b"").payload.decode())
            except UndecodableError:
                found.append(f"unreadable {task_id.decode()}")
        return found

    def last_tick(self, queue: str) -> tuple[float, int] | None:
        """The last due time of the entry `tick` in Unix seconds, and how many tasks are pending;
        None before the entry is known."""
        script = 'return {redis.call("HGET", KEYS[1], "due"), redis.call("LLEN", KEYS[2])}'
        found = say(
            self.master_of(queue), "EVAL", script, 2, keys.cron(queue, "tick"), keys.pending(queue)
        )
        return (int(found[0]) / 1000, int(found[1])) if found and found[0] else None


def standing_of(server: RedisServer, queue: str) -> dict[str, int]:
    """How many tasks of a queue stand where nothing should stand for ever, if any do."""
    places = {
        "pending": keys.pending(queue),
        "active": keys.active(queue),
        "leased": keys.lease(queue),
        "scheduled": keys.scheduled(queue),
        "retry": keys.retry(queue),
        "groups": keys.groups(queue),
        "aggregation sets": keys.aggregation_sets(queue),
    }
    counts = say(server, "EVAL", _LOOK, len(places), *places.values())
    return {name: count for name, count in zip(places, counts, strict=True) if count}


def ask(server: RedisServer, *command: str | int) -> Any:
    """One command to one server; its reply as bytes."""
    with redis.Redis(
        unix_socket_path=str(server.socket), protocol=2, retry=Retry(NoBackoff(), 0)
    ) as client:
        client.response_callbacks.clear()
        return client.execute_command(*command)


@dataclass
class Single(Place):
    """One Redis behind a proxy, which listens on a port, too: Go's clients want one."""

    server: RedisServer
    proxy: Proxy
    proxy_port: int

    def __post_init__(self) -> None:
        self.url, self.direct_url, self.forgets = self.proxy.url, self.server.url, False

    def master_of(self, queue: str) -> RedisServer:
        return self.server

    def restart(self, *, kill: bool, away_s: float, args: tuple[str, ...] = ()) -> None:
        self.server.kill() if kill else self.server.stop()
        time.sleep(away_s)
        self.server.start(*args)

    def slow_loading(self, seconds: float) -> tuple[str, str]:
        """The argument with which reading what is there takes about so long."""
        files = self.server.directory.glob("appendonlydir/*aof")
        commands = sum(file.read_bytes().count(b"\r\n*") for file in files) or 1
        sleeps = max(1, int(seconds / _SHORTEST_SLEEP_S))
        if commands > sleeps:  # one in so many commands sleeps as briefly as it can
            return "--key-load-delay", str(-(commands // sleeps))
        return "--key-load-delay", str(int(seconds * 1e6 / commands))


_SHORTEST_SLEEP_S = 60e-6


@dataclass
class WithSentinel(Place):
    """A master and a replica, and the sentinel that chooses between them."""

    both: RedisWithSentinel

    def __post_init__(self) -> None:
        self.url = self.direct_url = self.both.url
        self.forgets = True

    def master_of(self, queue: str) -> RedisServer:
        return next(s for s in self.both.servers if s.port == self.both.named())

    def lose_master(self, away_s: float) -> None:
        """The master dies; the other takes over, and it comes back as its replica."""
        master, other = self._pair()
        master.kill()
        self._takes_over(other)
        time.sleep(away_s)
        master.start()
        self.both.settle()

    def freeze_master(self, longer_s: float) -> None:
        """The master stops in its tracks, and goes on when it is none any more."""
        master, other = self._pair()
        master.pause()
        try:
            self._takes_over(other)
            time.sleep(longer_s)
        finally:
            master.resume()
        self.both.settle()

    def fail_over(self) -> None:
        self.both.fail_over()

    def _pair(self) -> tuple[RedisServer, RedisServer]:
        first, second = self.both.servers
        return (first, second) if first.port == self.both.named() else (second, first)

    def _takes_over(self, server: RedisServer) -> None:
        wait_until("the replica took over", lambda: say(server, "ROLE")[0] == "master")
        wait_until("the sentinel says so", lambda: self.both.named() == server.port)


@dataclass
class InCluster(Place):
    """Three masters, and a replica of each."""

    cluster: RedisCluster

    def __post_init__(self) -> None:
        self.url = self.direct_url = self.cluster.url
        self.forgets = True

    @property
    def _all(self) -> list[RedisServer]:
        return [*self.cluster.nodes, *self.cluster.replicas]

    def master_of(self, queue: str) -> RedisServer:
        return self._nodes(queue)[0]

    def fail_over(self, queue: str) -> None:
        """The replica is told to take over, and does so in agreement with its master."""
        master, replica = self._pair(queue)
        wait_until("the replica agrees", lambda: say(replica, "CLUSTER", "FAILOVER"))
        self._takes_over(replica)
        self._follows(master)

    def lose_master(self, queue: str, away_s: float) -> None:
        """The master dies, its replica takes over, and it comes back as a replica."""
        master, replica = self._pair(queue)
        master.kill()
        self._takes_over(replica)
        time.sleep(away_s)
        master.start()
        self._follows(master)

    def freeze_master(self, queue: str, longer_s: float) -> None:
        """The master stops in its tracks, and goes on when it is none any more."""
        master, replica = self._pair(queue)
        master.pause()
        try:
            self._takes_over(replica)
            time.sleep(longer_s)
        finally:
            master.resume()
        self._follows(master)

    def move_slot(self, queue: str, chance: random.Random) -> None:
        """The slot of a queue goes to another master, a few keys at a time, as redis-cli does."""
        source, _ = self._pair(queue)
        others = [s for s in self._all if s is not source and say(s, "ROLE")[0] == "master"]
        target = chance.choice(others)
        slot = say(source, "CLUSTER", "KEYSLOT", keys.pending(queue))
        names = {server: self.cluster.id_of(server) for server in (source, target)}
        say(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", names[source])
        say(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", names[target])
        where = ("127.0.0.1", target.port, "", 0, 5000)
        while found := ask(source, "CLUSTER", "GETKEYSINSLOT", slot, 10):
            ask(source, "MIGRATE", *where, "REPLACE", "KEYS", *found)
        self._replicated(target)
        for server in (target, source, *(s for s in others if s is not target)):
            say(server, "CLUSTER", "SETSLOT", slot, "NODE", names[target])
        self.agree()

    def _pair(self, queue: str) -> tuple[RedisServer, RedisServer]:
        """The master and the replica of a queue."""
        master, replica = self._nodes(queue)
        return master, replica

    def _nodes(self, queue: str) -> list[RedisServer]:
        """The master of a queue and the replicas that are known."""
        slot = say(self._all[0], "CLUSTER", "KEYSLOT", keys.pending(queue))
        by_port = {server.port: server for server in self._all}
        for first, last, *nodes in say(self._all[0], "CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return [by_port[node[1]] for node in nodes]
        raise AssertionError(f"nobody has slot {slot}")

    def _takes_over(self, replica: RedisServer) -> None:
        wait_until("the replica took over", lambda: say(replica, "ROLE")[0] == "master")

    def _follows(self, server: RedisServer) -> None:
        wait_until("it is in step", lambda: say(server, "ROLE")[3:4] == ["connected"])
        self.agree()

    def _replicated(self, master: RedisServer) -> None:
        """Wait until its replica has what it has now."""
        offset = _replication(master)["master_repl_offset"]

        def has_all() -> bool:
            replica = _replication(master).get("slave0", "")
            return int(replica.partition("offset=")[2].partition(",")[0] or 0) >= int(offset)

        wait_until("the replica has the slot", has_all)

    def agree(self) -> None:
        """Wait until all nodes say the same of who has what."""

        def agree() -> bool:
            views = [_view(say(server, "CLUSTER", "SLOTS")) for server in self._all]
            return all(view == views[0] for view in views) and all(
                len(nodes) == 2 for _, _, *nodes in views[0]
            )

        wait_until("all nodes agree", agree)


def _view(slots: list[Any]) -> list[tuple[int, ...]]:
    """First and last slot, and the ports of those who have them."""
    return sorted((first, last, *(node[1] for node in nodes)) for first, last, *nodes in slots)


def _replication(server: RedisServer) -> dict[str, str]:
    lines: list[str] = say(server, "INFO", "replication").splitlines()
    return {name: value for name, _, value in (line.partition(":") for line in lines)}


@contextmanager
def place(topology: str, variant: str) -> Generator[Place]:
    """A place of its own; `single` and `mixed` are alike. Its proxy is not entered."""
    try:
        program(variant)
    except DevRedisError:
        variant = default_variant()
    with contextlib.ExitStack() as stack:
        if topology == "sentinel":
            yield WithSentinel(stack.enter_context(redis_with_sentinel(variant)))
        elif topology == "cluster":
            cluster = InCluster(stack.enter_context(redis_cluster(variant, replicas=True)))
            cluster.agree()
            yield cluster
        else:
            server = RedisServer(variant, persistent=True, args=_ALWAYS)
            stack.enter_context(server)
            port = free_port()
            yield Single(server, Proxy(server.socket, port=port), port)
