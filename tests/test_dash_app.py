"""The dashboard itself, by its keys and its screen, on a real Redis; the terminal is Textual's
Pilot. `test_dash_terminal` drives it in a real one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from placed import put
from redis_servers import RedisServer
from textual.pilot import Pilot
from waiting import until

from asyncq import Inspector
from asyncq.dash.app import Dash
from asyncq.dash.keys import Place, names

REFRESH_S = 0.2


class Screen:
    """What is on the screen of a dashboard, and its keys."""

    def __init__(self, pilot: Pilot[None], app: Dash) -> None:
        self.pilot = pilot
        self.app = app

    @property
    def lines(self) -> list[str]:
        strips = self.app.screen._compositor.render_strips()
        return [strip.text.rstrip() for strip in strips]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)

    async def type(self, text: str) -> None:
        await self.press(*("space" if character == " " else character for character in text))

    async def shows(self, *texts: str) -> None:
        """Wait until all of these are to be seen."""
        await until(lambda: all(text in self.text for text in texts), lambda: self.text)

    async def shows_no(self, text: str) -> None:
        """Wait until this is not to be seen."""
        await until(lambda: text not in self.text, lambda: self.text)

    async def at(self, place: Place) -> None:
        """Wait until keys go there."""
        await until(lambda: self.app.state.place is place, lambda: self.text)


@pytest.fixture
def server(start_redis: Callable[..., RedisServer], monkeypatch: pytest.MonkeyPatch) -> RedisServer:
    """A server of one's own: the dashboard shows all queues there are."""
    monkeypatch.setenv("NO_COLOR", "1")  # Textual takes it out of the environment for good
    return start_redis(persistent=True)


@asynccontextmanager
async def dashboard(
    server: RedisServer, size: tuple[int, int] = (80, 24), *, dark: bool = True
) -> AsyncGenerator[Screen]:
    """A dashboard on its first page."""
    async with Inspector(server.url) as inspector:
        app = Dash(inspector, refresh_s=REFRESH_S, dark=dark)
        async with app.run_test(size=size) as pilot:
            screen = Screen(pilot, app)
            await screen.shows("[1 Queues]", "as of ")
            yield screen


async def fill(server: RedisServer) -> None:
    async with server.client() as redis:
        await put(redis, "default", "pending", ["p1"])
        await put(
            redis,
            "default",
            "retry",
            [f"r{n:02}" for n in range(20)],
            error_msg="connection refused",
            type="email:deliver",
            payload=b'{"n": 1}',
        )
        await put(redis, "default", "archived", ["x1"], type="image:resize", payload=b"\x00\xff")
        await put(redis, "default", "aggregating", ["g1", "g2"], group="user1")
        await put(redis, "low", "completed", ["c1"])


async def at_retry(screen: Screen) -> None:
    """From the first page to the tasks of `default` that wait for a retry."""
    await screen.shows("default", "low")
    await screen.press("j", "enter", "h", "h", "h")
    await screen.shows("[retry 20]", "connection ref")


async def test_queues_tasks_and_a_task_are_shown(server: RedisServer) -> None:
    await fill(server)
    async with dashboard(server) as screen:
        await screen.shows("Queues: 2   tasks: 25", "default          p", "low              cc 1")
        await at_retry(screen)
        await screen.shows("page 1 of 2   1 to 14 of 20")
        await screen.press("n")
        await screen.shows("page 2 of 2   15 to 20 of 20", "r19")
        await screen.press("j", "enter")
        await screen.shows("Retried", "0 of 25", "connection refused", '{"n": 1}')
        await screen.press("escape", "escape")
        await screen.shows("> default")
        assert [len(line) <= 80 for line in screen.lines] == [True] * 24


async def test_every_page_can_be_reached(server: RedisServer) -> None:
    await fill(server)
    async with dashboard(server) as screen:
        for key, text in (
            ("2", "nobody works on these"),
            ("3", "nothing is running"),
            ("4", "no schedulers"),
            ("5", "Version"),
            ("1", "Queues: 2"),
        ):
            await screen.press(key)
            await screen.shows(text)
        await screen.press("j", "enter", "l", "l")
        await screen.shows("[aggr 2]", "user1")
        await screen.press("j", "enter")
        await screen.shows("group user1", "g1", "g2")
        await screen.press("?")
        await screen.shows("Keys", "archive the task")
        await screen.press("?")
        await screen.shows_no("archive the task")


