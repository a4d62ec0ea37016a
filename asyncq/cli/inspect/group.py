"""`asyncq group ...`: the flags."""

from __future__ import annotations

from .common import Common, operator_command
from .flags import Queue


@operator_command
def ls(common: Common, queue: Queue) -> None:
    """List the groups of a queue whose tasks wait to be aggregated."""
    from .groups import list_groups  # noqa: PLC0415 - `asyncq --help` does without

    common.run(list_groups, queue)
