"""`asyncq cron ...`: the flags."""

from __future__ import annotations

from typing import Annotated

import typer

from .common import Common, operator_command
from .flags import Page, Size, none_blank

Entries = Annotated[
    list[str],
    typer.Argument(
        metavar="ENTRY...",
        callback=none_blank,
        help="Names of entries, their ids, or the first eight characters of these.",
    ),
]


@operator_command
def ls(common: Common) -> None:
    """List what live schedulers enqueue, and when next."""
    from .entries import list_entries  # noqa: PLC0415 - `asyncq --help` does without

    common.run(list_entries)


@operator_command
def history(common: Common, entry: Entries, page: Page = 1, size: Size = 30) -> None:
    """Show what was enqueued for entries, newest first."""
    from .entries import show_history  # noqa: PLC0415

    common.run(show_history, entry, page, size)
