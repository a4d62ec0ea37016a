"""`asyncq task enqueue` and `asyncq task edit`: the flags."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ..failure import CommandError
from .common import Common, operator_command
from .flags import AnyQueue, not_blank

_OPTIONS = "Options of the task"

TypeName = Annotated[
    str,
    typer.Option(
        "--type", "-t", "--type-name", "--type_name", metavar="TYPE", callback=not_blank,
        help="Its type.",
    ),
]  # fmt: skip
Payload = Annotated[
    str | None,
    typer.Option(
        "--payload", "-l", metavar="TEXT|@FILE|-",
        help="Its payload, as it is: the text, what is in the file, or what is piped in.",
    ),
]  # fmt: skip
JsonPayload = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT|@FILE|-", help="The same, but refused if it is not JSON."
    ),
]  # fmt: skip
Header = Annotated[
    list[str],
    typer.Option("--header", "-H", metavar="NAME=VALUE", help="A header. Repeat it for more."),
]
Queue = Annotated[
    str | None,
    typer.Option(
        "--queue", "-q", metavar="QUEUE", envvar="ASYNCQ_QUEUE", callback=not_blank,
        show_default="default", rich_help_panel=_OPTIONS, help="The queue.",
    ),
]  # fmt: skip
NewId = Annotated[
    str | None,
    typer.Option(
        "--id", "-i", metavar="ID", callback=not_blank, rich_help_panel=_OPTIONS,
        show_default="a random one", help="Its id; refused if a task with it exists.",
    ),
]  # fmt: skip
Retry = Annotated[
    int | None,
    typer.Option(
        "--retry", "--max-retry", metavar="N", min=0, rich_help_panel=_OPTIONS, show_default="25",
        help="How often it is retried before it is archived.",
    ),
]  # fmt: skip
Timeout = Annotated[
    str | None,
    typer.Option(
        metavar="DURATION", rich_help_panel=_OPTIONS, show_default="30m",
        help="How long one attempt may take: 90s, 1h30m, 7d.",
    ),
]  # fmt: skip
Deadline = Annotated[
    str | None,
    typer.Option(
        metavar="TIME", rich_help_panel=_OPTIONS,
        help="After it no attempt may run: 2026-11-21T16:00:00Z.",
    ),
]  # fmt: skip
Unique = Annotated[
    str | None,
    typer.Option(
        metavar="DURATION", rich_help_panel=_OPTIONS,
        help="How long no second one with this queue, type and payload may be enqueued.",
    ),
]  # fmt: skip
UniqueKey = Annotated[
    str | None,
    typer.Option(
        "--unique-key", metavar="TEXT", rich_help_panel=_OPTIONS,
        help="What --unique compares in place of the payload.",
    ),
]  # fmt: skip
ProcessAt = Annotated[
    str | None,
    typer.Option(
        "--process-at", "--process_at", metavar="TIME", rich_help_panel=_OPTIONS,
        help="Not to be run before.",
    ),
]  # fmt: skip
ProcessIn = Annotated[
    str | None,
    typer.Option(
        "--process-in", "--process_in", metavar="DURATION", rich_help_panel=_OPTIONS,
        help="Not to be run before so much time has passed.",
    ),
]  # fmt: skip
Retention = Annotated[
    str | None,
    typer.Option(
        metavar="DURATION", rich_help_panel=_OPTIONS, show_default="0",
        help="How long it and its result are kept after its success.",
    ),
]  # fmt: skip
Group = Annotated[
    str | None,
    typer.Option(
        "--group", "-g", metavar="GROUP", callback=not_blank, rich_help_panel=_OPTIONS,
        help="The group in which it waits to be aggregated.",
    ),
]  # fmt: skip


@operator_command
def enqueue(
    common: Common,
    type: TypeName,
    payload: Payload = None,
    json_payload: JsonPayload = None,
    header: Header = [],  # noqa: B006 - typer reads the default, and nobody changes it
    queue: Queue = None,
    id: NewId = None,
    retry: Retry = None,
    timeout: Timeout = None,
    deadline: Deadline = None,
    unique: Unique = None,
    unique_key: UniqueKey = None,
    process_at: ProcessAt = None,
    process_in: ProcessIn = None,
    retention: Retention = None,
    group: Group = None,
) -> None:
    """Enqueue a task by hand."""
    from . import values  # noqa: PLC0415 - `asyncq --help` does without
    from .sending import enqueue_task  # noqa: PLC0415

    spans = {
        "timeout": timeout, "unique": unique, "process_in": process_in, "retention": retention
    }  # fmt: skip
    moments = {"deadline": deadline, "process_at": process_at}
    options: dict[str, Any] = {
        "queue": queue, "task_id": id, "max_retry": retry, "unique_key": unique_key, "group": group
    }  # fmt: skip
    options |= {name: text and values.duration(text) for name, text in spans.items()}
    options |= {name: text and values.moment(text) for name, text in moments.items()}
    common.run(
        enqueue_task,
        type,
        values.payload(payload, json_payload),
        values.headers(header),
        {name: value for name, value in options.items() if value is not None},
    )


@operator_command
def edit(
    common: Common,
    id: Annotated[
        str | None, typer.Argument(metavar="[ID]", callback=not_blank, help="Its id.")
    ] = None,
    queue: AnyQueue = None,
    id_option: Annotated[
        str | None, typer.Option("--id", "-i", metavar="ID", callback=not_blank, help="As ID.")
    ] = None,
    payload: Payload = None,
    json_payload: JsonPayload = None,
) -> None:
    """Replace the payload of a task that waits or is archived, by flags or in your $EDITOR.

    All else of it stays, its uniqueness lock too.
    """
    from . import values  # noqa: PLC0415
    from .acting import edit_payload  # noqa: PLC0415

    task_id = id or id_option
    if task_id is None:
        raise CommandError("say which task: its id, as an argument or with --id")
    common.run(edit_payload, queue, task_id, values.payload(payload, json_payload))
