"""Which key is whose, and of which type it must be."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from .._broker import keys

_OF_A_QUEUE = {
    "asynq": {
        "pending": "list",
        "active": "list",
        "lease": "zset",
        "scheduled": "zset",
        "retry": "zset",
        "archived": "zset",
        "completed": "zset",
        "groups": "set",
        "aggregation_sets": "zset",
        "paused": "string",
        "processed": "string",
        "failed": "string",
    },
    "asyncq": {"due": "zset", "parked": "hash", "forwarder": "string"},
}
_BEGINNINGS = {
    "asynq": {"processed:": "string", "failed:": "string", "g:": "zset"},
    "asyncq": {"fetch:": "string", "cron:": "hash"},
}
_GLOBAL = {
    b"asynq:queues": "set",
    b"asynq:servers": "zset",
    b"asynq:workers": "zset",
    b"asynq:schedulers": "zset",
}
_GLOBAL_BEGINNINGS = {
    b"asynq:servers:": "string",
    b"asynq:workers:": "hash",
    b"asynq:schedulers:": "list",
    b"asynq:scheduler_history:": "zset",
    b"asynq:sema:": "zset",
}
_ASIDE = b"asyncq:aside:"
_KEY = re.compile(rb"(asynq|asyncq):\{(.*?)\}:(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Name:
    """A key of a queue (or of none): who wrote it, and what it is called there."""

    key: bytes
    queue: str | None
    ours: bool
    rest: bytes

    @property
    def right_type(self) -> str:
        """The type that it must have; '' if anything goes."""
        if self.queue is None:
            if self.key in _GLOBAL:
                return _GLOBAL[self.key]
            return next((t for b, t in _GLOBAL_BEGINNINGS.items() if self.key.startswith(b)), "")
        family = "asyncq" if self.ours else "asynq"
        rest = self.rest.decode("utf-8", "surrogateescape")
        exact = _OF_A_QUEUE[family].get(rest)
        if exact:
            return exact
        return next((t for b, t in _BEGINNINGS[family].items() if rest.startswith(b)), "")

    @property
    def is_aside(self) -> bool:
        """Whether a doctor has put it there."""
        return self.key.startswith(_ASIDE) or (self.ours and self.rest.startswith(b"aside:"))

    @property
    def aside(self) -> bytes:
        """The name under which it is out of the way, in the same slot of a cluster."""
        if self.queue is not None:
            family = b"asyncq:" if self.ours else b""
            return f"asyncq:{{{self.queue}}}:aside:".encode() + family + self.rest
        if b"{" in self.key:
            return _ASIDE + self.key
        return _ASIDE + b"{" + self.key + b"}"


class Names:
    """Tells keys apart. A queue `a}:x` has keys that look like those of `a`: the list of queues
    decides."""

    def __init__(self, queues: Iterable[str]) -> None:
        prefixes = {prefix: queue for queue in queues for prefix in keys.prefixes(queue)}
        # Only those of an odd name: all others the pattern finds.
        self._odd = {p: q for p, q in sorted(prefixes.items(), reverse=True) if "}" in q}

    def read(self, key: bytes) -> Name | None:
        """None for a queue whose name is no text."""
        for prefix, queue in self._odd.items():
            if key.startswith(prefix):
                return Name(key, queue, prefix.startswith(b"asyncq"), key[len(prefix) :])
        found = _KEY.fullmatch(key)
        if not found:
            return Name(key, None, key.startswith(b"asyncq"), key)
        family, queue_name, rest = found.groups()
        try:
            return Name(key, queue_name.decode(), family == b"asyncq", rest)
        except UnicodeDecodeError:
            return None
