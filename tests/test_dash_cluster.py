"""The dashboard's page on a Redis Cluster, and what users with few rights see."""

from __future__ import annotations

from textwrap import dedent
from typing import Any

from dash_world import Player, World, a_queue

from asyncq import RedisInfo
from asyncq.dash.screen import draw
from asyncq.dash.snapshot import Places, QueuePlace


def a_master(port: int, **values: Any) -> RedisInfo:
    said: dict[str, Any] = {
        "redis_version": "7.0.15",
        "redis_mode": "cluster",
        "role": "master",
        "used_memory": 3_500_000,
        "maxmemory": 0,
        "connected_clients": 7,
        "instantaneous_ops_per_sec": 100,
        "connected_slaves": 1,
        "uptime_in_seconds": 7_380,
        "db0": "keys=1200,expires=3,avg_ttl=0",
    } | values
    where = f"10.0.0.1:{port}"
    return RedisInfo(where=where, values={name: str(value) for name, value in said.items()})


def a_place(queue: str, slot: int, port: int) -> QueuePlace:
    return QueuePlace(queue=queue, slot=slot, nodes=(f"10.0.0.1:{port}", f"10.0.0.2:{port}"))


def a_cluster(queues: int = 2) -> World:
    found = (a_place("default", 5718, 7001), a_place("strange\x1b", 4581, 7000))
    masters = [a_master(7000), a_master(7001, maxmemory=10**9), a_master(7002, db0="keys=x")]
    return World(redis=masters, places=Places(found=found, queues=queues))


def screen(player: Player) -> str:
    return "\n".join(line.plain.rstrip() for line in draw(player.state).lines).rstrip()


def test_masters_of_a_cluster_are_shown_together_with_the_places_of_queues() -> None:
    shown = screen(Player(a_cluster(22)).press("5"))
    assert dedent(shown).startswith(
        dedent(
            """\
             1 Queues  2 Servers  3 Workers  4 Schedulers [5 Redis]                  asyncq
             Redis Cluster, masters: 3   memory: 10.0 MiB   keys: 2,400   commands/s: 300
              Master          Memory    Limit   Keys  Clients  Commands/s  Replicas  Uptime
              10.0.0.1:7000  3.3 MiB     none  1,200        7         100         1   2h03m
              10.0.0.1:7001  3.3 MiB  954 MiB  1,200        7         100         1   2h03m
              10.0.0.1:7002  3.3 MiB     none      0        7         100         1   2h03m

              Queue        Slot  Nodes
              default      5718  10.0.0.1:7001, 10.0.0.2:7001
              strange\\x1b  4581  10.0.0.1:7000, 10.0.0.2:7000
              and 20 more: asyncq queue ls
            """
        )
    )
    assert " page 1 of 4   n: next\n" in shown


def test_each_master_of_a_cluster_has_a_page() -> None:
    shown = screen(Player(a_cluster()).press("5", "n", "n", "n"))
    assert " Address         10.0.0.1:7002\n" in shown
    assert "page 4 of 4   p: previous" in shown
    assert "masters: 3" in shown


def test_keys_of_all_databases_are_counted() -> None:
    values = {"db0": "keys=5,expires=0", "db12": "keys=7,expires=1", "dbx": "keys=9"}
    shown = screen(Player(World(redis=[a_master(6379, **values)])).press("5"))
    assert " Keys            12; 0 evicted, 0 expired since its start\n" in shown
    assert "page 1 of 1" in shown


def test_queues_without_rights_to_look_are_counted() -> None:
    shown = screen(Player(World(queues=[a_queue("mine")], forbidden=3)))
    assert " Queues: 1   tasks: 0   3 more without rights to look\n" in shown
