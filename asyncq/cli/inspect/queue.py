"""`asyncq queue ...`: the flags."""

from __future__ import annotations

from typing import Annotated

import typer

from .common import Common, operator_command
from .flags import Queues, Yes

Names = Annotated[bool, typer.Option("--names", help="Print only names, one a line.")]
Days = Annotated[
    int, typer.Option("--days", "-x", metavar="N", min=1, max=36_500, help="How many.")
]
Force = Annotated[
    bool, typer.Option("--force", "-f", help="Delete tasks with it that have not been completed.")
]


@operator_command
def ls(common: Common, names: Names = False) -> None:
    """List all queues: sizes, latency, whether paused, what was done today (UTC).

    In a Redis Cluster also the slot of each queue, and the nodes that have it.
    """
    from .queues import list_queues  # noqa: PLC0415 - `asyncq --help` does without

    common.run(list_queues, names_only=names)


@operator_command
def inspect(common: Common, queue: Queues) -> None:
    """Show queues in detail, who works on them, and what may hold them up."""
    from .queues import inspect_queues  # noqa: PLC0415

    common.run(inspect_queues, queue)


@operator_command
def history(common: Common, queue: Queues, days: Days = 10) -> None:
    """Show what queues did on each of the last days (UTC)."""
    from .queues import show_history  # noqa: PLC0415

    common.run(show_history, queue, days)


@operator_command
def pause(common: Common, queue: Queues) -> None:
    """Have no more tasks of queues taken. Those that run go on."""
    from .queues import pause_queues  # noqa: PLC0415

    common.run(pause_queues, queue)


@operator_command
def resume(common: Common, queue: Queues) -> None:
    """Have tasks of paused queues taken again."""
    from .queues import resume_queues  # noqa: PLC0415

    common.run(resume_queues, queue)


@operator_command
def rm(common: Common, queue: Queues, force: Force = False, yes: Yes = False) -> None:
    """Delete queues and everything of them, statistics too.

    A queue with tasks needs --force; one with running tasks is refused. Stop its producers first,
    for what is enqueued makes it anew.
    """
    from .queues import remove_queues  # noqa: PLC0415

    common.run(remove_queues, queue, force=force, yes=yes)
