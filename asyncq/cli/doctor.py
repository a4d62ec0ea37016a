"""`asyncq doctor`: the flags."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from .failure import CommandError
from .worker import ConnectTimeout, Dev

RoleName = Literal["producer", "worker", "scheduler", "inspector", "doctor"]

Redis = Annotated[
    str | None,
    typer.Option(
        "--redis",
        "-r",
        metavar="URL",
        rich_help_panel="Redis",
        help="Where Redis is. Without it: ASYNCQ_REDIS_URL, then REDIS_URL.",
    ),
]
Fix = Annotated[
    bool,
    typer.Option("--fix", help="Put right what can be. No task that could still run is deleted."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, for machines.")]
Acl = Annotated[
    RoleName | None,
    typer.Option(
        metavar="ROLE",
        help="Print the rights that a user of Redis needs for a role, and do nothing else:"
        " producer, worker, scheduler, inspector or doctor.",
    ),
]
Queue = Annotated[
    list[str],
    typer.Option(
        "--queue",
        "-q",
        metavar="NAME",
        help="With --acl: only for this queue. Repeat it for more.",
    ),
]


def doctor(
    redis: Redis = None,
    fix: Fix = False,
    json: Json = False,
    acl: Acl = None,
    queue: Queue = [],  # noqa: B006 - typer reads the default, and nobody changes it
    dev: Dev = False,
    connect_timeout: ConnectTimeout = 5,
) -> None:
    """Check a live Redis, and say what is wrong with it.

    Looks at settings that endanger tasks, at every key of every queue, and at who works on them,
    and says of each finding what comes of it and what to do. It changes nothing unless told to,
    and never holds up Redis: workers may be at work.

    Exit status: 0 nothing has to be done, 1 the doctor failed, 2 wrong flags, 3 there are findings
    that somebody has to see to, 69 no Redis.
    """
    from .examining import ExaminationSettings, print_rule, run_doctor  # noqa: PLC0415

    if dev and redis is not None:
        raise CommandError("--dev and --redis both say where Redis is; give one of them")
    if queue and acl is None:
        raise CommandError("--queue says for which queues --acl gives rights; give --acl as well")
    if acl is not None:
        if fix or json:
            raise CommandError("--acl prints a rule and does nothing else; leave --fix and --json")
        print_rule(acl, queue)
        return
    settings = ExaminationSettings(
        redis="embedded://" if dev else redis,
        fix=fix,
        json=json,
        connect_timeout=connect_timeout,
    )
    raise typer.Exit(run_doctor(settings))
