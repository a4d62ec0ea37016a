"""The keys, in one table: what they do and where. Bindings, footer and help are made from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, StrEnum, auto


class Place(StrEnum):
    """Where keys go: a page, or the modal above it."""

    QUEUES = "queues"
    TASKS = "tasks"
    GROUPS = "groups"
    SERVERS = "servers"
    WORKERS = "workers"
    SCHEDULERS = "schedulers"
    EVENTS = "events"
    REDIS = "redis"
    HELP = "help"
    TASK = "task"
    CONFIRM = "confirm"
    FILTER = "filter"
    EDIT = "edit"
    PROGRESS = "progress"


class Command(Enum):
    """What a key asks for."""

    DOWN = auto()
    UP = auto()
    LEFT = auto()
    RIGHT = auto()
    OPEN = auto()
    BACK = auto()
    NEXT_PAGE = auto()
    PREVIOUS_PAGE = auto()
    QUEUES = auto()
    SERVERS = auto()
    WORKERS = auto()
    SCHEDULERS = auto()
    REDIS = auto()
    FILTER = auto()
    RUN = auto()
    ARCHIVE = auto()
    DELETE = auto()
    CANCEL = auto()
    EDIT = auto()
    RUN_ALL = auto()
    ARCHIVE_ALL = auto()
    DELETE_ALL = auto()
    CANCEL_ALL = auto()
    PAUSE = auto()
    READ = auto()
    THEME = auto()
    REDRAW = auto()
    HELP = auto()
    QUIT = auto()
    YES = auto()
    NO = auto()
    APPLY = auto()
    SAVE = auto()
    STOP = auto()


@dataclass(frozen=True, slots=True)
class Key:
    """One line of the table."""

    command: Command
    keys: tuple[str, ...]
    """As Textual names them; a single character is itself."""
    label: str
    """For the footer: a word. Empty: not shown there."""
    help: str
    places: frozenset[Place]

    @property
    def shown(self) -> str:
        """The keys as people know them."""
        return " ".join(_SHOWN.get(key, key) for key in self.keys)


_SHOWN = {
    "down": "↓",
    "up": "↑",
    "left": "←",
    "right": "→",
    "enter": "Enter",
    "escape": "Esc",
    "ctrl+c": "Ctrl+C",
    "ctrl+l": "Ctrl+L",
    "ctrl+r": "Ctrl+R",
    "ctrl+s": "Ctrl+S",
}

TABLES = frozenset(
    {
        Place.QUEUES,
        Place.TASKS,
        Place.GROUPS,
        Place.SERVERS,
        Place.WORKERS,
        Place.SCHEDULERS,
        Place.EVENTS,
    }
)
PAGES = TABLES | {Place.REDIS}
_SCROLLED = frozenset({Place.HELP, Place.TASK})
_QUEUE = frozenset({Place.TASKS, Place.GROUPS})
_TASK = frozenset({Place.TASKS, Place.TASK})
_EVERYWHERE = frozenset(Place)


def _key(command: Command, keys: str, label: str, help: str, places: Iterable[Place]) -> Key:
    return Key(command, tuple(keys.split()), label, help, frozenset(places))


# In the order in which the footer shows what fits. Capitals are for many tasks at once.
KEYS = (
    _key(Command.HELP, "?", "help", "show the keys", PAGES),
    _key(Command.BACK, "escape q", "back", "go back; at last, leave", PAGES),
    _key(Command.BACK, "escape q ?", "close", "close the help", {Place.HELP}),
    _key(Command.BACK, "escape q", "close", "close the task", {Place.TASK}),
    _key(Command.OPEN, "enter", "open", "open what is selected", TABLES),
    _key(Command.FILTER, "/", "filter", "show only some tasks", {Place.TASKS}),
    _key(Command.RUN, "r", "run", "run the task now", _TASK),
    _key(Command.ARCHIVE, "a", "archive", "archive the task", _TASK),
    _key(Command.DELETE, "d", "delete", "delete the task", _TASK),
    _key(Command.CANCEL, "c", "cancel", "cancel the task", _TASK | {Place.WORKERS}),
    _key(Command.EDIT, "e", "edit", "edit the payload", _TASK),
    _key(Command.PAUSE, "P", "pause", "pause, resume the queue", _QUEUE | {Place.QUEUES}),
    _key(Command.RUN_ALL, "R", "run all", "run all, of all pages", _QUEUE),
    _key(Command.ARCHIVE_ALL, "A", "", "archive all", _QUEUE),
    _key(Command.DELETE_ALL, "D", "", "delete all", _QUEUE),
    _key(Command.CANCEL_ALL, "C", "", "cancel all", {Place.TASKS}),
    _key(Command.QUEUES, "1", "", "queues", PAGES),
    _key(Command.SERVERS, "2", "", "servers", PAGES),
    _key(Command.WORKERS, "3", "", "workers: who runs what", PAGES),
    _key(Command.SCHEDULERS, "4", "", "schedulers", PAGES),
    _key(Command.REDIS, "5", "", "Redis", PAGES),
    _key(Command.DOWN, "down j", "", "next line", TABLES | _SCROLLED),
    _key(Command.UP, "up k", "", "previous line", TABLES | _SCROLLED),
    _key(Command.RIGHT, "right l", "", "next state, or of 1 to 5", PAGES),
    _key(Command.LEFT, "left h", "", "previous state", PAGES),
    _key(Command.NEXT_PAGE, "n", "next page", "next page", PAGES),
    _key(Command.PREVIOUS_PAGE, "p", "", "previous page", PAGES),
    _key(Command.READ, "ctrl+r", "", "read anew; search anew", PAGES),
    _key(Command.THEME, "t", "", "dark or light", PAGES),
    _key(Command.YES, "y", "yes", "do it", {Place.CONFIRM}),
    _key(Command.NO, "n escape q", "no", "do nothing", {Place.CONFIRM}),
    _key(Command.APPLY, "enter", "apply", "apply the filter", {Place.FILTER}),
    _key(Command.BACK, "escape", "close", "leave the filter as it was", {Place.FILTER}),
    _key(Command.SAVE, "ctrl+s", "save", "write the payload", {Place.EDIT}),
    _key(Command.BACK, "escape", "close", "leave the payload as it was", {Place.EDIT}),
    _key(Command.STOP, "escape q", "stop", "stop; what is done is done", {Place.PROGRESS}),
    _key(Command.REDRAW, "ctrl+l", "", "draw the screen anew", _EVERYWHERE),
    _key(Command.QUIT, "ctrl+c", "quit", "quit", _EVERYWHERE),
)

_BY_PLACE = {
    place: {name: key for key in KEYS if place in key.places for name in key.keys}
    for place in Place
}


def command_of(place: Place, name: str) -> Command | None:
    """What a key asks for at a place; None if nothing."""
    key = _BY_PLACE[place].get(name)
    return key.command if key else None


def keys_at(place: Place) -> list[Key]:
    """The lines of the table that hold at a place."""
    return [key for key in KEYS if place in key.places]


def names() -> list[str]:
    """Every key that is bound anywhere, once."""
    return list(dict.fromkeys(name for key in KEYS for name in key.keys))
