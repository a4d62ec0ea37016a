"""`asyncq scheduler TARGET`: the flags."""

from __future__ import annotations

from typing import Annotated

import typer

from .failure import CommandError
from .logs import LogFormat
from .worker import ConnectTimeout, Dev, Format, Level

_REDIS = "Redis"

Target = Annotated[
    str, typer.Argument(metavar="TARGET", help="For example tasks:scheduler, or periodic.toml.")
]
Redis = Annotated[
    str | None,
    typer.Option(
        "--redis",
        "-r",
        metavar="URL",
        rich_help_panel=_REDIS,
        help="Where Redis is, for a file and for what says nothing itself. Without it:"
        " ASYNCQ_REDIS_URL, then REDIS_URL.",
    ),
]


def scheduler(
    target: Target,
    redis: Redis = None,
    dev: Dev = False,
    connect_timeout: ConnectTimeout = 30,
    log_level: Level = None,
    log_format: Format = LogFormat.HUMAN,
) -> None:
    """Enqueue tasks when they are due, until told to stop.

    TARGET is module:attribute: a Scheduler, a PeriodicTaskManager, or a function without arguments
    that returns one of these; or a TOML or YAML file of periodic tasks, which is read again every
    three minutes. The current directory is importable. Run as many as you like: each due time is
    enqueued once.

    Exit status: 0 left as it was told to, 1 the program failed, 2 wrong flags or TARGET, 69 no
    Redis.
    """
    from .scheduling import SchedulerSettings, run_scheduler  # noqa: PLC0415

    if dev and redis is not None:
        raise CommandError("--dev and --redis both say where Redis is; give one of them")
    settings = SchedulerSettings(
        target=target,
        redis="embedded://" if dev else redis,
        connect_timeout=connect_timeout,
        log_level=log_level,
        log_format=log_format,
    )
    raise typer.Exit(run_scheduler(settings))
