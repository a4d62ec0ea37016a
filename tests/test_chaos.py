"""What the fault campaign rests on: a schedule that a seed repeats, and an account that misses
nothing. The campaign itself is `nox -s chaos`."""

from __future__ import annotations

from pathlib import Path

import pytest
from chaos.account import Account, World, account, history
from chaos.faults import KINDS
from chaos.journal import Journal, Note, count, notes
from chaos.report import summary, table
from chaos.schedule import Schedule

KILLED, ENDED, WELL = 1, 2, 3


def test_seed_repeats_its_schedule() -> None:
    assert Schedule.of(7) == Schedule.of(7)
    assert len({str(Schedule.of(seed)) for seed in range(50)}) == 50


def test_seeds_reach_every_kind_of_fault() -> None:
    planned = {fault.kind for seed in range(1, 201) for fault in Schedule.of(seed).faults}
    assert planned == set(KINDS)


def test_faults_are_those_of_their_redis() -> None:
    for seed in range(1, 100):
        schedule = Schedule.of(seed)
        for fault in schedule.faults:
            assert schedule.topology in KINDS[fault.kind].topologies
            assert 0 <= fault.at_s <= schedule.length_s


class Days:
    """Notes of one task after another, a second apart."""

    def __init__(self) -> None:
        self.notes: list[Note] = []

    def add(self, event: str, *, pid: int = WELL, number: int = 0, token: str = "t") -> Days:
        at_ns = len(self.notes) * 10**9
        self.notes.append(Note(at_ns, event, token, number, f"p{pid}", pid))
        return self

    def account(self, *archived: str, forgets: bool = False) -> Account:
        world = World({KILLED}, {ENDED}, set(archived), forgets)
        return account(self.notes, world)


def enqueued() -> Days:
    return Days().add("sent").add("acked")


def test_task_that_was_done_once_is_well() -> None:
    found = enqueued().add("start").add("done").account()
    assert found.tasks == {"acked": 1}
    assert (found.lost, found.problems, found.repeated) == ([], [], {})


def test_task_that_was_acknowledged_and_never_done_is_lost() -> None:
    assert enqueued().account().lost == ["t"]
    assert enqueued().add("start").account().lost == ["t"]
    assert Days().add("sent").account().lost == []  # nobody promised it


def test_archived_task_is_accounted_for_if_its_handler_wanted_that() -> None:
    found = enqueued().add("start").add("skipped").account("t")
    assert (found.lost, found.problems) == ([], [])
    found = enqueued().account("t")
    assert (found.lost, found.problems) == ([], ["task t was archived without a reason"])


def test_task_that_was_refused_must_not_run() -> None:
    found = Days().add("sent").add("refused").add("start").add("done").account()
    assert found.problems == ["task t ran although its producer was told: refused"]


def test_error_that_no_fault_explains_is_a_problem() -> None:
    found = Days().add("sent").add("conflict").account()
    assert found.problems == ["task t its enqueue said: conflict"]


def test_retry_of_a_failed_attempt_is_no_repetition() -> None:
    found = enqueued().add("start").add("failed").add("start", number=1).add("done", number=1)
    assert found.account().repeated == {}


@pytest.mark.parametrize(
    ("first", "over", "second", "reason"),
    [
        (KILLED, False, 1, "worker killed"),
        (WELL, False, 1, "lease lost"),
        (WELL, True, 1, "outcome not written in time"),
        (ENDED, False, 0, "put back"),
        (WELL, False, 0, "unexplained"),
        (WELL, True, 0, "unexplained"),
    ],
)
def test_reasons_of_a_second_attempt(first: int, over: bool, second: int, reason: str) -> None:
    days = enqueued().add("start", pid=first)
    if over:
        days.add("done", pid=first)
    days.add("start", pid=9, number=second).add("done", pid=9, number=second)
    found = days.account()
    assert found.repeated == {reason: 1}
    assert bool(found.problems) == (reason == "unexplained")


def test_thread_of_a_worker_that_was_told_to_leave_ends_after_its_task_was_put_back() -> None:
    days = enqueued().add("start", pid=ENDED).add("thread", pid=ENDED).add("done", pid=ENDED)
    days.add("start", pid=9).add("done", pid=9)
    assert days.account().repeated == {"put back": 1}


def test_late_end_of_an_attempt_whose_lease_was_lost() -> None:
    days = enqueued().add("start").add("start", pid=9, number=1).add("done")
    assert days.add("done", pid=9, number=1).account().repeated == {"lease lost": 1}


def test_attempt_that_a_worker_held_while_it_stood_still() -> None:
    days = enqueued().add("start", pid=9, number=1).add("done", pid=9, number=1)
    assert days.add("start").add("done").account().repeated == {"lease lost": 1}


def test_enqueue_that_was_sent_again_after_its_task_was_done() -> None:
    days = Days().add("sent").add("doubt").add("start").add("done").add("start").add("done")
    assert days.add("acked").account().repeated == {"enqueued again after it was done": 1}


def test_failover_may_forget_what_only_the_master_knew() -> None:
    days = enqueued().add("start").add("done").add("start", pid=9).add("done", pid=9)
    assert days.account(forgets=True).repeated == {"forgotten by a failover": 1}


def test_history_tells_of_a_task_and_the_faults_between() -> None:
    days = enqueued().add("start", token="other").add("start").add("start", pid=9, number=1)
    assert list(history("t", days.notes, {2_500_000_000: "redis killed"}, 0)) == [
        "    0.000 s  p3 [3]: sent",
        "    1.000 s  p3 [3]: acked",
        "    2.500 s  -- redis killed",
        "    3.000 s  p3 [3]: start",
        "    4.000 s  p9 [9]: start (retried 1 times)",
    ]


def test_journals_keep_every_note_of_every_process(tmp_path: Path) -> None:
    Journal(tmp_path, "a", 11).note("start", "x", "y", number=2)
    Journal(tmp_path, "b", 12).note("done", "x")
    found = [
        (note.process, note.pid, note.event, note.token, note.number) for note in notes(tmp_path)
    ]
    assert found == [
        ("a", 11, "start", "x", 2),
        ("a", 11, "start", "y", 2),
        ("b", 12, "done", "x", 0),
    ]
    assert count(tmp_path, "a", "start") == 2


def test_no_seed_is_passed_over() -> None:
    silent = {"seed": 30, "topology": "sentinel", "account": None, "problems": ["no result"]}
    said = summary([silent], [31, 12])
    assert "| sentinel |     1 |         1 |" in said
    assert "no result: 30\n\nwrong: 30" in said
    assert "left out for want of Go: 12, 31" in said


def test_table_is_in_line() -> None:
    assert table([["", "n"], ["all", "10"]]) == "|     |  n |\n|-----|---:|\n| all | 10 |"