async def test_larger_terminal_shows_more(server: RedisServer) -> None:
    await fill(server)
    async with dashboard(server) as screen:
        await at_retry(screen)
        await screen.pilot.resize_terminal(140, 40)
        await screen.shows("page 1 of 1   1 to 20 of 20", "Next Process Time", "r19")
        assert len(screen.lines) == 40


async def test_task_is_deleted_after_a_question(server: RedisServer) -> None:
    await fill(server)
    async with dashboard(server) as screen, Inspector(server.url) as inspector:
        await at_retry(screen)
        await screen.press("j", "d")
        await screen.shows("Delete task r00 of queue default?", "This cannot be undone.")
        await screen.press("n")
        await screen.shows_no("This cannot be undone.")
        await screen.press("d", "y")
        await screen.shows("task r00 deleted", "[retry 19]")
        assert (await inspector.queue_info("default")).retry == 19


async def test_all_that_match_a_filter_are_run(server: RedisServer) -> None:
    await fill(server)
    async with server.client() as redis:
        await put(redis, "default", "retry", ["other"], error_msg="disk full")
    async with dashboard(server) as screen, Inspector(server.url) as inspector:
        await screen.shows("default")
        await screen.press("j", "enter", "h", "h", "h", "/")
        await screen.shows("Filter")
        await screen.press("tab", "tab")
        await screen.type("disk full?/q")
        await screen.press("backspace", "backspace", "backspace")
        assert screen.app.state.place is Place.FILTER
        await screen.press("enter")
        await screen.shows("only error 'disk full'", "other")
        await screen.shows_no("r00")
        await screen.press("R")
        await screen.shows("Run all retry tasks of queue default?", "error 'disk full'")
        await screen.press("y")
        await screen.shows("1 task made pending", "none match")
        info = await inspector.queue_info("default")
        assert (info.retry, info.pending) == (20, 2)


