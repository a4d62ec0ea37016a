"""Ids of new tasks: random UUIDs (version 4), made from one block of the system's randomness for
many, since the system call costs more than all the rest of an id."""

from __future__ import annotations

import os

_AT_ONCE = 128
# What makes 16 random bytes a UUID of version 4: six fixed bits.
_KEPT = int.from_bytes(bytes.fromhex("ffffffffffff0fff3fffffffffffffff") * _AT_ONCE)
_FIXED = int.from_bytes(bytes.fromhex("00000000000040008000000000000000") * _AT_ONCE)

_ready: list[str] = []
if hasattr(os, "register_at_fork"):
    # A forked child would give out the ids that its parent gives out.
    os.register_at_fork(after_in_child=_ready.clear)


def new_task_id() -> str:
    """A random UUID as text. Safe for any number of threads, and in forked children."""
    try:
        return _ready.pop()
    except IndexError:
        ids = _some()
        task_id = ids.pop()
        _ready.extend(ids)
        return task_id


def _some() -> list[str]:
    block = int.from_bytes(os.urandom(16 * _AT_ONCE)) & _KEPT | _FIXED
    h = block.to_bytes(16 * _AT_ONCE).hex()
    return [
        f"{h[i : i + 8]}-{h[i + 8 : i + 12]}-{h[i + 12 : i + 16]}-{h[i + 16 : i + 20]}"
        f"-{h[i + 20 : i + 32]}"
        for i in range(0, len(h), 32)
    ]
