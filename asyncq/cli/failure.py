"""How a command ends: its exit status, and what it says when it could not do its work."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """The exit statuses of every command; `asyncq worker --help` tells people."""

    OK = 0
    """Done, or left because it was asked to."""
    FAILED = 1
    """The program that was run failed, or something that was asked for could not be done."""
    USAGE = 2
    """The command line or the target cannot be what was meant; to try again is of no use."""
    UNHEALTHY = 3
    """`asyncq doctor` found something that somebody has to see to."""
    NO_REDIS = 69
    """Redis was not reached in time, or refuses; EX_UNAVAILABLE of sysexits.h."""
    BLOCKED = 70
    """A handler blocked the event loop past all bearing; EX_SOFTWARE of sysexits.h."""
    INTERRUPTED = 130
    """Ctrl-C before it was done, as shells have it."""
    BROKEN_PIPE = 141
    """Whoever read what it printed had enough, as shells have it."""


class CommandError(Exception):
    """Ends a command with a message for people and an exit status, without a traceback of ours.

    `traceback` is printed above the message: the frames of the user's own code, if any.
    """

    def __init__(self, message: str, *, status: Exit = Exit.USAGE, traceback: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.traceback = traceback
