"""`asyncq task runall|archiveall|deleteall`: the flags."""

from __future__ import annotations

from typing import Annotated

import typer

from .common import Common, operator_command
from .flags import ErrorContains, Group, PayloadContains, Queue, State, Type, Yes
from .nearest import ARCHIVABLE, DELETABLE, RUNNABLE, state_name

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only count the tasks that are meant.")]


@operator_command
def runall(
    common: Common,
    queue: Queue,
    state: State,
    group: Group = None,
    type: Type = None,
    payload_contains: PayloadContains = None,
    error_contains: ErrorContains = None,
    dry_run: DryRun = False,
) -> None:
    """Make all tasks in a state pending now, or those that are meant."""
    from .listing import Listing  # noqa: PLC0415 - `asyncq --help` does without
    from .many import act_on_all  # noqa: PLC0415

    name = state_name(state, RUNNABLE)
    listing = Listing.checked(queue, name, group, type, payload_contains, error_contains)
    common.run(act_on_all, "run", listing, dry_run=dry_run, yes=True)


@operator_command
def archiveall(
    common: Common,
    queue: Queue,
    state: State,
    group: Group = None,
    type: Type = None,
    payload_contains: PayloadContains = None,
    error_contains: ErrorContains = None,
    dry_run: DryRun = False,
) -> None:
    """Archive all tasks in a state, or those that are meant."""
    from .listing import Listing  # noqa: PLC0415
    from .many import act_on_all  # noqa: PLC0415

    name = state_name(state, ARCHIVABLE)
    listing = Listing.checked(queue, name, group, type, payload_contains, error_contains)
    common.run(act_on_all, "archive", listing, dry_run=dry_run, yes=True)


@operator_command
def deleteall(
    common: Common,
    queue: Queue,
    state: State,
    group: Group = None,
    type: Type = None,
    payload_contains: PayloadContains = None,
    error_contains: ErrorContains = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Delete all tasks in a state, or those that are meant."""
    from .listing import Listing  # noqa: PLC0415
    from .many import act_on_all  # noqa: PLC0415

    name = state_name(state, DELETABLE)
    listing = Listing.checked(queue, name, group, type, payload_contains, error_contains)
    common.run(act_on_all, "delete", listing, dry_run=dry_run, yes=yes)
