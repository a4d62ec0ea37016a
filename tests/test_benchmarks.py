"""The benchmark's own code. That it runs is what `nox -s bench -- --quick` shows."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import benchmarks_here  # noqa: F401 # pyright: ignore[reportUnusedImport] - for imports below
import pytest
from redis import Redis as SyncRedis
from redis_servers import RedisServer
from waiting import until

from benchmarks import environments, results
from benchmarks.contestants import board
from benchmarks.contestants.board import Slot
from benchmarks.draining import rate
from benchmarks.measures import ASYNCQ, GO, Measure
from benchmarks.place import QUICK
from benchmarks.place import until as until_runs
from benchmarks.programs import Contestant, ContestantError, UnsupportedError
from benchmarks.reach import goals
from benchmarks.recording import recorded, words
from benchmarks.report import markdown
from benchmarks.results import Result, Results
from benchmarks.waking import percentile

# The board


@pytest.fixture
def board_path(tmp_path: Path) -> Path:
    path = tmp_path / "board"
    board.create(path)
    return path


def test_runs_of_all_threads_are_counted(board_path: Path) -> None:
    shared = board.Board(board_path)

    def run() -> None:
        for _ in range(250):
            shared.tick()
            shared.latency(7)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (slot,) = board.Board(board_path).slots()
    assert (slot.runs, len(slot.latencies_ns)) == (1000, 500)
    assert 0 < slot.first_ns <= slot.last_ns


COUNTING = """
import os, sys
from benchmarks.contestants.board import Board
board = Board(os.environ["BENCH_BOARD"])
board.latency(int(sys.argv[-1]))
print('{"count": 1}')
"""


def test_a_process_takes_over_the_slot_of_one_that_has_ended(
    board_path: Path, tmp_path: Path
) -> None:
    one = program(tmp_path, COUNTING)
    for latency in (-5, 3):
        one.ask("work", board=board_path, latency=latency)
    (slot,) = board.Board(board_path).slots()
    assert (slot.runs, slot.latencies_ns) == (2, [-5, 3])


def test_processes_that_run_at_once_have_slots_of_their_own(
    board_path: Path, tmp_path: Path
) -> None:
    mine = board.Board(board_path)
    mine.tick()
    program(tmp_path, COUNTING).ask("work", board=board_path, latency=1)
    mine.tick()
    assert sorted(slot.runs for slot in mine.slots()) == [1, 2]
    assert len({slot.pid for slot in mine.slots()}) == 2
    assert mine.runs() == 3


def test_a_board_without_a_file_counts_for_nobody() -> None:
    board.Board(None).latency(1)


# Contestants


def program(directory: Path, text: str) -> Contestant:
    path = directory / "contestant.py"
    path.write_text(text)
    return Contestant("one", [sys.executable, str(path)], directory)


def test_what_a_library_cannot_do_is_told_with_the_reason(tmp_path: Path) -> None:
    one = program(tmp_path, """print('{"unsupported": "no bulk call"}')""")
    with pytest.raises(UnsupportedError, match="no bulk call"):
        one.ask("enqueue-bulk")


def test_a_failure_is_told_with_the_last_words(tmp_path: Path) -> None:
    one = program(tmp_path, "import sys; sys.exit('no such queue')")
    with pytest.raises(ContestantError, match="fill ended with 1: no such queue"):
        one.ask("fill", count=1)


def test_a_worker_that_ends_is_noticed(board_path: Path, tmp_path: Path) -> None:
    one = program(tmp_path, "import sys; sys.exit('no such flag')")
    with (
        one.working(1, board=board_path) as workers,
        pytest.raises(ContestantError, match="a worker ended with 1: no such flag"),
    ):
        until_runs(board.Board(board_path), 1, workers)


def test_a_worker_that_runs_nothing_is_noticed(board_path: Path, tmp_path: Path) -> None:
    one = program(tmp_path, "import time; time.sleep(600)")
    with (
        one.working(1, board=board_path) as workers,
        pytest.raises(ContestantError, match="0 of 1 tasks were run"),
    ):
        until_runs(board.Board(board_path), 1, workers, quiet_s=0.05)


async def test_a_worker_and_its_children_are_gone_in_the_end(
    board_path: Path, tmp_path: Path
) -> None:
    one = program(
        tmp_path,
        "import os, time\n"
        "from benchmarks.contestants.board import Board\n"
        "os.fork()\n"
        "Board(os.environ['BENCH_BOARD']).tick()\n"
        "time.sleep(600)\n",
    )
    seen = board.Board(board_path)
    with one.working(1, board=board_path) as workers:
        until_runs(seen, 2, workers)
    slots = seen.slots()
    assert len({slot.pid for slot in slots}) == 2
    await until(lambda: not any(alive(slot.pid) for slot in slots), "the processes end")


def alive(pid: int) -> bool:
    """False for one that has ended and that nobody has waited for, too."""
    shown = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return bool(shown.stdout.strip()) and not shown.stdout.startswith("Z")


def test_a_contestant_without_its_tools_is_missing_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gopher").mkdir()
    (tmp_path / "gopher" / "main.go").write_text("package main")
    monkeypatch.setattr(environments, "CONTESTANTS", tmp_path)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ContestantError, match="no Go on PATH"):
        environments.prepare("gopher", tmp_path)


@pytest.mark.parametrize("name", environments.names())
def test_contestants_are_complete(name: str) -> None:
    home = environments.CONTESTANTS / name
    if not (home / "main.go").exists():
        ast.parse((home / "contestant.py").read_text())
        assert name == ASYNCQ or (home / "requirements.txt").read_text().strip()


# Figures


def slot(first_s: float, last_s: float, runs: int = 1) -> Slot:
    return Slot(runs, int(first_s * 1e9), int(last_s * 1e9), 1, [])


def test_one_process_is_measured_from_its_first_run_to_its_last() -> None:
    assert rate([slot(10, 12)], [], 1000) == 500


def test_two_processes_are_measured_from_when_the_second_one_has_begun() -> None:
    samples = [(int(at * 1e9), done) for at, done in ((10.5, 100), (11.5, 300), (12, 500))]
    assert rate([slot(10, 13), slot(11, 12.9)], samples, 1000) == 400


def test_a_process_that_joins_near_the_end_does_not_shorten_the_time() -> None:
    samples = [(int(at * 1e9), done) for at, done in ((11, 600), (11.8, 900))]
    assert rate([slot(10, 12), slot(11.9, 12)], samples, 1000) == 500


def test_percentiles_are_values_that_were_measured() -> None:
    assert [percentile([5, 1, 3, 2], share) for share in (0.5, 0.99)] == [2, 5]


# Rounds


def measure_of(entrants: Mapping[str, Callable[[], Mapping[str, float]]]) -> Measure:
    return Measure("drain-1p-c100", "Drain", "rate", "tasks/s", entrants)


def test_entrants_take_turns_in_every_round() -> None:
    ran: list[str] = []

    def entrant(name: str) -> Callable[[], Mapping[str, float]]:
        def run() -> Mapping[str, float]:
            ran.append(name)
            return {"rate": 1.0}

        return run

    found = results.measure(measure_of({name: entrant(name) for name in "abc"}), 3, ran.append)
    assert [name for name in ran if len(name) == 1] == list("abcbcacab")
    assert {name: len(runs) for name, runs in found.runs.items()} == {"a": 3, "b": 3, "c": 3}


def test_a_failing_entrant_is_left_out_with_the_reason_and_the_others_go_on() -> None:
    def fail() -> Mapping[str, float]:
        raise ContestantError("it lost a task")

    found = results.measure(
        measure_of({"bad": fail, "good": lambda: {"rate": 2.0}}), 2, lambda _: None
    )
    assert found.without == {"bad": "failed: it lost a task"}
    assert len(found.runs["good"]) == 2


# The page


def made_up(rates: Mapping[str, float]) -> Results:
    return Results(
        dict.fromkeys(("date", "cores", "cpu", "system", "python", "server", "load"), "?"),
        results.described(QUICK),
        {name: {"kind": "asyncio"} for name in rates},
        {"rq": "it could not be installed"},
        {
            "drain-1p-c100": Result(
                "Drain",
                "rate",
                "tasks/s",
                True,
                {name: [{"rate": rate}] for name, rate in rates.items()},
                {"huey": "failed: it | fell"},
            )
        },
    )


def test_goals_are_computed_from_the_run() -> None:
    run = made_up({ASYNCQ: 24_000, GO: 8000, "arq": 1000, "saq": 2000})
    first, second, third, *_ = goals(run)
    assert (first.needed, first.reached, first.ok) == (
        "12 times saq",
        "12.00 (24,000 to 2,000)",
        True,
    )
    assert (second.reached, second.ok) == ("3.00 (24,000 to 8,000)", False)
    assert (third.reached, third.ok) == (None, None)


def test_the_page_tells_what_is_missing_and_why() -> None:
    page = markdown(made_up({ASYNCQ: 24_000, "arq": 1000}))
    assert "rq did not take part: it could not be installed" in page
    assert "huey: failed: it | fell" in page
    assert "not measured" in page


def test_a_run_can_be_read_again(tmp_path: Path) -> None:
    run = made_up({ASYNCQ: 24_000})
    run.write(tmp_path / "run.json")
    assert Results.read(tmp_path / "run.json") == run
    assert json.loads((tmp_path / "run.json").read_text())["missing"]


# The recording


@pytest.fixture
def server(start_redis: Callable[..., RedisServer]) -> RedisServer:
    return start_redis(tcp=True)


def test_a_replay_does_what_the_original_did(server: RedisServer) -> None:
    original = SyncRedis(port=server.port)
    with recorded(server.port) as (port, recording), SyncRedis(port=port) as client:
        client.mset({f"key{n}": b"\r\n*1\r\n" * n for n in range(50)})
        client.rpush("list", *range(100))
        client.blpop(["list"], timeout=1)
        client.eval("return redis.call('INCRBY', KEYS[1], 5)", 1, "counter")
    before = original.lrange("list", 0, -1)
    assert len(before) == 99
    keys = {key: original.dump(key) for key in original.scan_iter() if key != b"list"}
    original.flushall()
    recording.replay(server.port)
    assert {key: original.dump(key) for key in original.scan_iter() if key != b"list"} == keys
    assert original.llen("list") == 100, "what blocks is not said again"
    assert words(recording.commands[-1])[-1] == b"counter"
    original.close()
