"""What the dashboard draws: whole screens, and what strangers' texts are made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from textwrap import dedent
from typing import Any

import pytest
from dash_world import (
    NOW,
    Player,
    World,
    a_queue,
    a_server,
    a_task,
    a_worker,
    an_entry,
    some_tasks,
)
from docs_pages import blocks_of
from rich.cells import cell_len
from rich.color import Color
from rich.console import Console
from rich.text import Text

from asyncq import EnqueueEvent, RedisInfo, TaskState
from asyncq.dash import bars, numbers
from asyncq.dash.keys import Place
from asyncq.dash.modals import window
from asyncq.dash.palette import STATE_LETTERS, STATE_STYLES, palette
from asyncq.dash.plain import fitted, is_editable, plain_bytes, plain_lines
from asyncq.dash.screen import draw
from asyncq.dash.state import (
    Failed,
    FilterTyped,
    Resized,
    State,
    Ticked,
)
from asyncq.safe_text import safe


def lines(player: Player) -> list[str]:
    return [line.plain.rstrip() for line in draw(player.state).lines]


def screen(player: Player) -> str:
    return "\n".join(lines(player))


def modal(player: Player) -> str:
    shown = window(player.state)
    assert shown is not None
    return "\n".join(line.plain.rstrip() for line in shown.lines)


def a_busy_world() -> World:
    failing = some_tasks(
        30,
        "retry",
        retried=3,
        last_error="connection refused: smtp.example.com:25",
        last_failed_at=NOW - timedelta(minutes=3),
        next_process_at=NOW + timedelta(seconds=42),
    )
    queues = [
        a_queue("critical", pending=12, active=3),
        a_queue(active=7, pending=312, retry=30, archived=41, completed=1200, paused=True),
    ]
    return World(
        tasks=failing,
        queues=queues,
        servers=[a_server(a_worker("6d2c7a1e"))],
        entries=[an_entry()],
        events=[EnqueueEvent(task_id="t1", enqueued_at=NOW - timedelta(minutes=48))],
        redis=[RedisInfo(where="redis://r", values={"redis_version": "7.0.15"})],
    )


def a_busy_player() -> Player:
    """After half a minute, in which more and more was done."""
    world = a_busy_world()
    player = Player(world, State(where="redis://localhost:6379"))
    for n in range(1, 17):
        world.queues = [
            replace(
                queue,
                processed_total=queue.processed_total + n * n,
                failed_total=queue.failed_total + n // 4,
                timestamp=NOW + timedelta(seconds=2 * n),
            )
            for queue in a_busy_world().queues
        ]
        player.happen(Ticked(2 * n))
    return player


# Whole screens


def test_queues_on_a_small_screen() -> None:
    assert screen(a_busy_player()) == dedent(
        """\
        [1 Queues] 2 Servers  3 Workers  4 Schedulers  5 Redis                   asyncq
         Queues: 2   tasks: 1,605   1 PAUSED
         done/s     31.0                                     ▁▁▁▂▂▃▃▄▄▅▅▆▆▇▇█ max 31.0
         failed/s    1.0                                        █   █   █   █ max 1.0
         tasks     1,605                                    █████████████████ max 1,605
         a active p pending g aggregating s scheduled r retry x archived c completed
         critical         ap 15
         default          appppppppppprxccccccccccccccccccccccccccccccccccccccccc 1,590
          Queue     State    Size  Latency   Memory  Processed  Failed  ErrorRate
          critical  RUN        15     3.2s  121 KiB        200       3       1.5%
          default   PAUSED  1,590     3.2s  121 KiB        200       3       1.5%










         page 1 of 1   1 to 2 of 2
         as of 03:04:05 UTC, every 2 s, redis://localhost:6379
         ?  help  Esc  back  Enter  open  P  pause  n  next page  Ctrl+C  quit"""
    )


def test_page_on_the_dashboard_shows_this_screen() -> None:
    (shown,) = (text for text in blocks_of("docs/how-to/dashboard.md", "") if "[1 Queues]" in text)
    assert screen(a_busy_player().press("k")).startswith(shown)


def test_tasks_of_a_queue_on_a_small_screen() -> None:
    player = a_busy_player().press("k", "enter", "h", "h", "h", "j")
    assert lines(player)[1] == (
        " default  PAUSED  size 1,590  latency 3.2s  121 KiB  today 200, 3 failed (1.5%)"
    )
    assert lines(player)[5:8] == [
        " active 7  pend 312  aggr 0  sched 0 [retry 30] arch 41  compl 1,200",
        "  ID   Type         Retry  Last Failure       Failed     Next    Payload",
        '> r0   email:deli…   3/25  connection refus…  3m00s ago  in 42s  {"user_id": 42}',
    ]
    assert lines(player)[-3] == " page 1 of 3   1 to 14 of 30   n: next"


def test_wide_screen_has_room_for_all_of_a_row() -> None:
    player = a_busy_player()
    player.happen(Resized(140, 40))
    player.press("k", "enter", "h", "h", "h")
    titles, row = lines(player)[12:14]
    assert titles.split("  ") != []
    assert "Last Failure Time" in titles
    assert "Next Process Time" in titles
    assert "connection refused: smtp.example.com:25" in row


@pytest.mark.parametrize("size", [(80, 24), (140, 40), (60, 12), (20, 5), (1, 1), (300, 100)])
def test_every_page_fills_the_screen_exactly(size: tuple[int, int]) -> None:
    for player in every_page():
        player.happen(Resized(*size))
        drawn = draw(player.state).lines
        assert len(drawn) == size[1]
        assert {line.cell_len for line in drawn} == {size[0]}


def every_page() -> Iterator[Player]:
    yield a_busy_player()
    for keys in ("2", "3", "4", "5"):
        yield a_busy_player().press(keys)
    yield a_busy_player().press("4", "j", "enter")
    yield a_busy_player().press("2", "j", "enter")
    for n in range(7):
        yield a_busy_player().press("k", "enter", *"l" * n)


def test_modals_fit_into_every_screen() -> None:
    for size in ((80, 24), (40, 10), (10, 3)):
        for keys in ("?", "/", ("j", "enter"), ("j", "d"), ("j", "e"), ("R", "y")):
            player = a_busy_player().press("k", "enter", "h", "h", "h", *keys)
            player.happen(Resized(*size))
            shown = window(player.state)
            assert shown is not None
            assert shown.width < size[0]
            assert len(shown.lines) <= shown.height < max(size[1], 2)
            assert all(line.cell_len <= shown.width for line in shown.lines), keys


def test_rows_are_where_the_mouse_finds_them() -> None:
    player = a_busy_player().press("j")
    frame = draw(player.state)
    assert frame.lines[frame.first_row].plain.startswith("> critical")


# What each place shows


def test_task_is_shown_in_all_its_detail() -> None:
    task = a_task(
        "x",
        "archived",
        retried=25,
        last_error="boom\nat line 3",
        last_failed_at=NOW - timedelta(hours=2),
        timeout=timedelta(minutes=30),
        deadline=NOW + timedelta(days=1),
        retention=timedelta(hours=1),
        headers={"traceparent": "00-1"},
        completed_at=NOW,
        result=b"ok",
    )
    world = World(tasks=[task])
    player = Player(world).press("j", "enter", "h", "h", "j", "enter")
    shown = modal(player)
    for part in (
        "ID            x",
        "State         archived",
        "Retried       25 of 25",
        "Last failure  boom\\nat line 3",
        "2026-11-21 01:04:05 UTC (2h00m ago)",
        "Time-out      30m00s",
        "2026-11-22 03:04:05 UTC (in 1d00h)",
        "Retention     1h00m",
        "traceparent: 00-1",
        '{"user_id": 42}',
        "Result (2 bytes)",
    ):
        assert part in shown, part
    world.tasks = []
    player.happen(Ticked(1))
    assert modal(player).startswith("This task is gone")


def test_who_works_on_what_since_when() -> None:
    row = lines(a_busy_player().press("3"))[3]
    assert row.split() == "web1:7 6d2c7a1e email:deliver default 1m12s in 3m00s {}".split()


def test_servers_and_schedulers_have_a_row_each() -> None:
    (row,) = [line for line in lines(a_busy_player().press("2")) if "web1" in line]
    assert row.split() == "web1 7 active 1 10 critical:6 default:1 2h00m ago".split()
    (row,) = [line for line in lines(a_busy_player().press("4")) if "e1" in line]
    assert "queue=low" in row
    assert "in 12m00s" in row
    assert "48m00s ago" in row
    assert "t1" in screen(a_busy_player().press("4", "j", "enter"))


def test_running_task_is_shown_with_who_runs_it() -> None:
    worker = a_worker("a", host="web1", pid=7, started=NOW - timedelta(minutes=3),
                      deadline=NOW + timedelta(minutes=27))  # fmt: skip
    world = World(tasks=[a_task("a", "active")], servers=[a_server(worker)])
    shown = modal(Player(world).press("j", "enter", "j", "enter"))
    assert "Worker        web1:7, for 3m00s" in shown
    assert "Must end      2026-11-21 03:31:05 UTC (in 27m00s)" in shown


def test_redis_is_shown_even_if_it_says_little() -> None:
    shown = screen(a_busy_player().press("5"))
    assert "redis 7.0.15" in shown
    assert "no limit" in shown


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ("", "no queues"),
        ("2", "nobody works"),
        ("3", "nothing is running"),
        ("4", "no schedulers"),
    ],
)
def test_empty_page_says_so(keys: str, text: str) -> None:
    assert text in screen(Player(World()).press(*keys))


def test_before_the_first_answer_it_says_that_it_reads() -> None:
    assert "reading" in screen(Player(World(), is_away=True))


def test_redis_away_is_said_with_a_mark_and_for_how_long() -> None:
    player = a_busy_player()
    player.is_away = True
    for now in (100, 112):
        player.happen(Ticked(now))
        player.happen(Failed(player.asked[-1].number, "cannot reach Redis at x", True))
    assert lines(player)[-2] == " ! Redis away for 12 s: cannot reach Redis at x"
    assert " default          " in screen(player)
    player.happen(Ticked(114))
    player.happen(Failed(player.asked[-1].number, "there is no queue 'default'", False))
    assert lines(player)[-2] == " ! not read for 14 s: there is no queue 'default'"


def test_errors_of_actions_have_a_mark() -> None:
    player = Player(World(tasks=some_tasks(1))).press("j", "enter", "l", "j", "r")
    assert lines(player)[-2] == " ! a pending task runs as soon as a worker is free"


def test_search_says_how_far_it_is() -> None:
    world = World(tasks=[a_task(f"p{n}") for n in range(2500)], looks=500)
    player = Player(world).press("j", "enter", "l", "/")
    player.is_away = True
    player.happen(FilterTyped("", "none", ""))
    assert lines(player)[-3] == " page 1  only payload 'none'  looked at 0, searching ..."
    player.is_away = False
    player.answer(player.asked[-1])
    assert lines(player)[-3] == " page 1  only payload 'none'  looked at 2,500, Ctrl+R looks anew"
    assert "none match" in screen(player)


def test_question_says_what_comes_of_it() -> None:
    player = a_busy_player().press("k", "enter", "h", "h", "h", "D")
    assert "Delete all retry tasks of queue default?" in modal(player)
    assert "About 30 tasks, on all pages." in modal(player)
    assert "This cannot be undone." in modal(player)


def test_footer_has_keys_of_the_place_and_how_to_quit() -> None:
    for keys, wanted in ((("?",), "close"), (("k", "P"), "yes"), ((), "help")):
        footer = lines(a_busy_player().press(*keys))[-1]
        assert wanted in footer
        assert footer.endswith("Ctrl+C  quit")


def test_help_has_every_key_of_the_page() -> None:
    player = a_busy_player().press("k", "enter", "?")
    for key in ("/", "r", "D", "P", "Ctrl+R", "Enter", "Esc q", "↓ j"):
        assert any(
            part.startswith(f"{key} ") or f"  {key} " in part for part in modal(player).split("\n")
        ), key


# Texts of strangers

NASTY = [
    "\x1b[2J\x1b]0;title\x07",
    "[red]bold[/red] [link=http://x]y[/]",
    "a\nb\rc\td",
    "\u202egnp.exe",
    "\x9b31m",
    "日本語" * 50,
    "e\u0301" * 100,
    "\ud800",
    "\u200b\u2028\ufeff",
    "\U0001f468\u200d\U0001f469",
    "",
]


@pytest.mark.parametrize("text", NASTY)
def test_whatever_strangers_write_cannot_move_the_cursor(text: str) -> None:
    task = a_task(text or "x", "retry", type=text, last_error=text, queue=text or "q", group="")
    worker = a_worker(text, task_type=text, host=text, queue=text)
    entry = an_entry(text, spec=text, name=text)
    world = World(
        tasks=[task, a_task("g", "aggregating", queue=task.queue, group=text or "g")],
        servers=[a_server(worker, host=text, status=text, queues={text: 1})],
        entries=[entry],
        events=[EnqueueEvent(task_id=text, enqueued_at=NOW)],
        redis=[RedisInfo(where=text, values={"redis_version": text})],
    )
    ways = ["", "2", "3", "4", "5", ("4", "j", "enter"), ("j", "enter", *"llll")]
    ways += [("j", "enter", *"llll", "j", key) for key in ("enter", "d")]
    ways += [("j", "enter", *"ll"), ("j", "enter", *"ll", "j", "enter")]
    for keys in ways:
        player = Player(world).press(*keys)
        shown = window(player.state)
        drawn = [*draw(player.state).lines, *(shown.lines if shown else ())]
        assert all(line.plain.isprintable() for line in drawn)
        assert {line.cell_len for line in draw(player.state).lines} == {80}


def test_markup_of_strangers_is_text() -> None:
    player = Player(World(tasks=[a_task("x", type="[bold red]x[/]")])).press("j", "enter", "l")
    assert "[bold red]x[/]" in screen(player)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "<nil>"),
        (b"plain", "plain"),
        ("ünd".encode(), "ünd"),
        (b"\x00\x1b\xff", r"\x00\x1b\xff"),
        (b"a\nb", r"a\nb"),
    ],
)
def test_payloads_on_one_line(data: bytes, text: str) -> None:
    assert plain_bytes(data, 100) == text


def test_payloads_on_many_lines_keep_their_line_ends_and_are_cut() -> None:
    assert plain_lines(b"ab\ncdef\x1b", 3, 100) == ["ab", "cde", "f\\x", "1b"]
    assert plain_lines(b"x" * 10, 4, 8) == ["xxxx", "xxxx", "... and 2 bytes more"]
    assert plain_lines(b"", 4, 8) == ["<nil>"]


def test_text_is_cut_to_its_cells() -> None:
    for text in ("abc", "日本語", "e\u0301", "x" * 1000, ""):
        for width in range(12):
            assert cell_len(fitted(text, width)) == width
    assert fitted("abcdef", 4) == "abc…"
    assert safe("\x7f\u2028\U000e0001") == r"\x7f\u2028\U000e0001"
    assert [is_editable(data) for data in (b"a\n\tb", b"\r", b"\xff", b"\x1b")] == [
        True,
        False,
        False,
        False,
    ]


# Bars and numbers


@pytest.mark.parametrize(
    ("counts", "largest", "bar"),
    [
        ({}, 10, ""),
        ({"pending": 10}, 10, "pppppppppp"),
        ({"pending": 5}, 10, "ppppp"),
        ({"pending": 1}, 1000, "p"),
        ({"active": 1, "completed": 999}, 1000, "accccccccc"),
        ({"active": 5, "pending": 5}, 10, "aaaaappppp"),
        (dict.fromkeys([s.value for s in TaskState], 1), 7000, "apgsrxc"),
    ],
)
def test_bar_of_a_queue(counts: dict[str, Any], largest: int, bar: str) -> None:
    assert bars.stacked(a_queue(**counts), largest, 10).plain == bar


def test_bar_that_is_too_short_for_all_states_still_fits() -> None:
    counts: dict[str, Any] = dict.fromkeys([s.value for s in TaskState], 5)
    assert bars.stacked(a_queue(**counts), 35, 3).cell_len == 3


@pytest.mark.parametrize(
    ("values", "rows", "chart"),
    [
        ([], 1, ["     "]),
        ([0, 0], 1, ["     "]),
        ([0, 1, 4, 8], 1, ["  ▁▄█"]),
        ([1, 2, 3, 4, 5, 6, 7, 8], 1, ["▄▅▆▇█"]),
        ([0.001, 8], 1, ["   ▁█"]),
        ([4, 8], 2, ["    █", "   ██"]),
    ],
)
def test_chart(values: list[float], rows: int, chart: list[str]) -> None:
    assert bars.sparkline(values, 5, rows) == chart


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (9_999, "9,999"),
        (10_000, "10.0k"),
        (99_949, "99.9k"),
        (99_951, "100k"),
        (999_499, "999k"),
        (999_500, "1.0M"),
        (12_300_000_000, "12.3G"),
        (10**18, "1000000T"),
    ],
)
def test_numbers_in_few_characters(number: int, text: str) -> None:
    assert numbers.short(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0s"),
        (0, "0s"),
        (0.44, "0.4s"),
        (9.94, "9.9s"),
        (9.96, "10s"),
        (59.6, "1m00s"),
        (61, "1m01s"),
        (3599.7, "1h00m"),
        (86_399.9, "1d00h"),
        (90_000, "1d01h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert numbers.duration(timedelta(seconds=seconds)) == text


# Colours


def luminance(color: Color) -> float:
    triplet = color.get_truecolor()
    parts = [value / 255 for value in triplet]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: Color, other: Color) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(("dark", "ground"), [(True, "#121212"), (False, "#e0e0e0")])
def test_text_can_be_read_on_its_background(dark: bool, ground: str) -> None:
    colours = palette(dark)
    for name in ("faint", "error", "warning", "good", "heading"):
        color = getattr(colours, name).color
        assert contrast(color, Color.parse(ground)) >= 4.5, name


def test_letters_of_bars_can_be_read_and_differ() -> None:
    assert len(set(STATE_LETTERS.values())) == len(TaskState)
    for state, style in STATE_STYLES.items():
        assert style.color is not None
        assert style.bgcolor is not None
        assert contrast(style.color, style.bgcolor) >= 4.5, state


def test_screen_without_colours_says_the_same() -> None:
    """What is selected, paused and wrong is said by characters, too."""
    console = Console(no_color=True, width=80, file=None)
    player = a_busy_player().press("k")
    with console.capture() as captured:
        console.print(Text("\n").join(draw(player.state).lines), end="")
    assert "> default   PAUSED" in captured.get()
    assert "[1 Queues]" in captured.get()
    assert player.state.place is Place.QUEUES
