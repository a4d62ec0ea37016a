"""Whatever a script leaves half done, the product puts right, and no task is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, product

import pytest
from model.halfway import QUEUE, Halfway, Operation, Refusal, Stage, a_task, halfway
from model.wire import Wire
from redis_servers import RedisServer

from asyncq._broker import keys, scripts
from asyncq._broker.arguments import NewTask
from asyncq._broker.message import Unreadable
from asyncq._broker.outcome import (
    Archived,
    Completed,
    Done,
    Outcome,
    Parked,
    Requeued,
    Retried,
)
from asyncq._broker.scheduling import CronPlace
from asyncq._broker.scripts import Script
from asyncq._broker.slices import Slice
from asyncq._broker.task_lists import Action

Summary = Callable[[str, object], None]


@dataclass(frozen=True)
class Case:
    name: str
    script: Script
    operation: Operation
    ends: Callable[[Stage], set[str]] = lambda stage: set()
    prepare: Callable[[Stage], None] = lambda stage: None
    undoes: bool = False
    """Whether the script undoes what it did; with or without what it does there."""

    @property
    def refusals(self) -> Sequence[Refusal]:
        return ("alone", "what takes memory", "all") if self.undoes else ("alone", "all")


def enqueueing(*new: NewTask) -> Operation:
    async def enqueue(stage: Stage) -> object:
        return await stage.broker.enqueue_once([Slice(QUEUE, list(enumerate(new)))], "call")

    return enqueue


def in_5_s(new: NewTask) -> NewTask:
    return NewTask(new.message, new.own_id, new.unique_s, process_in_ms=5000)


def settling(*ends: Callable[[Stage], Outcome]) -> Operation:
    async def settle(stage: Stage) -> object:
        return await stage.broker.settle([end(stage) for end in ends])

    return settle


def done(stage: Stage) -> Outcome:
    return Done(stage.held["a1"])


def completed(stage: Stage) -> Outcome:
    return Completed.at(stage.held["a2"], b"result", stage.clock.now())


def retried(stage: Stage) -> Outcome:
    return Retried.after(stage.held["a3"], "why", stage.clock.now(), 20, is_failure=True)


def archived(stage: Stage) -> Outcome:
    return Archived.because(stage.held["a4"], "why", stage.clock.now())


def requeued(stage: Stage) -> Outcome:
    return Requeued(stage.held["a5"])


def parked(stage: Stage) -> Outcome:
    return Parked(Unreadable(QUEUE, "a6", "claim", "why"))


def later(seconds: float) -> Callable[[Stage], None]:
    return lambda stage: stage.pass_time(seconds)


def acting(action: Action, task_id: str) -> Operation:
    async def act(stage: Stage) -> object:
        return await stage.lists.act_on_one(action, QUEUE, task_id)

    return act


async def edit_payload(stage: Stage) -> object:
    data, message = await stage.lists.read_message(QUEUE, "p1")
    return await stage.lists.replace_payload(QUEUE, "p1", data, message, b"new")


async def finish_set(stage: Stage) -> object:
    assert stage.taken is not None
    return await stage.aggregation.finish(stage.taken, a_task("m", unique=True))


async def finish_set_with_an_unreadable_part(stage: Stage) -> object:
    assert stage.taken is not None
    taken = replace(stage.taken, messages=stage.taken.messages[1:], unreadable=[b"h1"])
    return await stage.aggregation.finish(taken, a_task("m", unique=True))


def parts_of_what_ran(stage: Stage) -> set[str]:
    return {"h1", "h2", "h3"} if "m" in stage.ran else set()


async def enqueue_due(stage: Stage) -> object:
    place = CronPlace(QUEUE, "e", "@every 30s")
    due_ms = stage.now_us // 1000 - 100
    answer = await stage.scheduling.enqueue_due(place, a_task("d1"), due_ms, "token", None)
    return answer.result


async def drop_unreadable(stage: Stage) -> object:
    assert stage.taken is not None
    taken = replace(stage.taken, messages=[], unreadable=[b"h1", b"h2", b"h3"])
    return await stage.aggregation.drop(taken)


async def take_part_of_group(stage: Stage) -> object:
    await stage.aggregation.take_set(QUEUE, "g", grace_s=0, max_delay_s=None, max_size=2)
    return True


async def take_group(stage: Stage) -> object:
    await stage.aggregation.take_set(QUEUE, "g", grace_s=0, max_delay_s=None, max_size=None)
    return True


def leave_ghosts(stage: Stage) -> None:
    """As Go's dequeue leaves an id without a task, and a task that was moved by an old script."""
    stage.wire.command("HSET", keys.task(QUEUE, "ghost"), "state", "active")
    stage.wire.command("LPUSH", keys.active(QUEUE), "ghost", "x1")
    stage.wire.command("ZADD", keys.lease(QUEUE), 1, "ghost", 1, "x1")


def forget_lease(stage: Stage) -> None:
    stage.wire.command("ZREM", keys.lease(QUEUE), "a7")


