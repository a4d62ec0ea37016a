"""What is on the screen, as plain data; what happens to it, and what it asks for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from asyncq import Cursor, TaskFilter, TaskInfo, TaskState, WorkerInfo

from .keys import Command, Place
from .series import Charts
from .snapshot import Request, Snapshot

STATES = (
    TaskState.ACTIVE,
    TaskState.PENDING,
    TaskState.AGGREGATING,
    TaskState.SCHEDULED,
    TaskState.RETRY,
    TaskState.ARCHIVED,
    TaskState.COMPLETED,
)
"""In the order of the tabs."""

MAIN = (Place.QUEUES, Place.SERVERS, Place.WORKERS, Place.SCHEDULERS, Place.REDIS)
"""The pages of the first line, in their order."""

Verb = Literal["run", "archive", "delete", "cancel"]

# What may be done


@dataclass(frozen=True, slots=True)
class OneTask:
    """Act on a task."""

    verb: Verb
    queue: str
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ManyTasks:
    """Act on all tasks of a state that match."""

    verb: Verb
    queue: str
    state: TaskState
    group: str
    filter: TaskFilter | None
    total: int
    """How many are in the state; with a filter, fewer match."""


@dataclass(frozen=True, slots=True)
class SetPaused:
    """Pause a queue, or resume it."""

    queue: str
    paused: bool


@dataclass(frozen=True, slots=True)
class WritePayload:
    """Replace the payload of a task."""

    queue: str
    id: str
    payload: bytes


Action: TypeAlias = OneTask | ManyTasks | SetPaused | WritePayload

# Modals


@dataclass(frozen=True, slots=True)
class HelpModal:
    """The keys of the page below."""

    scroll: int = 0


@dataclass(frozen=True, slots=True)
class TaskModal:
    """One task, in all its detail."""

    queue: str
    id: str
    task: TaskInfo | None
    """None: not read yet, or gone."""
    worker: WorkerInfo | None = None
    """Who runs it, if a server says so."""
    gone: bool = False
    scroll: int = 0


@dataclass(frozen=True, slots=True)
class ConfirmModal:
    """Shall this be done?"""

    action: Action
    back: Modal | None
    """What was open when it was asked for."""


@dataclass(frozen=True, slots=True)
class FilterModal:
    """A form: which tasks to show."""

    type: str = ""
    payload: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class EditModal:
    """A form: the payload of a task."""

    queue: str
    id: str
    text: str
    """As it was read, or last typed in."""
    is_json: bool
    """It was JSON before, so it has to stay JSON."""
    problem: str
    """Why what was typed in is not written."""
    back: Modal | None


@dataclass(frozen=True, slots=True)
class ProgressModal:
    """Work on many tasks under way."""

    action: ManyTasks
    done: int = 0
    stopping: bool = False


Modal: TypeAlias = HelpModal | TaskModal | ConfirmModal | FilterModal | EditModal | ProgressModal

# Pages


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """A page of the tasks that match a filter: how far the search for them is."""

    starts: tuple[Cursor | None, ...] = (None,)
    """Where each page up to this one begins."""
    at: Cursor | None = None
    """Where to go on."""
    found: tuple[TaskInfo, ...] = ()
    looked: int = 0
    done: bool = False
    """The page is full, or there are no more."""
    is_last: bool = False
    """There are no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A page, and where on it somebody is."""

    place: Place
    queue: str = ""
    state: TaskState = TaskState.ACTIVE
    group: str = ""
    server: str = ""
    """Workers: only of the server with this id."""
    entry: str = ""
    page: int = 1
    row: int = 0
    """0 is the line of titles: nothing is selected."""
    selected: str = ""
    """What stands there: selected it stays, wherever it moves."""
    filter: TaskFilter | None = None
    search: Search | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """The last line but one: what became of something."""

    text: str
    is_error: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """All that the screen shows."""

    where: str = ""
    """The address of Redis, without secrets."""
    refresh_s: float = 2.0
    width: int = 80
    height: int = 24
    dark: bool = True
    view: View = field(default_factory=lambda: View(place=Place.QUEUES))
    trail: tuple[View, ...] = ()
    """The pages to go back to, the last one first to be gone to."""
    modal: Modal | None = None
    seen: Snapshot | None = None
    charts: Charts = field(default_factory=Charts)
    notice: Notice | None = None
    trouble: str = ""
    """Why the last look at Redis failed; empty if it did not."""
    is_away: bool = False
    """It failed because Redis could not be reached."""
    troubled_since_s: float = 0.0
    now_s: float = 0.0
    """Of a clock that never goes back."""
    asked: int = 0
    """The number of the last request."""
    is_reading: bool = False
    acting: Action | None = None

    @property
    def place(self) -> Place:
        """Where keys go."""
        return self.view.place if self.modal is None else _PLACES[type(self.modal)]


_PLACES: dict[type, Place] = {
    HelpModal: Place.HELP,
    TaskModal: Place.TASK,
    ConfirmModal: Place.CONFIRM,
    FilterModal: Place.FILTER,
    EditModal: Place.EDIT,
    ProgressModal: Place.PROGRESS,
}

# Events


@dataclass(frozen=True, slots=True)
class Started:
    """The screen is there."""


@dataclass(frozen=True, slots=True)
class Resized:
    """The terminal has this size."""

    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Ticked:
    """It is time to look again."""

    now_s: float


@dataclass(frozen=True, slots=True)
class Pressed:
    """A key."""

    command: Command


@dataclass(frozen=True, slots=True)
class Clicked:
    """The mouse, on a line of the table; 1 is the first."""

    row: int


@dataclass(frozen=True, slots=True)
class FilterTyped:
    """The form of the filter was sent."""

    type: str
    payload: str
    error: str


@dataclass(frozen=True, slots=True)
class PayloadTyped:
    """The form of the payload was sent."""

    text: str


@dataclass(frozen=True, slots=True)
class Arrived:
    """What a request asked for."""

    number: int
    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class Failed:
    """A request was not answered: Redis is away, or refuses, or the queue is gone."""

    number: int
    reason: str
    is_away: bool


@dataclass(frozen=True, slots=True)
class Progressed:
    """So many tasks are done."""

    done: int


@dataclass(frozen=True, slots=True)
class Ended:
    """An action came to its end: with how many tasks, or why not."""

    action: Action
    done: int = 1
    error: str = ""
    stopped: bool = False


Event: TypeAlias = (
    Started
    | Resized
    | Ticked
    | Pressed
    | Clicked
    | FilterTyped
    | PayloadTyped
    | Arrived
    | Failed
    | Progressed
    | Ended
)

# Effects


@dataclass(frozen=True, slots=True)
class Read:
    """Look at Redis; what is being read is of no use any more."""

    request: Request


@dataclass(frozen=True, slots=True)
class Act:
    """Do something."""

    action: Action


@dataclass(frozen=True, slots=True)
class StopActing:
    """Leave the rest of the tasks alone."""


@dataclass(frozen=True, slots=True)
class Redraw:
    """Draw everything anew."""


@dataclass(frozen=True, slots=True)
class Leave:
    """The end."""


Effect: TypeAlias = Read | Act | StopActing | Redraw | Leave
Step: TypeAlias = tuple[State, tuple[Effect, ...]]
