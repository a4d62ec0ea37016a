"""The same conversations for a thread that does not wait for the event loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..errors import RedisError, RedisUnavailableError
from .address import Address, Cluster
from .cluster import Answer, Node, Question, Slots, with_many
from .conversation import Call, with_one
from .dialer import Dialer, ToEndpoint, dialer_to
from .line import BlockingLine, Reply, demoted


class _Speaker:
    """One connection, made anew when it was lost or leads to what is no master any more."""

    def __init__(self, dialer: Dialer) -> None:
        self._dialer = dialer
        self._line: BlockingLine | None = None

    def exchange(self, packed: list[bytes]) -> list[Reply]:
        if self._line is None or not self._line.usable():
            self._hang_up()
            self._line = self._dialer.dial_blocking()
        replies = self._line.exchange(packed, len(packed))
        if demoted(replies):
            self._hang_up()
        return replies

    def _hang_up(self) -> None:
        if self._line is not None:
            self._line.drop()
            self._line = None

    def close(self) -> None:
        self._hang_up()
        self._dialer.close()


class _Transport(Protocol):
    def say(self, calls: Sequence[Call]) -> list[Reply]: ...

    def close(self) -> None: ...


class _OneNode:
    def __init__(self, dialer: Dialer) -> None:
        self._speaker = _Speaker(dialer)

    def say(self, calls: Sequence[Call]) -> list[Reply]:
        conversation = with_one(calls)
        try:
            packed = next(conversation)
            while True:
                packed = conversation.send(self._exchange(packed))
        except StopIteration as end:
            answered: list[Reply] = end.value
            return answered

    def _exchange(self, packed: list[bytes]) -> list[Reply] | RedisUnavailableError:
        try:
            return self._speaker.exchange(packed)
        except RedisUnavailableError as error:
            return error

    def close(self) -> None:
        self._speaker.close()


class _ManyNodes:
    def __init__(self, address: Cluster) -> None:
        self._seed = address.seeds[0]
        self._slots = Slots(address)
        self._speakers: dict[Node, _Speaker] = {}

    def say(self, calls: Sequence[Call]) -> list[Reply]:
        conversation = with_many(calls, self._slots)
        try:
            question = next(conversation)
            while True:
                question = conversation.send(self._ask(question))
        except StopIteration as end:
            answered: list[Reply] = end.value
            return answered

    def _ask(self, question: Question) -> Answer:
        return {node: self._ask_node(node, packed) for node, packed in question.items()}

    def _ask_node(self, node: Node, packed: list[bytes]) -> list[Reply] | RedisError:
        if node not in self._speakers:
            self._speakers[node] = _Speaker(ToEndpoint(self._seed.at(*node)))
        try:
            return self._speakers[node].exchange(packed)
        except RedisError as error:
            return error

    def close(self) -> None:
        for speaker in self._speakers.values():
            speaker.close()


class SyncConnection:
    """What `Connection` is for coroutines, for one thread at a time."""

    def __init__(self, address: Address) -> None:
        self.where = address.where
        self._transport: _Transport = (
            _ManyNodes(address) if isinstance(address, Cluster) else _OneNode(dialer_to(address))
        )

    def run(self, calls: Sequence[Call]) -> list[Reply]:
        """As `Connection.run`, blocking."""
        return self._transport.say(calls) if calls else []

    def close(self) -> None:
        """Close its connections. Safe to call again."""
        self._transport.close()
