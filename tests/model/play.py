"""What befalls a call: every one has a fate.

Whoever made a call and heard nothing may make the very same call again, do something else, or be
gone. Calls that are late are executed long after they were made.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from asyncq._broker.aggregation import Aggregation
from asyncq._broker.inspection import Inspection
from asyncq._broker.maintenance import Maintenance
from asyncq._broker.message import TaskMessage
from asyncq._broker.task_lists import TaskLists

from .actors import (
    DEADLINE_S,
    QUEUE,
    SILENCE,
    Sender,
    Server,
    Silence,
    Worker,
    which,
)
from .wire import Wire
from .world import World

R = TypeVar("R")


class Play(RuleBasedStateMachine):
    """One queue and those who work on it."""

    wire: Wire
    """To a database of its own; of a subclass."""
    lives = steps = 0
    """How much the subclass has played."""

    def __init__(self) -> None:
        super().__init__()
        type(self).lives += 1
        wire = self.wire
        self.world = World(wire, QUEUE)
        self.q = self.world.model
        self.made = 0
        self.late: list[Callable[[], object]] = []
        clocks = [self.world.clock(skew) for skew in (0.0, 1.5, -0.7)]
        self.producers = [Sender(clocks[0]), Sender(clocks[1])]
        self.schedulers = [Sender(clocks[0]), Sender(clocks[2])]
        self.workers = [Worker(clocks[2], 0), Worker(clocks[0], 1000)]
        self.servers = [
            Server(f"s{n}", c, Maintenance(wire, c), Aggregation(wire, c, deadline_s=DEADLINE_S))
            for n, c in enumerate((clocks[1], clocks[0]))
        ]
        self.clock = clocks[0]
        self.lists = TaskLists(wire, self.clock)
        self.inspection = Inspection(wire, self.clock)
        self.read: tuple[str, bytes, TaskMessage] | None = None

    def say(
        self, fate: str, call: Callable[[], Coroutine[Any, Any, R]], expected: Callable[[], R]
    ) -> R | Silence:
        """Make a call; what is heard of it."""
        if fate == "late":
            self.late.append(lambda: self.world.both(call, expected))
        if fate in ("late", "never sent"):
            return SILENCE
        answer = self.world.both(call, expected)
        return answer if fate == "answered" else SILENCE

    @precondition(lambda self: self.late)
    @rule(n=which)
    def late_call_arrives(self, n: int) -> None:
        self.late.pop(n % len(self.late))()

    @rule(seconds=st.sampled_from([0.3, 1, 5, 11, 33, 61, 125, -2]))
    def time_passes(self, seconds: float) -> None:
        self.world.travel(seconds)
