"""The lengths that are asynq's or ours and no setting: tests shorten them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """All in seconds."""

    lease: int = 30
    """How long a task is held without a sign of life; asynq's."""
    heartbeat: float = 5
    """How often leases are renewed and presence is written; asynq's."""
    claimed_grace: int = 2
    """How long a lease with a claim must be over before the task is recovered."""
    unclaimed_grace: int = 30
    """The same for a lease that a Go worker took; asynq's."""
    recover: float = 5
    """How often expired leases are looked for, unless one is known to end sooner."""
    sweep: float = 15
    """How often overdue aggregation sets and tasks without a lease are looked for."""
    orphan: float = 60
    """How long a task must stand in `active` without a lease before it is recovered."""
    cancel: float = 5
    """How long a cancelled handler has to end before it is abandoned."""
    error_handler: float = 10
    """How long an error handler may take."""
    block: float = 5
    """How long one wait on a list lasts."""
    set_deadline: int = 120
    """How long an aggregation may take; asynq's."""
    blocked_after: float = 6
    """How long the event loop must have been silent before the guard thread steps in."""
    last_writes: float = 10
    """How long a shutdown waits for outcomes to be written after the last handler ended."""
