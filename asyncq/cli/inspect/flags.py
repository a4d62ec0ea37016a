"""Flags that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

from .nearest import STATES


def not_blank(text: str | None) -> str | None:
    """A name as it was given."""
    if text is not None and not text.strip():
        raise typer.BadParameter("it is blank")
    return text


def none_blank(texts: list[str]) -> list[str]:
    """Names as they were given."""
    for text in texts:
        not_blank(text)
    return texts


def complete_state(incomplete: str) -> list[str]:
    """The states that begin so, for the shell."""
    return [state for state in STATES if state.startswith(incomplete)]


_FILTER = "Which tasks"

Queues = Annotated[
    list[str], typer.Argument(metavar="QUEUE...", callback=none_blank, help="Names of queues.")
]
Queue = Annotated[
    str,
    typer.Option(
        "--queue",
        "-q",
        metavar="QUEUE",
        envvar="ASYNCQ_QUEUE",
        callback=not_blank,
        help="The queue.",
    ),
]
AnyQueue = Annotated[
    str | None,
    typer.Option(
        "--queue",
        "-q",
        metavar="QUEUE",
        envvar="ASYNCQ_QUEUE",
        callback=not_blank,
        help="The queue. Without it the task is looked for in all of them.",
    ),
]
State = Annotated[
    str,
    typer.Option(
        "--state",
        "-s",
        metavar="STATE",
        autocompletion=complete_state,
        help=f"The state: {', '.join(STATES)}.",
    ),
]
Group = Annotated[
    str | None,
    typer.Option(
        "--group", "-g", metavar="GROUP", callback=not_blank, help="The group, if aggregating."
    ),
]
Ids = Annotated[
    list[str],
    typer.Argument(metavar="[ID]...", callback=none_blank, help="Ids of tasks."),
]
IdOptions = Annotated[
    list[str],
    typer.Option("--id", "-i", metavar="ID", callback=none_blank, help="As ID; may be repeated."),
]
Type = Annotated[
    str | None,
    typer.Option(
        "--type",
        metavar="TYPE",
        callback=not_blank,
        rich_help_panel=_FILTER,
        help="Of this type; 'email:*' are all that begin so.",
    ),
]
PayloadContains = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT", rich_help_panel=_FILTER, help="Whose payload has this text in it."
    ),
]
ErrorContains = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT", rich_help_panel=_FILTER, help="Whose last error has this text in it."
    ),
]
Page = Annotated[int, typer.Option(metavar="N", min=1, help="Which page.")]
Size = Annotated[int, typer.Option(metavar="N", min=1, help="How many on a page.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
