"""The dashboard's state machine, by data: keys and answers in, what is shown and asked for out."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
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

from asyncq import EnqueueEvent, RedisInfo, TaskFilter, TaskState
from asyncq.dash.items import items, key_of, page_size
from asyncq.dash.keys import KEYS, Command, Place, command_of, keys_at
from asyncq.dash.reading import CHEAP
from asyncq.dash.state import (
    MAIN,
    STATES,
    Clicked,
    ConfirmModal,
    EditModal,
    Ended,
    Failed,
    FilterModal,
    FilterTyped,
    HelpModal,
    ManyTasks,
    OneTask,
    PayloadTyped,
    Progressed,
    ProgressModal,
    Redraw,
    Resized,
    SetPaused,
    State,
    StopActing,
    TaskModal,
    Ticked,
    WritePayload,
)


def a_player(*tasks: Any, **world: Any) -> Player:
    return Player(World(tasks=tasks, **world))


def shown(player: Player) -> list[str]:
    return [key_of(item) for item in items(player.state)]


def at_tasks(state: str, *tasks: Any, **world: Any) -> Player:
    """Somebody who looks at the tasks of one state of the queue `default`."""
    world = world if tasks else {"queues": [a_queue()]}
    player = a_player(*tasks, **world).press("j", "enter")
    return player.press(*"l" * STATES.index(TaskState(state)))


# The table of keys


def test_no_key_is_bound_twice_at_one_place() -> None:
    for place in Place:
        names = [name for key in KEYS if place in key.places for name in key.keys]
        assert sorted(set(names)) == sorted(names), place


def test_every_command_has_a_key_and_a_line_of_help() -> None:
    assert {key.command for key in KEYS} == set(Command)
    assert all(key.help and key.keys and key.places for key in KEYS)


@pytest.mark.parametrize("place", list(Place))
def test_every_key_does_something_wherever_it_is_bound(place: Place) -> None:
    for key in keys_at(place):
        for name in key.keys:
            assert command_of(place, name) is key.command
            for player in players():
                if player.state.place is place and key.command not in _OF_FORMS:
                    player.command(key.command)


_OF_FORMS = {Command.APPLY, Command.SAVE}  # carried by events of their own


def players() -> list[Player]:
    """Somebody at every place."""

    def busy() -> Player:
        return at_tasks("retry", *some_tasks(3, "retry"), a_task("g", "aggregating", group="g"))

    working = {"servers": [a_server(a_worker())], "entries": [an_entry()]}
    return [
        busy(),
        busy().press("j", "enter"),
        busy().press("j", "e"),
        busy().press("/"),
        busy().press("?"),
        busy().press("j", "d"),
        busy().press("R", "y"),
        busy().press("1"),
        busy().press("h"),
        *(a_player(**working).press(*keys) for keys in ("2", "3", "4", "5", ("4", "j", "enter"))),
    ]


# Moving in a table


@pytest.mark.parametrize(
    ("keys", "row"),
    [
        ("", 0),
        ("j", 1),
        ("jj", 2),
        ("jjj", 3),
        ("jjjj", 0),
        ("k", 3),
        ("kk", 2),
        ("jk", 0),
        (("down", "down", "up"), 1),
    ],
)
def test_lines_are_walked_through_in_a_circle(keys: str, row: int) -> None:
    player = a_player(queues=[a_queue("a"), a_queue("b"), a_queue("c")]).press(*keys)
    assert player.state.view.row == row


def test_walking_where_there_is_nothing_selects_nothing() -> None:
    assert a_player().press("j", "j", "k", "enter").state.view.row == 0


@pytest.mark.parametrize(
    ("keys", "state"),
    [
        ("", "active"),
        ("l", "pending"),
        ("ll", "aggregating"),
        ("lllllll", "active"),
        ("h", "completed"),
        (("right", "left"), "active"),
    ],
)
def test_states_are_walked_through_in_a_circle(keys: str, state: str) -> None:
    player = a_player(*some_tasks(1)).press("j", "enter", *keys)
    assert player.state.view.state == state
    assert STATES[0] is TaskState.ACTIVE
    assert STATES[-1] is TaskState.COMPLETED


@pytest.mark.parametrize(
    ("keys", "place"),
    [
        ("2", Place.SERVERS),
        ("3", Place.WORKERS),
        ("4", Place.SCHEDULERS),
        ("5", Place.REDIS),
        ("51", Place.QUEUES),
        ("l", Place.SERVERS),
        ("h", Place.REDIS),
        ("lllll", Place.QUEUES),
    ],
)
def test_main_pages_have_numbers_and_an_order(keys: str, place: Place) -> None:
    assert a_player().press(*keys).state.view.place is place
    assert MAIN[0] is Place.QUEUES


@pytest.mark.parametrize(
    ("keys", "page"), [("", 1), ("n", 2), ("nn", 3), ("nnn", 3), ("nnp", 2), ("p", 1)]
)
def test_pages_end_at_the_first_and_the_last(keys: str, page: int) -> None:
    size = page_size(at_tasks("pending").state)
    player = at_tasks("pending", *some_tasks(2 * size + 1)).press(*keys)
    assert player.state.view.page == page
    first = (page - 1) * size
    assert shown(player) == [f"p{n}" for n in range(2 * size + 1)][first : first + size]


def test_pages_of_what_is_read_whole_are_cut_here() -> None:
    names = [f"q{n:02}" for n in range(20)]
    player = a_player(queues=[a_queue(name) for name in names])
    size = page_size(player.state)
    assert shown(player) == names[:size]
    assert shown(player.press("n")) == names[size : 2 * size]


def test_page_that_is_gone_is_left_for_the_last_there_is() -> None:
    size = page_size(at_tasks("pending").state)
    player = at_tasks("pending", *some_tasks(3 * size)).press("n", "n")
    player.world.tasks = some_tasks(size + 1)
    player.happen(Ticked(1))
    assert player.state.view.page == 2
    assert shown(player) == [f"p{size}"]


def test_what_is_selected_stays_so_when_lines_move() -> None:
    player = at_tasks("pending", *some_tasks(5)).press("j", "j", "j")
    assert player.state.view.selected == "p2"
    player.world.tasks = some_tasks(5)[1:]
    player.happen(Ticked(1))
    assert (player.state.view.row, player.state.view.selected) == (2, "p2")


def test_line_stays_selected_when_what_stood_there_is_gone() -> None:
    player = at_tasks("pending", *some_tasks(3)).press("k")
    player.world.tasks = some_tasks(2)
    player.happen(Ticked(1))
    assert (player.state.view.row, player.state.view.selected) == (2, "p1")


def test_click_selects_and_the_next_one_opens() -> None:
    player = at_tasks("pending", *some_tasks(3))
    player.happen(Clicked(2))
    assert player.state.view.selected == "p1"
    player.happen(Clicked(9))
    player.happen(Clicked(0))
    assert player.state.modal is None
    player.happen(Clicked(2))
    assert player.state.modal == TaskModal("default", "p1", a_task("p1"))


# Opening and going back


def test_nothing_opens_while_nothing_is_selected() -> None:
    player = a_player(queues=[a_queue()]).press("enter")
    assert player.state.view.place is Place.QUEUES


@pytest.mark.parametrize("back", ["escape", "q"])
def test_the_way_back_is_the_way_one_came(back: str) -> None:
    player = a_player(a_task("x", "aggregating", group="g"), queues=[a_queue("a"), a_queue()])
    player.press("k", "enter", "l", "l")
    assert player.state.view.place is Place.GROUPS
    player.press("j", "enter")
    assert (player.state.view.place, player.state.view.group) == (Place.TASKS, "g")
    player.press("j", "enter")
    assert isinstance(player.state.modal, TaskModal)
    player.press(back)
    assert player.state.modal is None
    player.press(back)
    assert (player.state.view.place, player.state.view.selected) == (Place.GROUPS, "g")
    player.press(back)
    assert (player.state.view.place, player.state.view.selected) == (Place.QUEUES, "default")
    assert not player.left
    assert player.press(back).left


def test_another_state_from_inside_a_group_does_not_lead_back_into_the_groups() -> None:
    player = at_tasks("aggregating", a_task("x", "aggregating", group="g")).press("j", "enter")
    player.press("l", "q")
    assert player.state.view.place is Place.QUEUES


def test_main_pages_lead_back_to_the_queues() -> None:
    player = a_player().press("4", "q")
    assert (player.state.view.place, player.left) == (Place.QUEUES, False)


def test_server_opens_to_what_it_runs_longest_first() -> None:
    late = a_worker("late", started=NOW)
    servers = [
        a_server(late, a_worker("early")),
        a_server(a_worker("other", server_id="s2"), id="s2", pid=8),
    ]
    player = a_player(servers=servers).press("2", "j", "enter")
    assert shown(player) == ["default\nearly", "default\nlate"]
    player.press("3")
    assert len(shown(player)) == 3


def test_running_task_opens_from_the_list_of_workers() -> None:
    worker = a_worker("a")
    player = a_player(a_task("a", "active"), servers=[a_server(worker)])
    player.press("3", "j", "enter")
    assert player.state.modal == TaskModal("default", "a", a_task("a", "active"), worker)


def test_scheduler_entry_opens_to_what_it_enqueued_and_that_to_the_task() -> None:
    events = [EnqueueEvent(task_id=f"t{n}", enqueued_at=NOW) for n in range(50)]
    player = a_player(a_task("t0", queue="low"), entries=[an_entry()], events=events)
    player.press("4", "j", "enter")
    assert shown(player)[0] == "t0"
    assert player.asked[-1].entry == "e1"
    player.press("n", "p", "j", "enter")
    assert player.state.modal == TaskModal("low", "t0", a_task("t0", queue="low"))


def test_redis_has_a_page_for_each_of_its_servers() -> None:
    redis = [RedisInfo(where=f"redis://n{n}", values={}) for n in range(3)]
    player = a_player(redis=redis).press("5", "n", "n", "n")
    assert player.state.view.page == 3


def test_task_that_goes_while_it_is_looked_at_is_said_to_be_gone() -> None:
    player = at_tasks("pending", *some_tasks(2)).press("j", "enter")
    player.world.tasks = []
    player.happen(Ticked(1))
    assert player.state.modal == TaskModal("default", "p0", a_task("p0"), gone=True)


def test_help_is_of_the_page_below_and_closes_by_the_key_that_opened_it() -> None:
    player = a_player().press("?")
    assert isinstance(player.state.modal, HelpModal)
    assert player.press("?").state.modal is None


def test_keys_of_the_page_do_nothing_below_a_modal() -> None:
    player = at_tasks("pending", *some_tasks(2)).press("?")
    before = player.state.view
    player.press("l", "h", "n", "2", "/", "d", "P", "t")
    assert player.state.view == before


# Reading


def test_every_look_asks_for_what_the_page_shows() -> None:
    player = a_player(*some_tasks(1))
    player.press("j", "enter", "l", "n", "2")
    assert [(r.place, r.state.value, r.page) for r in player.asked] == [
        (Place.QUEUES, "active", 1),
        (Place.TASKS, "active", 1),
        (Place.TASKS, "pending", 1),
        (Place.SERVERS, "active", 1),
    ]


def test_look_that_takes_longer_than_the_interval_is_waited_for() -> None:
    player = a_player()
    player.is_away = True
    player.happen(Ticked(1))
    count = len(player.asked)
    player.happen(Ticked(2))
    player.happen(Ticked(3))
    assert len(player.asked) == count


def test_answer_to_an_older_question_is_left_alone() -> None:
    player = a_player(queues=[a_queue("a")])
    player.is_away = True
    player.happen(Ticked(1))
    old = player.asked[-1]
    player.press("2")
    player.answer(old)
    assert player.state.is_reading
    player.happen(Failed(old.number, "cut", True))
    assert player.state.trouble == ""


def test_redis_away_is_said_and_what_was_seen_stays_until_it_is_back() -> None:
    player = a_player(queues=[a_queue("a")])
    player.is_away = True
    for now in (10, 12, 14):
        player.happen(Ticked(now))
        player.happen(Failed(player.asked[-1].number, "cannot reach Redis", True))
    assert (player.state.trouble, player.state.troubled_since_s) == ("cannot reach Redis", 10)
    assert shown(player) == ["a"]
    player.is_away = False
    player.happen(Ticked(16))
    assert player.state.trouble == ""


def test_new_size_begins_with_the_first_page() -> None:
    player = at_tasks("pending", *some_tasks(100)).press("n", "j")
    player.happen(Resized(140, 40))
    assert (player.state.view.page, player.state.view.row) == (1, 0)
    assert len(shown(player)) == page_size(player.state) > 13
    asked = len(player.asked)
    player.happen(Resized(200, 40))
    assert len(player.asked) == asked


def test_charts_grow_by_a_look_at_each_interval() -> None:
    player = a_player(queues=[a_queue("a", processed_total=100)])
    for seconds, total in ((2, 120), (2.1, 121), (4, 140)):
        at = NOW + timedelta(seconds=seconds)
        player.world.queues = [a_queue("a", processed_total=total, timestamp=at)]
        player.happen(Ticked(seconds))
    assert player.state.charts.of("a").processed_rates() == [10, 10]
    assert player.state.charts.of("").processed_rates() == [10, 10]


# Filters


ODD = [a_task(f"p{n}", payload=b"odd" if n % 2 else b"even") for n in range(100)]


def filtered(*tasks: Any, looks: int = 20) -> Player:
    player = at_tasks("pending", *tasks, looks=looks).press("/")
    assert isinstance(player.state.modal, FilterModal)
    player.happen(FilterTyped("", "odd", ""))
    return player


def test_filter_shows_only_what_matches_page_by_page() -> None:
    player = filtered(*ODD)
    size = page_size(player.state)
    odd = [f"p{n}" for n in range(1, 100, 2)]
    assert player.state.view.filter == TaskFilter(payload="odd")
    pages = [shown(player)]
    while player.press("n").state.view.page > len(pages):
        pages.append(shown(player))
    assert [key for page in pages for key in page] == odd
    assert len(pages[0]) == size
    assert shown(player.press("p")) == pages[-2]


def test_long_search_shows_what_it_has_and_goes_on_by_itself() -> None:
    needle = a_task("needle", payload=b"odd")
    tasks = [a_task(f"p{n}", payload=b"even") for n in range(3 * CHEAP)]
    player = filtered(needle, *tasks, looks=100)
    assert player.state.view.search is not None
    assert player.state.view.search.done
    assert player.state.view.search.looked == 3 * CHEAP + 1
    assert shown(player) == ["needle"]


def test_long_search_is_repeated_only_when_asked_to() -> None:
    player = filtered(*[a_task(f"p{n}", payload=b"even") for n in range(2 * CHEAP)], looks=500)
    player.happen(Ticked(1))
    assert player.asked[-1].counts_only
    player.world.tasks = [a_task("new", payload=b"odd")]
    player.happen(Ticked(2))
    assert shown(player) == []
    player.press("ctrl+r")
    assert shown(player) == ["new"]


def test_short_search_is_repeated_at_every_look() -> None:
    player = filtered(*ODD[:10])
    player.world.tasks = ODD[:4]
    player.happen(Ticked(1))
    assert shown(player) == ["p1", "p3"]


def test_filter_goes_along_to_other_states_and_is_cleared_by_an_empty_form() -> None:
    player = filtered(*ODD, a_task("s", "scheduled", payload=b"odd")).press("l", "l")
    assert shown(player) == ["s"]
    player.press("/")
    assert player.state.modal == FilterModal("", "odd", "")
    player.happen(FilterTyped("", "", ""))
    assert (player.state.view.filter, player.state.view.search) == (None, None)


def test_filter_form_that_is_left_changes_nothing() -> None:
    player = at_tasks("pending", *ODD).press("/", "escape")
    assert (player.state.modal, player.state.view.filter) == (None, None)


# Acting


@pytest.mark.parametrize(
    ("state", "key", "verb"),
    [
        ("scheduled", "r", "run"),
        ("retry", "r", "run"),
        ("archived", "r", "run"),
        ("completed", "r", "run"),
        ("pending", "a", "archive"),
        ("retry", "a", "archive"),
        ("archived", "d", "delete"),
        ("pending", "d", "delete"),
        ("active", "c", "cancel"),
    ],
)
def test_action_on_a_task_is_done_when_confirmed(state: str, key: str, verb: Any) -> None:
    task = a_task("x", state)
    action = OneTask(verb, "default", "x")
    for keys in (("j", key), ("j", "enter", key)):
        player = at_tasks(state, task).press(*keys)
        assert isinstance(player.state.modal, ConfirmModal)
        assert player.acts == []
        player.press("y")
        assert player.acts == [action]
        assert player.state.acting == action
        player.happen(Ended(action))
        assert player.state.acting is None
        assert player.state.notice is not None
        assert not player.state.notice.is_error


@pytest.mark.parametrize("no", ["n", "escape", "q"])
def test_action_that_is_not_confirmed_is_not_done(no: str) -> None:
    player = at_tasks("pending", a_task("x")).press("j", "enter", "d", no)
    assert player.acts == []
    assert isinstance(player.state.modal, TaskModal)


@pytest.mark.parametrize(
    ("state", "key"),
    [
        ("active", "r"),
        ("active", "a"),
        ("active", "d"),
        ("pending", "r"),
        ("archived", "a"),
        ("pending", "c"),
        ("active", "e"),
        ("completed", "e"),
        ("active", "R"),
        ("pending", "R"),
        ("archived", "A"),
        ("active", "D"),
        ("retry", "C"),
    ],
)
def test_what_a_state_does_not_allow_is_refused_with_a_reason(state: str, key: str) -> None:
    player = at_tasks(state, a_task("x", state)).press("j", key)
    assert player.state.modal is None
    assert player.state.notice is not None
    assert player.state.notice.is_error


@pytest.mark.parametrize("key", ["r", "a", "d", "c", "e"])
def test_action_needs_a_selected_task(key: str) -> None:
    player = at_tasks("pending", *some_tasks(2)).press(key)
    assert player.state.modal is None
    assert player.state.notice is not None


def test_task_asked_about_is_the_one_that_was_selected_even_if_lines_move() -> None:
    player = at_tasks("pending", *some_tasks(3)).press("j", "d")
    player.world.tasks = some_tasks(3)[1:]
    player.happen(Ticked(1))
    player.press("y")
    assert player.acts == [OneTask("delete", "default", "p0")]


def test_running_task_is_cancelled_from_the_list_of_workers() -> None:
    player = a_player(servers=[a_server(a_worker("a"))]).press("3", "j", "c", "y")
    assert player.acts == [OneTask("cancel", "default", "a")]


def test_all_that_match_are_acted_on_with_progress() -> None:
    player = filtered(*ODD).press("D", "y")
    action = ManyTasks(
        verb="delete",
        queue="default",
        state=TaskState.PENDING,
        group="",
        filter=TaskFilter(payload="odd"),
        total=100,
    )
    assert player.acts == [action]
    player.happen(Progressed(30))
    assert player.state.modal == ProgressModal(action, done=30)
    player.happen(Ended(action, 50))
    assert player.state.modal is None
    assert player.state.notice is not None
    assert player.state.notice.text == "50 tasks deleted"


def test_work_on_many_can_be_stopped() -> None:
    player = at_tasks("retry", *some_tasks(5, "retry")).press("R", "y", "escape")
    assert player.others == [StopActing()]
    assert isinstance(player.state.modal, ProgressModal)
    assert player.state.modal.stopping
    player.happen(Ended(player.acts[0], 3, stopped=True))
    assert player.state.notice is not None
    assert player.state.notice.text == "3 tasks made pending, then stopped"


def test_failure_half_way_says_how_far_it_came() -> None:
    player = at_tasks("retry", *some_tasks(5, "retry")).press("A", "y")
    player.happen(Ended(player.acts[0], 1, error="Redis is away"))
    assert player.state.notice is not None
    assert player.state.notice.is_error
    assert player.state.notice.text == "1 task archived, then: Redis is away"


def test_group_is_acted_on_from_the_list_of_groups() -> None:
    tasks = [a_task(f"g{n}", "aggregating", group="g") for n in range(3)]
    player = at_tasks("aggregating", *tasks).press("D")
    assert player.state.notice is not None  # none is selected
    player.press("j", "D", "y")
    (action,) = player.acts
    assert (action.group, action.total, action.state) == ("g", 3, TaskState.AGGREGATING)


def test_only_one_thing_is_done_at_a_time() -> None:
    player = at_tasks("pending", *some_tasks(3)).press("j", "d", "y", "j", "d")
    assert player.state.modal is None
    assert player.state.notice is not None
    assert len(player.acts) == 1


@pytest.mark.parametrize("paused", [False, True])
def test_queue_is_paused_and_resumed_from_both_of_its_pages(paused: bool) -> None:
    queues = [a_queue("a", paused=paused)]
    for keys in (("j", "P"), ("j", "enter", "P")):
        player = a_player(queues=queues).press(*keys, "y")
        assert player.acts == [SetPaused("a", not paused)]
        player.happen(Ended(player.acts[0]))
        assert player.state.notice is not None
        assert player.state.notice.text == f"queue a {'resumed' if paused else 'paused'}"


def test_end_of_an_action_is_followed_by_a_look() -> None:
    player = at_tasks("pending", *some_tasks(3)).press("j", "d", "y")
    asked = len(player.asked)
    player.happen(Ended(player.acts[0], error="it is gone"))
    assert len(player.asked) == asked + 1
    assert player.state.notice is not None
    assert player.state.notice.is_error


# Payloads


def editing(payload: bytes) -> Player:
    return at_tasks("pending", a_task("x", payload=payload)).press("j", "e")


def test_payload_is_edited_and_written_when_confirmed() -> None:
    player = editing(b'{"n": 1}')
    assert player.state.modal == EditModal("default", "x", '{"n": 1}', True, "", None)
    player.happen(PayloadTyped('{"n": 2}'))
    assert isinstance(player.state.modal, ConfirmModal)
    player.press("y")
    assert player.acts == [WritePayload("default", "x", b'{"n": 2}')]
    assert player.state.modal is None


@pytest.mark.parametrize("text", ['{"n": ', "", "nope", "[" * 100_000])
def test_json_stays_json(text: str) -> None:
    player = editing(b'{"n": 1}')
    player.happen(PayloadTyped(text))
    assert isinstance(player.state.modal, EditModal)
    assert "not JSON" in player.state.modal.problem
    assert player.state.modal.text == text


def test_other_text_may_become_any_text() -> None:
    player = editing(b"plain words")
    player.happen(PayloadTyped("ünd mehr"))
    player.press("y")
    assert player.acts[0].payload == "ünd mehr".encode()


def test_question_that_is_denied_leads_back_to_what_was_typed() -> None:
    player = editing(b"words")
    player.happen(PayloadTyped("others"))
    player.press("n")
    assert isinstance(player.state.modal, EditModal)
    assert player.state.modal.text == "others"
    player.press("escape")
    assert player.state.modal is None


@pytest.mark.parametrize("payload", [b"\xff\x00", b"\x1b[2J", "\u202egnp".encode(), b"x" * 70_000])
def test_what_cannot_be_seen_whole_is_not_edited(payload: bytes) -> None:
    player = editing(payload)
    assert player.state.modal is None
    assert player.state.notice is not None


# The rest


def test_theme_redraw_and_quit() -> None:
    player = a_player().press("t")
    assert not player.state.dark
    player.press("ctrl+l")
    assert player.others == [Redraw()]
    for reached in players():
        assert reached.press("ctrl+c").left


def test_notice_stays_until_the_next_key() -> None:
    player = at_tasks("pending", *some_tasks(2)).press("r")
    player.happen(Ticked(1))
    assert player.state.notice is not None
    assert player.press("j").state.notice is None


def test_modal_scrolls_no_further_than_its_text() -> None:
    task = a_task("x", payload=b"line\n" * 100)
    player = at_tasks("pending", task).press("j", "enter", "k")
    assert isinstance(player.state.modal, TaskModal)
    assert player.state.modal.scroll == 0
    player.press(*"j" * 300)
    assert isinstance(player.state.modal, TaskModal)
    assert 0 < player.state.modal.scroll < 120


def test_state_is_data_that_compares() -> None:
    assert State() == State()
    assert replace(State(), width=100) != State()