DELETED = {"p2", "s1", "x1", "g1"}
HELD = [("a1", "claim"), ("a2", "claim")]
CASES = [
    Case(
        "enqueue",
        scripts.ENQUEUE,
        enqueueing(a_task("n1"), a_task("n2", unique=True)),
        undoes=True,
    ),
    Case(
        "enqueue scheduled",
        scripts.ENQUEUE,
        enqueueing(in_5_s(a_task("n1", unique=True))),
        undoes=True,
    ),
    Case(
        "enqueue in a group",
        scripts.ENQUEUE,
        enqueueing(a_task("n1", group="n", unique=True)),
        undoes=True,
    ),
    Case("enqueue_due", scripts.ENQUEUE_DUE, enqueue_due, undoes=True),
    Case("dequeue", scripts.DEQUEUE, lambda s: s.broker.dequeue([(QUEUE, 2)], "new")),
    Case(
        "dequeue sent again",
        scripts.DEQUEUE,
        lambda s: s.broker.dequeue([(QUEUE, 9)], "claim", again=1),
    ),
    Case("extend_leases", scripts.EXTEND_LEASES, lambda s: s.broker.extend_leases(QUEUE, HELD)),
    Case("write_result", scripts.WRITE_RESULT, lambda s: s.broker.write_result(s.held["a1"], b"")),
    Case("settle done", scripts.SETTLE, settling(done), lambda s: {"a1"}),
    Case("settle completed", scripts.SETTLE, settling(completed), lambda s: {"a2"}),
    Case("settle retried", scripts.SETTLE, settling(retried)),
    Case("settle archived", scripts.SETTLE, settling(archived)),
    Case("settle requeued", scripts.SETTLE, settling(requeued)),
    Case("settle parked", scripts.SETTLE, settling(parked)),
    Case(
        "settle a batch",
        scripts.SETTLE,
        settling(done, completed, retried, archived, requeued, parked),
        lambda s: {"a1", "a2"},
    ),
    Case("recover", scripts.RECOVER, lambda s: s.recoverer.step(), prepare=later(60)),
    Case(
        "list_expired",
        scripts.LIST_EXPIRED,
        lambda s: s.maintenance.list_expired(QUEUE),
        lambda s: {"ghost"},
        leave_ghosts,
    ),
    Case(
        "list_orphans",
        scripts.LIST_ORPHANS,
        lambda s: s.maintenance.list_orphans(QUEUE, ["a7"]),
        prepare=forget_lease,
    ),
    Case("forward", scripts.FORWARD, lambda s: s.forwarder.step(), prepare=later(10)),
    Case(
        "delete_expired",
        scripts.DELETE_EXPIRED,
        lambda s: s.maintenance.delete_expired(QUEUE, 10),
        lambda s: {"k1"},
        later(10),
    ),
    Case(
        "trim_archive",
        scripts.TRIM_ARCHIVE,
        lambda s: s.maintenance.trim_archive(QUEUE, max_age_s=9999, max_size=0, limit=9),
        lambda s: {"x1"},
    ),
    Case("check_group", scripts.CHECK_GROUP, take_group),
    Case("check_group, part of it", scripts.CHECK_GROUP, take_part_of_group),
    Case("finish_set", scripts.FINISH_SET, finish_set, parts_of_what_ran, undoes=True),
    Case(
        "finish_set, a part unreadable",
        scripts.FINISH_SET,
        finish_set_with_an_unreadable_part,
        lambda stage: parts_of_what_ran(stage) - {"h1"},
        undoes=True,
    ),
    Case("drop_set", scripts.DROP_SET, drop_unreadable),
    Case(
        "reclaim_sets",
        scripts.RECLAIM_SETS,
        lambda s: s.aggregation.reclaim(QUEUE),
        prepare=later(130),
    ),
    Case("replace_message", scripts.REPLACE_MESSAGE, edit_payload),
    *(Case(f"run {id_}", scripts.RUN_TASKS, acting("run", id_)) for id_ in ("s1", "x1", "g1")),
    *(
        Case(f"archive {id_}", scripts.ARCHIVE_TASKS, acting("archive", id_))
        for id_ in ("p2", "s1", "g1")
    ),
    *(
        Case(f"delete {id_}", scripts.DELETE_TASKS, acting("delete", id_), lambda s: DELETED)
        for id_ in sorted(DELETED)
    ),
]


@pytest.fixture
def wire(redis_server: RedisServer) -> Iterator[Wire]:
    wire = Wire(redis_server.url.replace("db=0", "db=10"))
    yield wire
    wire.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_what_a_script_leaves_half_done_is_put_right(
    wire: Wire, case: Case, record_property: Summary
) -> None:
    rows = [row async for row in all_halfway(wire, case)]
    assert rows, "the operation writes nothing"
    record_property("summary", table(case, rows))
    assert [row for row in rows if row.wrong or row.lost] == []


async def all_halfway(wire: Wire, case: Case) -> AsyncIterator[Halfway]:
    """Stop the script at each of its writes in turn."""

    async def prepare(stage: Stage) -> None:
        case.prepare(stage)

    for how, again in product(case.refusals, (False, True)):
        for write in count(1):
            row = await halfway(
                wire,
                case.name,
                prepare,
                case.operation,
                case.script,
                write,
                how=how,
                again=again,
                ends=case.ends,
            )
            if row is None:
                break
            yield row


def table(case: Case, rows: Sequence[Halfway]) -> str:
    """How many states were left half done, and who put them right."""
    by = Counter(row.repaired_by for row in rows if row.left)
    parts = ", ".join(f"{part} {n}" for part, n in by.most_common())
    return f"half-way: {case.name}: {len(rows)} stops, {by.total()} wrong after it: {parts or '-'}"