async def test_work_on_many_shows_progress_and_can_be_stopped(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(server)
    async with dashboard(server) as screen:

        async def slowly(action: Any, on_progress: Callable[[int], None]) -> None:
            on_progress(7)
            await asyncio.Event().wait()

        monkeypatch.setattr(screen.app._actor, "do", slowly)
        await at_retry(screen)
        await screen.press("D", "y")
        await screen.shows("At work", "7 deleted of 20", "Esc: stop")
        await screen.press("escape")
        await screen.shows("7 tasks deleted, then stopped")
        await screen.shows_no("At work")


async def test_payload_is_edited_and_stays_json(server: RedisServer) -> None:
    await fill(server)
    async with dashboard(server) as screen, Inspector(server.url) as inspector:
        await at_retry(screen)
        await screen.press("j", "e")
        await screen.shows("Ctrl+S: save", '{"n": 1}')
        await screen.press("end", "backspace", "ctrl+s")
        await screen.shows("not JSON")
        await screen.type(', "q": 2}')
        await screen.press("ctrl+s")
        await screen.shows("Replace the payload of task r00")
        await screen.press("y")
        await screen.shows("payload of task r00 written")
        assert (await inspector.task_info("default", "r00")).payload == b'{"n": 1, "q": 2}'


async def test_payload_that_is_no_text_is_not_edited(server: RedisServer) -> None:
    await fill(server)
    async with dashboard(server) as screen:
        await screen.shows("default")
        await screen.press("j", "enter", "h", "h")
        await screen.shows(r"\x00\xff")
        await screen.press("j", "e")
        await screen.shows("! its payload is not text")


async def test_queue_is_paused_and_resumed(server: RedisServer) -> None:
    await fill(server)
    async with dashboard(server) as screen, Inspector(server.url) as inspector:
        await screen.shows("default")
        await screen.press("j", "P", "y")
        await screen.shows("queue default paused", "1 PAUSED")
        assert (await inspector.queue_info("default")).paused
        await screen.press("P")
        await screen.shows("Resume queue default?")
        await screen.press("y")
        await screen.shows("queue default resumed")
        await screen.shows_no("PAUSED")


async def test_what_changes_is_seen_without_a_key(server: RedisServer) -> None:
    await fill(server)
    async with dashboard(server) as screen, server.client() as redis:
        await screen.shows("Queues: 2")
        await put(redis, "another", "pending", ["a"])
        await screen.shows("Queues: 3", "another")


async def test_redis_away_is_said_until_it_is_back(server: RedisServer) -> None:
    await fill(server)
    async with dashboard(server) as screen:
        await screen.shows("default")
        server.kill()
        await screen.shows("! Redis away for")
        await screen.press("j", "enter", "l")  # it stays of use
        await screen.shows("no answer yet")
        server.start()
        await screen.shows_no("Redis away")
        await screen.shows("p1")


async def test_queue_that_is_deleted_while_it_is_shown_is_said_to_be_gone(
    server: RedisServer,
) -> None:
    await fill(server)
    async with dashboard(server) as screen, Inspector(server.url) as inspector:
        await at_retry(screen)
        await inspector.delete_queue("default", force=True)
        await screen.shows("! not read for", "queue 'default' does not exist")
        await screen.press("q")
        await screen.shows("Queues: 1")
        await screen.shows_no("!")


async def test_action_that_fails_says_so(server: RedisServer) -> None:
    await fill(server)
    async with dashboard(server) as screen, Inspector(server.url) as inspector:
        await at_retry(screen)
        await screen.press("j", "d")
        await screen.shows("Delete task r00")
        await inspector.delete_task("default", "r00")
        await screen.press("y")
        await screen.shows("! there is no task 'r00'")


async def test_texts_of_strangers_are_neither_markup_nor_control_characters(
    server: RedisServer,
) -> None:
    async with server.client() as redis:
        await put(
            redis,
            "[red]q[/]",
            "archived",
            ["[bold]x"],
            type="[link=x]y[/] [",
            error_msg="\x1b[2J\x9b \u202e[@click=app.quit]z",
            payload=b"[/] [ ]] \x07",
        )
    async with dashboard(server, size=(140, 40)) as screen:
        await screen.shows("[red]q[/]")
        await screen.press("j", "enter", "h", "h")
        await screen.shows("[bold]x", "[link=x]y[/] [", r"\x1b[2J\x9b \u202e[@click=app.quit]z")
        await screen.shows(r"[/] [ ]] \x07")
        for keys in (["j", "enter"], ["d"], ["n", "escape", "D"]):
            await screen.press(*keys)
            assert all(line.isprintable() for line in screen.lines)
        await screen.shows("Delete all archived tasks of queue [red]q[/]?")


async def test_mouse_selects_and_opens(server: RedisServer) -> None:
    await fill(server)
    async with dashboard(server) as screen:
        await screen.shows("default", "low")
        row = next(n for n, line in enumerate(screen.lines) if line.startswith("  low"))
        await screen.pilot.click(offset=(5, row))
        await screen.shows("> low")
        await screen.pilot.click(offset=(5, row))
        await screen.shows("[active 0]")


async def test_themes_are_for_dark_and_light_backgrounds(server: RedisServer) -> None:
    async with dashboard(server, dark=False) as screen:
        assert screen.app.theme == "textual-light"
        assert not screen.app.current_theme.dark
        await screen.press("t")
        assert screen.app.current_theme.dark


@pytest.mark.parametrize("keys", [["q"], ["escape"], ["ctrl+c"], ["?", "ctrl+c"], ["4", "q", "q"]])
async def test_keys_to_leave(server: RedisServer, keys: list[str]) -> None:
    async with dashboard(server) as screen:
        await screen.press(*keys)
        await until(lambda: not screen.app.is_running or screen.app._exit, "it leaves")
    assert screen.app.return_code == 0


async def test_ctrl_c_leaves_a_form_too(server: RedisServer) -> None:
    await fill(server)
    async with dashboard(server) as screen:
        await at_retry(screen)
        await screen.press("j", "e")
        await screen.at(Place.EDIT)
        await screen.press("ctrl+c")
        await until(lambda: not screen.app.is_running or screen.app._exit, "it leaves")


async def test_no_key_is_bound_twice_in_the_terminal_either(server: RedisServer) -> None:
    async with dashboard(server) as screen:
        bound = screen.app._bindings.key_to_bindings
        assert {len(bindings) for bindings in bound.values()} == {1}
        assert len(bound) == len(names())
