"""Redis Cluster: which node has a key, and a conversation with many nodes at once."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from redis.crc import key_slot

from ..errors import RedisError, RedisReplyError, RedisUnavailableError
from . import keys, scripts
from .address import Cluster, by_reason, host_and_port
from .conversation import Call, Frame, unknown_script
from .dialer import ToEndpoint
from .line import Line, Reply, pack
from .pool import Pool

Node: TypeAlias = tuple[str, int]
Question: TypeAlias = Mapping[Node, list[bytes]]
Answer: TypeAlias = Mapping[Node, "list[Reply] | RedisError"]

SLOTS = 16384
# How often one call is sent on: unknown script, slot moved, slot moving.
MAX_ROUNDS = 6


class Slots:
    """Which master has which slot: what the cluster said last, corrected by its redirections.

    `stale` when there is reason to ask again.
    """

    def __init__(self, address: Cluster) -> None:
        self.where = address.where
        self.stale = True
        self.nodes: list[Node] = [(seed.host, seed.port) for seed in address.seeds]
        self._seeds = list(self.nodes)
        self._remap = address.remap
        self._owner: list[Node | None] = [None] * SLOTS

    def node_of(self, key: str | bytes | None) -> Node:
        """The master that has `key`; any node for none, or for a slot that nobody has."""
        if key is None:
            return self.nodes[0]
        owner = self._owner[key_slot(key if isinstance(key, bytes) else key.encode())]
        return owner or self.nodes[0]

    def load(self, reply: Sequence[Reply], answered_by: Node) -> None:
        """Take over an answer to CLUSTER SLOTS."""
        owner: list[Node | None] = [None] * SLOTS
        for first, last, (host, port, *_), *_ in reply:
            node = self._address(host, port, answered_by)
            owner[first : last + 1] = [node] * (last + 1 - first)
        self._owner = owner
        masters = {node for node in owner if node is not None}
        self.nodes = [answered_by, *sorted(masters - {answered_by})]
        self.nodes += [seed for seed in self._seeds if seed not in self.nodes]
        self.stale = False

    def moved(self, text: str, answered_by: Node) -> Node:
        """Where `MOVED slot host:port` points to."""
        _, slot, _ = text.split(" ", 2)
        node = self.redirection(text, answered_by)
        self._owner[int(slot)] = node
        self.stale = True
        return node

    def redirection(self, text: str, answered_by: Node) -> Node:
        host, _, port = text.split(" ")[2].rpartition(":")
        return self._address(host.encode(), int(port), answered_by)

    def lost(self, node: Node) -> None:
        """`node` did not answer: its slots may be another's by now. Ask it last."""
        self.stale = True
        if node in self.nodes:
            self.nodes.remove(node)
            self.nodes.append(node)

    def _address(self, host: bytes | None, port: int, answered_by: Node) -> Node:
        # A node that does not know its own address means the one it was reached at.
        node = (host.decode() if host else answered_by[0], port)
        return self._remap(node) if self._remap else node


_UNGUARDED = frozenset(script.name for script in (scripts.WRITE_RESULT, scripts.AWAIT_TASK))
"""They touch nothing but the key that they name."""


def guarded(call: Call) -> Call:
    """The same call with a key more, which is never there, if it is a script for a queue.

    Most scripts touch tasks that they cannot name beforehand. While the queue's slot is moved to
    another node, key by key, those look as if they were gone; but a script is refused (TRYAGAIN)
    if it names some keys that are there and some that are not.
    """
    if call.script is None or not call.keys or call.script.name in _UNGUARDED:
        return call
    first = call.keys[0]
    queue = keys.queue_of(first if isinstance(first, str) else first.decode())
    return call if queue is None else Call(call.script, (*call.keys, keys.absent(queue)), call.args)


@dataclass(slots=True)
class _Item:
    """A call on its way to its node."""

    n: int
    call: Call
    node: Node
    whole: bool = False
    asking: bool = False

    def packed(self) -> list[bytes]:
        said = self.call.packed_whole() if self.whole else self.call.packed()
        return [_ASKING, said] if self.asking else [said]

    def goes_on(self, reply: Reply, slots: Slots) -> bool:
        """Whether `reply` means that it was not executed and has to be sent on."""
        if not isinstance(reply, RedisReplyError):
            return False
        if reply.code == "MOVED":
            self.node = slots.moved(reply.text, self.node)
            self.asking = False
        elif reply.code == "ASK":
            self.node = slots.redirection(reply.text, self.node)
            self.asking = True
        elif unknown_script(self.call, reply):
            self.whole = True
        else:
            return False
        return True


_ASKING = pack("ASKING")
_CLUSTER_SLOTS = pack("CLUSTER", "SLOTS")


