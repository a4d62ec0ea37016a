"""Scripts that stop half-way, and the product's own parts that put right what they leave.

Redis runs a script atomically, but not as a whole: what it wrote before an error stays. So it is
with asynq's scripts, too. Here every write of a script of ours is refused once, see `Refusal`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from asyncq._broker import keys
from asyncq._broker.aggregation import Aggregation, AggregationSet
from asyncq._broker.arguments import NewTask
from asyncq._broker.broker import Broker, Fetched
from asyncq._broker.inspection import Inspection
from asyncq._broker.maintenance import Maintenance
from asyncq._broker.message import Leased, TaskMessage, Unreadable
from asyncq._broker.outcome import Archived, Completed, Done, Parked, Retried
from asyncq._broker.scheduling import Scheduling
from asyncq._broker.scripts import Script
from asyncq._broker.task_lists import TaskLists
from asyncq._worker.forwarder import Forwarder
from asyncq._worker.janitor import Janitor
from asyncq._worker.recoverer import Recoverer
from asyncq._worker.verdict import Policy
from asyncq.errors import RedisError

from . import invariants
from .wire import Skewed, Wire, frozen, rewritten
from .world import START_US

QUEUE = "q"
LOCK = keys.unique(QUEUE, "t", None)
_WAITING = ("pending", "active", "lease", "scheduled", "retry", "groups", "aggregation_sets")
_KEPT_S = 90 * 24 * 3600.0
_FIRED, _NO_NUMBER = "model:fired", "model:text"

# INCR of a text is an error of Redis's own, in whatever form its version raises errors.
_STOPPING = """
local real, wait_for, how = redis, {write}, '{how}'
local reads = {{
  EXISTS = 1, GET = 1, HGET = 1, HMGET = 1, HEXISTS = 1, LLEN = 1, LINDEX = 1, LRANGE = 1, MGET = 1,
  PUBLISH = 1, SCARD = 1, SMEMBERS = 1, ZCARD = 1, ZCOUNT = 1, ZRANGE = 1, ZRANGEBYSCORE = 1,
  ZRANK = 1, ZSCORE = 1,
}}
local frees = {{
  DEL = 1, HDEL = 1, LREM = 1, LTRIM = 1, PERSIST = 1, SREM = 1, ZREM = 1, ZREMRANGEBYRANK = 1,
  ZREMRANGEBYSCORE = 1,
}}
local function refused(name)
  if reads[name] then return false end
  wait_for = wait_for - 1
  if wait_for > 0 or how == 'alone' and wait_for < 0 then return false end
  if how == 'what takes memory' and wait_for < 0 and frees[name] then return false end
  real.call('SET', '{fired}', 1)
  return true
