"""`asyncq stats`: the flags."""

from __future__ import annotations

from typing import Annotated

import typer

from .common import Common, operator_command

Watch = Annotated[
    bool, typer.Option("--watch", "-w", help="Show it again and again, until Ctrl-C.")
]
Every = Annotated[float, typer.Option(metavar="SECONDS", min=0.1, help="How often, with --watch.")]


@operator_command
def stats(common: Common, watch: Watch = False, every: Every = 2) -> None:
    """Tasks by state and by queue, what was done today, and Redis.

    With --watch also how many tasks a second each queue gets done.
    """
    from .overview import show_stats, watch_stats  # noqa: PLC0415 - `asyncq --help` does without

    if watch:
        common.run(watch_stats, every)
    else:
        common.run(show_stats)
