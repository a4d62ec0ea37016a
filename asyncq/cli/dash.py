"""`asyncq dash`: the flags."""

from __future__ import annotations

import importlib.util
import sys
from functools import partial
from typing import Annotated, Literal

import typer

from .failure import CommandError
from .inspect.common import Common, operator_command

_LEAST_REFRESH_S = 0.5
_MOST_REFRESH_S = 3600.0

Refresh = Annotated[
    str,
    typer.Option(
        metavar="DURATION", help="How often to look: 2s, 500ms, 1m. At least half a second."
    ),
]
Theme = Annotated[
    Literal["auto", "dark", "light"],
    typer.Option(
        help="The background. auto: what the terminal says of itself in COLORFGBG, else dark;"
        " t changes it."
    ),
]


@partial(operator_command, json=False)
def dash(common: Common, refresh: Refresh = "2s", theme: Theme = "auto") -> None:
    """Watch queues, tasks, workers and schedulers, live.

    Shows what stands where, what fails and why, who runs what since when; runs, archives, deletes,
    cancels and edits tasks, one or all that match a filter, and pauses queues. ? shows the keys.

    Exit status: 0 left, 1 it failed, 2 wrong flags or no terminal, 69 no Redis.
    """
    refresh_s = seconds(refresh)
    if importlib.util.find_spec("textual") is None:
        raise CommandError("asyncq dash needs Textual: pip install 'asyncq[dash]'")
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise CommandError("asyncq dash needs a terminal; scripts have asyncq stats --json")
    from .dashing import show  # noqa: PLC0415 - it imports Textual

    common.run(show, refresh_s, theme)


def seconds(text: str) -> float:
    """What `--refresh` says. Raises `CommandError`."""
    from ..duration_text import parse_duration  # noqa: PLC0415 - `asyncq --help` does without

    try:
        length = float(text) if text.replace(".", "", 1).isdigit() else parse_duration(text) / 1e9
    except ValueError as error:
        raise CommandError(f"--refresh: {error}") from None
    if not _LEAST_REFRESH_S <= length <= _MOST_REFRESH_S:
        raise CommandError(f"--refresh takes 500ms to 1h, got {text!r}")
    return length
