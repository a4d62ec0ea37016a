"""The dashboard on a terminal: keys and answers go to the state machine, its states to the screen.

Nothing is decided here. Texts reach Textual as `Text` objects, never as markup.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time

from rich.text import Text
from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.widgets import Input, Static, TextArea
from textual.worker import WorkType

from asyncq import AsyncqError, Inspector, RedisUnavailableError

from .actor import Actor
from .keys import Command, command_of, names
from .machine import step
from .modals import Window, window
from .reader import Reader
from .screen import draw
from .snapshot import Request
from .state import (
    Act,
    Action,
    Arrived,
    Clicked,
    EditModal,
    Effect,
    Ended,
    Event,
    Failed,
    FilterModal,
    FilterTyped,
    Leave,
    PayloadTyped,
    Pressed,
    Progressed,
    Read,
    Redraw,
    Resized,
    Started,
    State,
    StopActing,
    Ticked,
)

_PROGRESS_EVERY_S = 0.1
_FIELDS = ("type", "payload", "error")
_LABELS = {
    "type": "Type, * at the end: all that begin so",
    "payload": "Payload contains",
    "error": "Error contains",
}
_FRAME = 2
"""What the frame around a window takes of its height, and of its width."""


async def run_dash(inspector: Inspector, *, refresh_s: float, dark: bool) -> int:
    """Shows the dashboard until somebody leaves it; the exit status. TERM leaves it, too."""
    app = Dash(inspector, refresh_s=refresh_s, dark=dark)
    loop = asyncio.get_running_loop()
    if sys.platform != "win32":
        loop.add_signal_handler(signal.SIGTERM, app.exit)
    await app.run_async()
    return app.return_code or 0


class Dash(App[None], inherit_bindings=False):
    """The dashboard over an inspector, which it does not close."""

    AUTO_FOCUS = None
    ALLOW_SELECT = False
    ENABLE_COMMAND_PALETTE = False
    BINDINGS = [  # noqa: RUF012 - a class variable of Textual's
        Binding(name, f"press({name!r})", show=False, priority=name == "ctrl+c") for name in names()
    ]
    CSS = """
    Screen { layers: page above; overflow: hidden; }
    #page { layer: page; width: 100%; height: 100%; text-wrap: nowrap; }
    #window { layer: above; display: none; border: round $foreground; background: $background; }
    #text { text-wrap: nowrap; height: auto; }
    #window Input, #window TextArea { display: none; }
    #window.filter Input { display: block; }
    #window.edit TextArea { display: block; height: 1fr; }
    """

    def __init__(self, inspector: Inspector, *, refresh_s: float, dark: bool) -> None:
        super().__init__()
        self.state = State(where=inspector.where, refresh_s=refresh_s, dark=dark)
        self._reader = Reader(inspector)
        self._actor = Actor(inspector)
        self._filled: type | None = None
        self._done = 0
        self._told_at = 0.0

    def compose(self) -> ComposeResult:
        """The page, and a window above it."""
        yield Static(id="page", markup=False)
        with Vertical(id="window"):
            yield Static(id="text", markup=False)
            for name in _FIELDS:
                yield Input(id=name, placeholder=_LABELS[name])
            yield TextArea(id="payload-text", soft_wrap=True)

    # Events in

    def on_mount(self) -> None:
        """Textual's: the screen is there."""
        self.happen(Resized(self.size.width, self.size.height))
        self.happen(Started())
        self.set_interval(self.state.refresh_s, self._tick)

    def on_resize(self, event: events.Resize) -> None:
        """Textual's: the terminal has another size."""
        self.happen(Resized(event.size.width, event.size.height))

    def on_click(self, event: events.Click) -> None:
        """Textual's: the mouse."""
        self.happen(Clicked(event.screen_y - draw(self.state).first_row + 1))

    def on_input_submitted(self) -> None:
        """Textual's: Enter in a field, which keeps that key to itself."""
        self.action_press("enter")

    def action_press(self, name: str) -> None:
        """A key that is bound somewhere."""
        command = command_of(self.state.place, name)
        if command is Command.APPLY:
            self.happen(FilterTyped(*(self.query_one(f"#{f}", Input).value for f in _FIELDS)))
        elif command is Command.SAVE:
            self.happen(PayloadTyped(self.query_one("#payload-text", TextArea).text))
        elif command is not None:
            self.happen(Pressed(command))

    def _tick(self) -> None:
        self.happen(Ticked(time.monotonic()))

    def happen(self, event: Event) -> None:
        """Let the state machine know, show what comes of it, and do what it asks for."""
        if not self.query("#page"):
            return  # timers go on for a moment when the screen is gone
        self.state, effects = step(self.state, event)
        self._show()
        for effect in effects:
            self._carry_out(effect)

    # Effects out

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Read():
                self._read(effect.request)
            case Act():
                self._act(effect.action)
            case StopActing():
                self.workers.cancel_group(self, "act")
            case Redraw():
                self.refresh()
            case Leave():
                self.exit()

    def _read(self, request: Request) -> None:
        async def read() -> None:
            try:
                snapshot = await self._reader.read(request)
            except RedisUnavailableError as error:  # where it is stands on the page anyway
                self.happen(Failed(request.number, error.reason, is_away=True))
            except AsyncqError as error:
                self.happen(Failed(request.number, str(error), is_away=False))
            else:
                self.happen(Arrived(request.number, snapshot))

        work: WorkType[None] = read
        self.run_worker(work, group="read", exclusive=True)

    def _act(self, action: Action) -> None:
        async def act() -> None:
            self._done = 0
            try:
                ended = await self._actor.do(action, self._progress)
            except asyncio.CancelledError:
                self.happen(Ended(action, self._done, stopped=True))
                raise
            self.happen(ended)

        work: WorkType[None] = act
        self.run_worker(work, group="act")

    def _progress(self, done: int) -> None:
        self._done = done
        now = time.monotonic()
        if now - self._told_at >= _PROGRESS_EVERY_S:
            self._told_at = now
            self.happen(Progressed(done))

    # The screen

    def _show(self) -> None:
        theme = "textual-dark" if self.state.dark else "textual-light"
        if self.theme != theme:
            self.theme = theme
        self.query_one("#page", Static).update(Text("\n").join(draw(self.state).lines))
        self._show_window(window(self.state))

    def _show_window(self, shown: Window | None) -> None:
        modal = self.state.modal
        box = self.query_one("#window", Vertical)
        box.display = shown is not None
        box.set_class(isinstance(modal, FilterModal), "filter")
        box.set_class(isinstance(modal, EditModal), "edit")
        if shown is not None:
            box.border_title = shown.title
            self.query_one("#text", Static).update(Text("\n").join(shown.lines))
            self._place(box, shown)
        self._fill_form()

    def _place(self, box: Vertical, shown: Window) -> None:
        """In the middle."""
        height = shown.height
        if isinstance(self.state.modal, FilterModal):
            height += 3 * len(_FIELDS)
        elif isinstance(self.state.modal, EditModal):
            height = self.state.height - 6
        width = shown.width + _FRAME + 2
        height = min(height + _FRAME, self.state.height)
        box.styles.width, box.styles.height = width, height
        box.styles.offset = (
            max(0, (self.state.width - width) // 2),
            max(0, (self.state.height - height) // 2),
        )

    def _fill_form(self) -> None:
        """A form that has just been opened shows what is there, and gets the keys."""
        modal = self.state.modal
        if type(modal) is self._filled:
            return
        self._filled = type(modal)
        if isinstance(modal, FilterModal):
            for name in _FIELDS:
                self.query_one(f"#{name}", Input).value = getattr(modal, name)
            self.query_one("#type", Input).focus()
        elif isinstance(modal, EditModal):
            area = self.query_one("#payload-text", TextArea)
            area.load_text(modal.text)
            area.focus()
        else:
            self.screen.set_focus(None)
