"""`asyncq task ...` on single tasks and lists of them: the flags."""

from __future__ import annotations

from typing import Annotated

import typer

from ..failure import CommandError
from .common import Common, operator_command
from .flags import (
    AnyQueue,
    ErrorContains,
    Group,
    IdOptions,
    Ids,
    Page,
    PayloadContains,
    Queue,
    Size,
    State,
    Type,
    Yes,
)
from .nearest import state_name

All = Annotated[bool, typer.Option("--all", help="All pages.")]
Follow = Annotated[
    bool,
    typer.Option("--follow", help="Print tasks as they come into the state, until Ctrl-C."),
]
Every = Annotated[float, typer.Option(metavar="SECONDS", min=0.1, help="How often --follow looks.")]
RawPayload = Annotated[
    bool, typer.Option("--raw-payload", help="Write the bytes of the payload and nothing else.")
]
RawResult = Annotated[
    bool, typer.Option("--raw-result", help="Write the bytes of the result and nothing else.")
]
Archive = Annotated[
    bool,
    typer.Option(
        "--archive", help="Wait until it has stopped, and archive it, so that it is not retried."
    ),
]
Wait = Annotated[
    float, typer.Option(metavar="SECONDS", min=0, help="How long --archive waits at most.")
]


def ids_of(arguments: list[str], options: list[str]) -> list[str]:
    """The ids that were given either way. Raises `CommandError` if there are none."""
    ids = [*arguments, *options]
    if not ids:
        raise CommandError("say which task: its id, as an argument or with --id")
    return ids


@operator_command
def ls(
    common: Common,
    queue: Queue,
    state: State,
    group: Group = None,
    type: Type = None,
    payload_contains: PayloadContains = None,
    error_contains: ErrorContains = None,
    page: Page = 1,
    size: Size = 30,
    all: All = False,
    follow: Follow = False,
    every: Every = 1,
) -> None:
    """List the tasks of a queue that are in a state.

    Pending: next to run first; active: longest active first; scheduled and retry: soonest first;
    archived: oldest first; completed: soonest to expire first; aggregating: oldest first.
    """
    from .listing import Listing, list_tasks  # noqa: PLC0415 - `asyncq --help` does without

    if follow and (all or page != 1):
        raise CommandError("--follow shows what comes; --all and --page show what is there")
    listing = Listing.checked(
        queue, state_name(state), group, type, payload_contains, error_contains
    )
    if follow:
        from .following import follow_tasks  # noqa: PLC0415

        common.run(follow_tasks, listing, every)
    else:
        common.run(list_tasks, listing, page, None if all else size)


@operator_command
def inspect(
    common: Common,
    id: Ids = [],  # noqa: B006 - typer reads the default, and nobody changes it
    queue: AnyQueue = None,
    id_option: IdOptions = [],  # noqa: B006 - as above
    raw_payload: RawPayload = False,
    raw_result: RawResult = False,
) -> None:
    """Show all that is known of tasks."""
    from .details import inspect_tasks, write_raw  # noqa: PLC0415

    ids = ids_of(id, id_option)
    if not (raw_payload or raw_result):
        common.run(inspect_tasks, queue, ids)
    if len(ids) > 1 or (raw_payload and raw_result) or common.json:
        raise CommandError("--raw-payload and --raw-result write one thing of one task")
    common.run(write_raw, queue, ids[0], result=raw_result)


@operator_command
def cancel(
    common: Common,
    id: Ids = [],  # noqa: B006 - as above
    id_option: IdOptions = [],  # noqa: B006 - as above
    archive: Archive = False,
    wait: Wait = 30,
) -> None:
    """Ask the workers of running tasks to stop them.

    The attempt fails, and the task is retried like any that failed, unless --archive is given.
    """
    from .acting import cancel_tasks  # noqa: PLC0415

    common.run(cancel_tasks, ids_of(id, id_option), archive=archive, wait=wait)


@operator_command
def run(
    common: Common,
    id: Ids = [],  # noqa: B006 - as above
    queue: AnyQueue = None,
    id_option: IdOptions = [],  # noqa: B006 - as above
) -> None:
    """Make waiting, archived or completed tasks pending now."""
    from .acting import run_tasks  # noqa: PLC0415

    common.run(run_tasks, queue, ids_of(id, id_option))


@operator_command
def archive(
    common: Common,
    id: Ids = [],  # noqa: B006 - as above
    queue: AnyQueue = None,
    id_option: IdOptions = [],  # noqa: B006 - as above
) -> None:
    """Keep tasks and do not run them."""
    from .acting import archive_tasks  # noqa: PLC0415

    common.run(archive_tasks, queue, ids_of(id, id_option))


@operator_command
def delete(
    common: Common,
    id: Ids = [],  # noqa: B006 - as above
    queue: AnyQueue = None,
    id_option: IdOptions = [],  # noqa: B006 - as above
    yes: Yes = False,
) -> None:
    """Delete tasks that do not run, and give up their uniqueness locks."""
    from .acting import delete_tasks  # noqa: PLC0415

    common.run(delete_tasks, queue, ids_of(id, id_option), yes=yes)
