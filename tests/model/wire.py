"""A connection to a real Redis for the real broker classes, and a clock that stands still.

The scripts run as they are, but for one thing: where they read Redis's `TIME` they read the time
that was set here. A test never depends on how long it takes.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from functools import cache
from hashlib import sha1
from typing import Any, TypeVar

from asyncq._broker.codec import UndecodableError, decode_task
from asyncq._broker.connection import Call, Connection, Frame, Reply
from asyncq._broker.scripts import Script
from asyncq._clock import Clock
from asyncq.errors import RedisUnavailableError

R = TypeVar("R")
Rewrite = Callable[[Script], Script]

_TIME_CALL = "redis.call('TIME')"
_TIME_KEYS = ("model:time:s", "model:time:us")

# Every key with its type, content and time to live; what would expire stays from now on.
_CONTENTS = """
local found = {}
for _, key in ipairs(redis.call('KEYS', 'asyn*q:{*')) do
  local kind = redis.call('TYPE', key).ok
  local content
  if kind == 'list' then content = redis.call('LRANGE', key, 0, -1)
  elseif kind == 'zset' then content = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  elseif kind == 'set' then content = redis.call('SMEMBERS', key)
  elseif kind == 'hash' then content = redis.call('HGETALL', key)
  else content = redis.call('GET', key) end
  found[#found + 1] = { key, kind, content, redis.call('PTTL', key) }
  redis.call('PERSIST', key)
end
return found
"""


def rewritten(script: Script, source: str) -> Script:
    return Script(script.name, source, sha1(source.encode(), usedforsecurity=False).hexdigest())


@cache
def frozen(script: Script) -> Script:
    """The script, with the time that is set in place of `TIME`."""
    by_key = "redis.call('MGET', '{}', '{}')".format(*_TIME_KEYS)
    source = script.source.replace(_TIME_CALL, by_key)
    assert "TIME'" not in source, f"{script.name} reads the time in a way not known here"
    return rewritten(script, source)


def drive(coroutine: Coroutine[Any, Any, R]) -> R:
    """Run a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: R = end.value
        return result
    coroutine.close()
    raise AssertionError("it waits for something")


class Wire(Connection):
    """Says what the broker says, one thread and no event loop.

    `said` has all calls with their replies. With `cut_after` set to a number, the connection is
    lost after so many further calls. `rewrite` may change scripts on their way.
    """

    def __init__(self, url: str) -> None:
        self._open = Connection.open(url)
        super().__init__(self._open._address, self._open._transport, owner=False)
        self._sync = self._open.sync()
        self.said: list[tuple[Call, Reply]] = []
        self.cut_after: int | None = None
        self.rewrite: Rewrite = frozen
        self.set_time(0)

    def set_time(self, now_us: int) -> None:
        seconds, micros = divmod(now_us, 10**6)
        (a, b) = _TIME_KEYS
        self.command("MSET", a, seconds, b, micros)

    def command(self, *args: str | bytes | int) -> Reply:
        """A plain command of the test's own. Its errors are raised."""
        (reply,) = self._sync.run([Call(None, (), args)])
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def run(self, calls: Sequence[Call], frame: Frame | None = None) -> list[Reply]:
        assert frame is None, "nobody waits for replicas here"
        if self.cut_after is not None and len(calls) > self.cut_after:
            raise RedisUnavailableError(self.where, "cut by the test", sent=False)
        sent = [
            Call(self.rewrite(call.script), call.keys, call.args) if call.script else call
            for call in calls
        ]
        replies = self._sync.run(sent)
        self.said += zip(calls, replies, strict=True)
        if self.cut_after is not None:
            self.cut_after -= len(calls)
        return replies

    def close(self) -> None:
        self._sync.close()

    def contents(self) -> tuple[dict[str, Any], dict[str, int]]:
        """What stands in Redis: key -> content, as `Queue.contents`; key -> milliseconds to live
        of what was given an end since the last look."""
        found, lives = {}, {}
        for key, kind, content, ttl_ms in self.command("EVAL", _CONTENTS, 0):
            name = key.decode()
            found[name] = _readable(kind, content)
            if ttl_ms >= 0:
                lives[name] = ttl_ms
        return found, lives


def _readable(kind: bytes, content: Any) -> Any:
    match kind:
        case b"list":
            return [_text(entry) for entry in content]
        case b"set":
            return {_text(entry) for entry in content}
        case b"zset":
            pairs = zip(content[::2], content[1::2], strict=True)
            return {_text(member): float(score) for member, score in pairs}
        case b"hash":
            pairs = zip(content[::2], content[1::2], strict=True)
            return {_text(name): _field(name, value) for name, value in pairs}
        case _:
            return _text(content)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")


def _field(name: bytes, value: bytes) -> object:
    if name == b"msg":
        try:
            return decode_task(value)
        except UndecodableError:
            pass
    return _text(value)


class Skewed(Clock):
    """Somebody's clock, some way off the time that is set. Scripts are moved by it, too."""

    __slots__ = ("_now_us",)

    def __init__(self, now_us: Callable[[], int], skew: float = 0.0) -> None:
        super().__init__(skew)
        self._now_us = now_us

    def now(self) -> float:
        return self.now_us() / 10**6

    def now_us(self) -> int:
        """As a script reads it."""
        return self._now_us() + self.skew_ms * 1000
