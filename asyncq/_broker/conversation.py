"""What is said to Redis again, and to whom: the only place that decides it.

A conversation is a generator. It yields what to send and is given the replies, so that the
asynchronous `Connection` and the blocking one of a thread behave alike. Nothing is sent
again after a lost connection: only the caller knows whether that is harmless.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from ..errors import RedisReplyError, RedisUnavailableError
from .line import Reply, pack
from .scripts import Script


@dataclass(frozen=True, slots=True)
class Call:
    """One thing to say: a script, or a plain command (then `args` is all of it)."""

    script: Script | None
    keys: Sequence[str | bytes]
    args: Sequence[str | bytes | int | float]

    @classmethod
    def of(
        cls,
        script: Script,
        keys: Sequence[str | bytes] = (),
        args: Sequence[str | bytes | int | float] = (),
    ) -> Call:
        """Run `script`; in a cluster where its first key is."""
        return cls(script, keys, args)

    @classmethod
    def command(cls, name: str, *args: str | bytes | int | float) -> Call:
        """A plain command; in a cluster it goes where its first argument is as a key."""
        first = args[0] if args else None
        return cls(None, (first,) if isinstance(first, str | bytes) else (), (name, *args))

    def packed(self) -> bytes:
        if self.script is None:
            return pack(*self.args)
        return pack("EVALSHA", self.script.sha, len(self.keys), *self.keys, *self.args)

    def packed_whole(self) -> bytes:
        """The same with the script's source, for a Redis that does not know it yet."""
        if self.script is None:
            return pack(*self.args)
        return pack("EVAL", self.script.source, len(self.keys), *self.keys, *self.args)


@dataclass(slots=True)
class Frame:
    """Commands that are said around the calls of every exchange, on their connection."""

    ahead: Sequence[bytes]
    behind: Sequence[bytes]
    longer_s: float
    """How much longer than other calls it may take."""
    replies: dict[int, Sequence[Reply]] = field(default_factory=dict)
    """What was answered to them, for the place of every call that they were said around."""

    def around(self, packed: Sequence[bytes]) -> list[bytes]:
        return [*self.ahead, *packed, *self.behind]

    def take(self, replies: list[Reply], places: Iterable[int]) -> None:
        """Take its own out of the replies to an exchange with the calls at `places`."""
        first, last = len(self.ahead), len(replies) - len(self.behind)
        said = [*replies[:first], *replies[last:]]
        replies[:] = replies[first:last]
        self.replies |= dict.fromkeys(places, said)

    def forget(self, count: int) -> None:
        """Forget the first calls: what comes next has place 0."""
        self.replies = {place - count: reply for place, reply in self.replies.items()}


def unknown_script(call: Call, reply: Reply) -> bool:
    """Redis forgets scripts when it restarts; nothing was executed."""
    return (
        call.script is not None and isinstance(reply, RedisReplyError) and reply.code == "NOSCRIPT"
    )


Conversation: TypeAlias = Generator[list[bytes], "list[Reply] | RedisUnavailableError", list[Reply]]


def with_one(calls: Sequence[Call], frame: Frame | None = None) -> Conversation:
    """The conversation with one Redis: all calls, then those whose script it did not know.

    It is given the error where there are no replies, and raises it: once anything was answered
    always as `sent`.
    """
    packed = [call.packed() for call in calls]
    replies = yield packed if frame is None else frame.around(packed)
    if isinstance(replies, RedisUnavailableError):
        raise replies
    if frame is not None:
        frame.take(replies, range(len(calls)))
    unknown: list[int] = []
    for n, reply in enumerate(replies):
        if type(reply) is RedisReplyError:
            if unknown_script(calls[n], reply):
                unknown.append(n)
            elif reply.code == "MOVED":
                replies[n] = RedisReplyError(f"{reply.text} ({_CLUSTER_HINT})")
    if unknown:
        yield from _whole(calls, frame, unknown, replies)
    return replies


def _whole(
    calls: Sequence[Call], frame: Frame | None, places: list[int], replies: list[Reply]
) -> Generator[list[bytes], list[Reply] | RedisUnavailableError, None]:
    """Say the calls at `places` with their scripts, and put the replies there."""
    packed = [calls[n].packed_whole() for n in places]
    again = yield packed if frame is None else frame.around(packed)
    if isinstance(again, RedisUnavailableError):
        raise RedisUnavailableError(again.where, again.reason, sent=True) from again
    if frame is not None:
        frame.take(again, places)
    for n, reply in zip(places, again, strict=True):
        replies[n] = reply


_CLUSTER_HINT = "this Redis is a node of a cluster: use redis-cluster://host:port"
