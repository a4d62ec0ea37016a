"""`asyncq server ...`: the flags."""

from __future__ import annotations

from typing import Annotated

import typer

from .common import Common, operator_command

Workers = Annotated[
    bool, typer.Option("--workers", "-w", help="Show the tasks that they run instead.")
]


@operator_command
def ls(common: Common, workers: Workers = False) -> None:
    """List the servers that are alive: how busy they are, and which queues they work on."""
    from .servers import list_servers, list_workers  # noqa: PLC0415 - `asyncq --help` does without

    common.run(list_workers if workers else list_servers)