def with_many(
    calls: Sequence[Call], slots: Slots, frame: Frame | None = None
) -> Generator[Question, Answer, list[Reply]]:
    """The conversation with a cluster: every call to its node, then on to where it is sent.

    A node's `RedisError` stands in the places of the calls that went there; if no call got
    further it is raised.
    """
    if slots.stale:
        yield from _find_out(slots)
    replies: list[Reply] = [None] * len(calls)
    failed: dict[int, RedisError] = {}
    items = [
        _Item(n, guarded(call), slots.node_of(call.keys[0] if call.keys else None))
        for n, call in enumerate(calls)
    ]
    for _ in range(MAX_ROUNDS):
        by_node: defaultdict[Node, list[_Item]] = defaultdict(list)
        for item in items:
            by_node[item.node].append(item)
        items = []
        answer = yield _question(by_node, frame)
        for node, its in by_node.items():
            said = answer[node]
            if isinstance(said, RedisError):
                slots.lost(node)
                failed |= {item.n: said for item in its}
            else:
                if frame is not None:
                    frame.take(said, [item.n for item in its])
                items += _take(its, said, replies, slots)
        if not items:
            break
    if failed and len(failed) == len(calls):
        raise _worst(failed.values())
    for n, error in failed.items():
        replies[n] = error
    return replies


def _question(by_node: Mapping[Node, list[_Item]], frame: Frame | None) -> Question:
    said = {node: [part for item in its for part in item.packed()] for node, its in by_node.items()}
    if frame is None:
        return said
    return {node: frame.around(packed) for node, packed in said.items()}


def _take(
    items: Sequence[_Item], said: list[Reply], replies: list[Reply], slots: Slots
) -> list[_Item]:
    """Note the replies of one node; the items that have to be sent on."""
    going_on: list[_Item] = []
    answers = iter(said)
    for item in items:
        if item.asking:
            next(answers)  # the +OK of ASKING
        replies[item.n] = reply = next(answers)
        if item.goes_on(reply, slots):
            going_on.append(item)
    return going_on


def _find_out(slots: Slots) -> Generator[Question, Answer, None]:
    """Ask one node after the other which slots are whose."""
    failures: list[tuple[str, RedisError]] = []
    for node in list(slots.nodes):
        answer = (yield {node: [_CLUSTER_SLOTS]})[node]
        if isinstance(answer, RedisReplyError):
            raise answer
        if isinstance(answer, RedisError):
            slots.lost(node)
            failures.append((host_and_port(*node), answer))
            continue
        (reply,) = answer
        if not isinstance(reply, RedisReplyError):
            slots.load(reply, node)
            return
        if not reply.passing:
            raise reply
        failures.append((host_and_port(*node), reply))
    raise RedisUnavailableError(slots.where, f"no node answered: {by_reason(failures)}", sent=False)


def _worst(errors: Iterable[RedisError]) -> RedisError:
    """The one to raise for all: that something may have been executed must not be hidden."""
    all_of_them = list(errors)
    for error in all_of_them:
        if isinstance(error, RedisUnavailableError) and error.sent:
            return error
    return all_of_them[0]


class ManyNodes:
    """A pool of connections for every node that was talked to."""

    def __init__(self, address: Cluster) -> None:
        self._seed = address.seeds[0]
        self._slots = Slots(address)
        self._pools: dict[Node, Pool] = {}
        self._patient_pools: dict[Node, Pool] = {}

    async def say(self, calls: Sequence[Call], frame: Frame | None = None) -> list[Reply]:
        """A reply for every call, as `Connection.run` promises it."""
        was_stale = self._slots.stale
        conversation = with_many(calls, self._slots, frame)
        try:
            question = next(conversation)
            while True:
                question = conversation.send(await self._ask(question, frame))
        except StopIteration as end:
            answered: list[Reply] = end.value
            if was_stale:
                await self._let_go()
            return answered

    async def _ask(self, question: Question, frame: Frame | None) -> Answer:
        if len(question) == 1:
            ((node, packed),) = question.items()
            return {node: await self._ask_node(node, packed, frame)}
        answers = await asyncio.gather(*(self._ask_node(*one, frame) for one in question.items()))
        return dict(zip(question, answers, strict=True))

    async def _ask_node(
        self, node: Node, packed: list[bytes], frame: Frame | None
    ) -> list[Reply] | RedisError:
        try:
            if frame is None:
                return await self._pool(self._pools, node).exchange(packed)
            patient = self._pool(self._patient_pools, node)
            return await patient.exchange(packed, frame.longer_s)
        except RedisError as error:
            return error

    async def _let_go(self) -> None:
        """Close the connections to nodes that left the cluster."""
        for pools in (self._pools, self._patient_pools):
            for node in pools.keys() - set(self._slots.nodes):
                await pools.pop(node).retire()

    def _pool(self, pools: dict[Node, Pool], node: Node) -> Pool:
        pool = pools.get(node)
        if pool is None:
            pool = pools[node] = Pool(ToEndpoint(self._seed.at(*node)))
        return pool

    async def dial(self, key: str | None) -> Line:
        """A connection to the node that has `key`, or to any that can be reached."""
        await self.say([])
        candidates = [self._slots.node_of(key)] if key is not None else list(self._slots.nodes)
        for node in candidates:
            try:
                return await ToEndpoint(self._seed.at(*node)).dial()
            except RedisUnavailableError:
                self._slots.lost(node)
                if node == candidates[-1]:
                    raise
        raise AssertionError("a cluster has at least one seed")

    def astray(self) -> None:
        """A connection from `dial` turned out to lead to the wrong node."""
        self._slots.stale = True

    async def aclose(self) -> None:
        for pool in [*self._pools.values(), *self._patient_pools.values()]:
            await pool.aclose()
