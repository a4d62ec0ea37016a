"""`TaskMessage`, the record that stands in Redis, and `Leased`, one that a worker holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

NO_HEADERS: Mapping[str, str] = MappingProxyType({})


# A frozen dataclass of this size takes five times as long to make, and every task makes one.
class TaskMessage(NamedTuple):
    """asynq's TaskMessage (wire format, section 3.1). Durations and times in whole seconds."""

    type: str
    id: str
    queue: str
    payload: bytes = b""
    headers: Mapping[str, str] = NO_HEADERS
    retry: int = 0
    """How often it may be retried."""
    retried: int = 0
    error_msg: str = ""
    last_failed_at: int = 0
    timeout: int = 0
    deadline: int = 0
    unique_key: str = ""
    group_key: str = ""
    retention: int = 0
    completed_at: int = 0


class Leased(NamedTuple):
    """A task in `active`, held under a claim until the lease ends."""

    message: TaskMessage
    claim: str
    lease_until: float
    """By `time.monotonic()`, on the safe side: Redis lets go of it no earlier."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A task in `active` whose message cannot be decoded, held under a claim."""

    queue: str
    id: str
    claim: str
    reason: str