end
local redis = setmetatable({{
  call = function(name, ...)
    if refused(name) then return real.call('INCR', '{text}') end
    return real.call(name, ...)
  end,
  pcall = function(name, ...)
    if refused(name) then return real.pcall('INCR', '{text}') end
    return real.pcall(name, ...)
  end,
}}, {{ __index = real }})
"""


Refusal = Literal["alone", "what takes memory", "all"]
"""What is refused: one write (a key of the wrong type), and after it all that take memory, or all
that follow (the script stops there)."""


def stopping(script: Script, write: int, how: Refusal) -> Script:
    """The script, with its n-th write refused, from 1 on."""
    head = _STOPPING.format(write=write, how=how, fired=_FIRED, text=_NO_NUMBER)
    return rewritten(script, head + frozen(script).source)


def a_task(task_id: str, *, group: str = "", retention: int = 0, unique: bool = False) -> NewTask:
    lock = f"{LOCK}{task_id}" if unique else ""
    message = TaskMessage(
        type="t",
        id=task_id,
        queue=QUEUE,
        payload=b"p",
        retry=3,
        timeout=60,
        unique_key=lock,
        group_key=group,
        retention=retention,
    )
    return NewTask(message, own_id=True, unique_s=3600 if unique else 0)


@dataclass
class Stage:
    """A queue with tasks in all states, and everybody who works on it."""

    wire: Wire
    now_us: int = START_US
    held: dict[str, Leased] = field(default_factory=dict)
    taken: AggregationSet | None = None
    expiring: set[str] = field(default_factory=set)
    """Locks that run out."""
    ran: set[str] = field(default_factory=set)
    """Ids that the worker got which came after all troubles."""

    def __post_init__(self) -> None:
        wire = self.wire
        wire.rewrite = frozen
        wire.command("FLUSHDB")
        wire.command("SET", _NO_NUMBER, "no number")
        wire.set_time(self.now_us)
        self.clock = Skewed(lambda: self.now_us)
        self.broker = Broker(wire, self.clock)
        self.maintenance = Maintenance(wire, self.clock)
        self.aggregation = Aggregation(wire, self.clock)
        self.lists = TaskLists(wire, self.clock)
        self.inspection = Inspection(wire, self.clock)
        self.scheduling = Scheduling(wire, self.clock)
        policy = Policy(lambda *_: 40.0, lambda error: True)
        self.recoverer = Recoverer(
            self.maintenance, self.aggregation, [QUEUE], policy, clock=self.clock, orphan_s=0.0
        )
        self.forwarder = Forwarder(self.maintenance, [QUEUE], "s", interval=5)
        self.janitor = Janitor(
            self.maintenance,
            [QUEUE],
            batch_size=50,
            archive_max_age_s=_KEPT_S,
            archive_max_size=10**6,
        )

    def pass_time(self, seconds: float) -> None:
        self.now_us += round(seconds * 10**6)
        self.wire.set_time(self.now_us)

    async def furnish(self) -> None:
        """Tasks in every state."""
        running = [f"a{n}" for n in range(1, 8)]
        await self.put(
            a_task("a1", unique=True),
            a_task("a2", retention=600, unique=True),
            *map(a_task, running[2:]),
            a_task("x1", unique=True),
            a_task("k1", retention=1),
            a_task("r1"),
        )
        await self.take(10, "claim")
        now = self.clock.now()
        await self.broker.settle(
            [
                Archived.because(self.held["x1"], "why", now),
                Completed.at(self.held["k1"], b"", now),
                Retried.after(self.held["r1"], "why", now, 3, is_failure=True),
            ]
        )
        await self.put(*(a_task(f"h{n}", group="h", unique=n == 1) for n in (1, 2, 3)))
        self.taken = await self.aggregation.take_set(
            QUEUE, "h", grace_s=0, max_delay_s=None, max_size=None
        )
        await self.put(*(a_task(f"g{n}", group="g", unique=n == 1) for n in (1, 2, 3)))
        await self.put(a_task("p1"), a_task("p2", unique=True), a_task("p3"), a_task("p4"))
        await self.put(
            *(NewTask(a_task(f"s{n}").message, True, process_in_ms=5000) for n in (1, 2))
        )
        await self.put(NewTask(a_task("s3", group="g").message, True, process_in_ms=5000))

    async def put(self, *tasks: NewTask) -> None:
        for answer in await self.broker.enqueue(tasks):
            assert not isinstance(answer, Exception), answer

    async def take(self, limit: int, claim: str) -> Sequence[Leased | Unreadable]:
        (fetched,) = await self.broker.dequeue([(QUEUE, limit)], claim)
        assert isinstance(fetched, Fetched), fetched
        self.held |= {t.message.id: t for t in fetched.tasks if isinstance(t, Leased)}
        return fetched.tasks

    # Who puts things right

    async def recover(self) -> None:
        self.pass_time(120)
        await self.recoverer.step()

    async def sweep(self) -> None:
        """Twice: an orphan must be seen twice."""
        for _ in range(2):
            await self.recoverer.sweep()
        await self.recoverer.step()

    async def forward(self) -> None:
        await self.forwarder.step()

    async def clean(self) -> None:
        await self.janitor.step()

    async def aggregate(self) -> None:
        for group in await self.aggregation.groups(QUEUE):
            taken = await self.aggregation.take_set(
                QUEUE, group, grace_s=0, max_delay_s=None, max_size=None
            )
            if taken is not None and taken.messages:
                self.ran |= {message.id for message in taken.messages}
                await self.aggregation.finish(taken, a_task(f"of {taken.key}"))
            elif taken is not None:
                await self.aggregation.drop(taken)

    async def work(self) -> None:
        """A worker that does all there is."""
        while tasks := await self.take(100, f"after{self.now_us}"):
            self.ran |= {task.message.id for task in tasks if isinstance(task, Leased)}
            await self.broker.settle(
                [Done(task) if isinstance(task, Leased) else Parked(task) for task in tasks]
            )

    def parts(self) -> Sequence[tuple[str, Callable[[], Awaitable[None]]]]:
        return (
            ("recoverer", self.recover),
            ("sweep", self.sweep),
            ("forwarder", self.forward),
            ("janitor", self.clean),
            ("aggregator", self.aggregate),
            ("worker", self.work),
        )

    def look(self) -> tuple[list[str], dict[str, Any]]:
        """What is wrong, and what stands in Redis."""
        found, lives = self.wire.contents()
        self.expiring |= {key for key in lives if key.startswith(LOCK)}
        return invariants.broken(QUEUE, found), found

    async def grow_old(self) -> None:
        """Long enough for archived tasks to go, and for locks to run out."""
        self.pass_time(_KEPT_S + 1)
        for lock in self.expiring:
            self.wire.command("DEL", lock)
        await self.janitor.step()


Operation = Callable[[Stage], Awaitable[object]]


@dataclass
class Halfway:
    """What became of a state that a script left."""

    operation: str
    write: int
    how: Refusal
    again: bool
    left: list[str]
    """What was wrong then."""
    repaired_by: str = ""
    still_wrong: bool = False
    """After everybody had their turn; then only time is left."""
    wrong: list[str] = field(default_factory=list)
    """What still is in the end."""
    lost: set[str] = field(default_factory=set)


async def _try(stage: Stage, operation: Operation) -> bool:
    """Whether it succeeded as far as its caller can tell."""
    try:
        answer = await operation(stage)
    except RedisError:
        return False
    answers = answer if isinstance(answer, list) else [answer]
    return not any(isinstance(one, Exception) for one in answers)


async def halfway(
    wire: Wire,
    name: str,
    prepare: Operation,
    operation: Operation,
    script: Script,
    write: int,
    *,
    how: Refusal,
    again: bool,
    ends: Callable[[Stage], set[str]],
) -> Halfway | None:
    """Do an operation whose script stops at a write, and let the product put it right.

    With `again` the caller makes the same call once more, else it is gone. `ends` names the tasks
    that the operation may have ended. None: the script has not so many writes.
    """
    stage = Stage(wire)
    await stage.furnish()
    await prepare(stage)
    known = {
        key.removeprefix(keys.task_prefix(QUEUE))
        for key in stage.look()[1]
        if key.startswith(keys.task_prefix(QUEUE))
    }
    wire.rewrite = lambda s: stopping(s, write, how) if s is script else frozen(s)
    await _try(stage, operation)
    wire.rewrite = frozen
    if not wire.command("GET", _FIRED):
        return None
    result = Halfway(name, write, how, again, stage.look()[0])
    result.still_wrong = await _put_right(stage, result, operation if again else None)
    _, found = stage.look()
    kept = found.get(keys.archived(QUEUE), {}).keys() | found.get(keys.completed(QUEUE), {}).keys()
    result.lost = known - stage.ran - kept - ends(stage) - {"k1"}  # kept for a second only
    await stage.grow_old()
    _note(stage, result, result.still_wrong, "time")
    result.wrong = stage.look()[0]
    return result


async def _put_right(stage: Stage, result: Halfway, operation: Operation | None) -> bool:
    was_wrong = bool(result.left)
    if operation is not None:
        await _try(stage, operation)
        was_wrong = _note(stage, result, was_wrong, "sent again")
    for _ in range(4):
        for part, step in stage.parts():
            await step()
            was_wrong = _note(stage, result, was_wrong, part)
        wrong, found = stage.look()
        was_wrong = bool(wrong)
        if not any(keys.queue_prefix(QUEUE) + place in found for place in _WAITING):
            break
    return was_wrong


def _note(stage: Stage, result: Halfway, was_wrong: bool, part: str) -> bool:
    wrong = was_wrong and bool(stage.look()[0])
    if was_wrong and not wrong:
        result.repaired_by = part
    return wrong
