"""`asyncq worker TARGET`: the flags, and which of the ways to run they ask for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .failure import CommandError
from .logs import LogFormat, LogLevel

_REDIS = "Redis"
_LOGS = "Logs"
_PROCESSES = "Processes"
_MONITORING = "Monitoring"


def _parse_queue(text: str) -> tuple[str, int]:
    name, equals, weight = text.rpartition("=")
    if not equals:
        return text, 1
    if not (weight.isascii() and weight.isdigit() and int(weight) > 0):
        raise typer.BadParameter(
            f"the weight of {name!r} is a whole number from 1 up, got {weight!r}; write NAME=WEIGHT"
        )
    return name, int(weight)


def _parse_queues(texts: list[str]) -> dict[str, int] | None:
    queues: dict[str, int] = {}
    for name, weight in map(_parse_queue, texts):
        if not name.strip():
            raise typer.BadParameter("a queue has no name; write NAME or NAME=WEIGHT")
        if name in queues:
            raise typer.BadParameter(f"the queue {name!r} is given twice")
        queues[name] = weight
    return queues or None


def _check_queues(texts: list[str]) -> list[str]:
    _parse_queues(texts)
    return texts


def _check_size(text: str | None) -> str | None:
    if text is not None:
        _parse_size(text)
    return text


def _parse_size(text: str) -> int:
    from .recycling import parse_size  # noqa: PLC0415 - `asyncq --help` does without

    try:
        return parse_size(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _check_address(text: str | None) -> str | None:
    from .monitoring import Address, check_installed  # noqa: PLC0415 - `asyncq --help` does without

    try:
        if text is not None:
            Address.parse(text)
            check_installed()
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    return text


Target = Annotated[str, typer.Argument(metavar="TARGET", help="For example tasks:mux.")]
Redis = Annotated[
    str | None,
    typer.Option(
        "--redis",
        "-r",
        metavar="URL",
        rich_help_panel=_REDIS,
        help="Where Redis is: redis://, rediss://, unix://, redis-sentinel://, redis-cluster://,"
        " embedded://. Without it: what a Server says, else ASYNCQ_REDIS_URL, then REDIS_URL.",
    ),
]
Dev = Annotated[
    bool,
    typer.Option(
        "--dev",
        rich_help_panel=_REDIS,
        help="A private Redis for development: the same as --redis embedded://.",
    ),
]
ConnectTimeout = Annotated[
    float,
    typer.Option(
        metavar="SECONDS",
        min=0,
        envvar="ASYNCQ_CONNECT_TIMEOUT",
        rich_help_panel=_REDIS,
        help="How long to keep trying to reach Redis at the start.",
    ),
]
Concurrency = Annotated[
    int | None,
    typer.Option(
        "--concurrency",
        "-c",
        metavar="N",
        min=1,
        envvar="ASYNCQ_CONCURRENCY",
        show_default="32",
        help="How many tasks run at a time, in each process.",
    ),
]
Queue = Annotated[
    list[str],
    typer.Option(
        "--queue",
        "-q",
        metavar="NAME[=WEIGHT]",
        envvar="ASYNCQ_QUEUES",
        callback=_check_queues,
        show_default="default=1",
        help="A queue to work on, and its share of the work. Repeat it for each queue.",
    ),
]
StrictPriority = Annotated[
    bool | None,
    typer.Option(
        "--strict-priority",
        envvar="ASYNCQ_STRICT_PRIORITY",
        help="Serve a queue only while all queues of a greater weight are empty.",
    ),
]
ShutdownTimeout = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        min=0,
        envvar="ASYNCQ_SHUTDOWN_TIMEOUT",
        show_default="8",
        help="How long running tasks may go on after a signal to stop.",
    ),
]
Processes = Annotated[
    int,
    typer.Option(
        "--processes",
        "-p",
        metavar="N",
        min=1,
        envvar="ASYNCQ_PROCESSES",
        rich_help_panel=_PROCESSES,
        help="How many worker processes to keep running.",
    ),
]
MaxTasks = Annotated[
    int | None,
    typer.Option(
        "--max-tasks-per-process",
        metavar="N",
        min=1,
        envvar="ASYNCQ_MAX_TASKS_PER_PROCESS",
        rich_help_panel=_PROCESSES,
        help="Replace a process when it has run about so many tasks.",
    ),
]
MaxRss = Annotated[
    str | None,
    typer.Option(
        "--max-rss",
        metavar="SIZE",
        envvar="ASYNCQ_MAX_RSS",
        callback=_check_size,
        rich_help_panel=_PROCESSES,
        help="Replace a process when it takes about so much memory: 500M, 1.5G.",
    ),
]
Reload = Annotated[
    bool,
    typer.Option(
        "--reload",
        rich_help_panel=_PROCESSES,
        help="Start anew when a Python file changes; for development.",
    ),
]
ReloadDir = Annotated[
    list[Path],
    typer.Option(
        metavar="DIRECTORY",
        exists=True,
        file_okay=False,
        rich_help_panel=_PROCESSES,
        show_default="the current one",
        help="What --reload watches. Repeat it for more.",
    ),
]
MetricsPort = Annotated[
    str | None,
    typer.Option(
        "--metrics-port",
        metavar="[HOST:]PORT",
        envvar="ASYNCQ_METRICS_PORT",
        callback=_check_address,
        rich_help_panel=_MONITORING,
        help="Answer /metrics (for Prometheus), /healthz and /readyz there, for all processes.",
    ),
]
Level = Annotated[
    LogLevel | None,
    typer.Option(
        metavar="LEVEL",
        envvar="ASYNCQ_LOG_LEVEL",
        show_default="info",
        case_sensitive=False,
        rich_help_panel=_LOGS,
        help=f"The least level that is shown: {', '.join(LogLevel)}.",
    ),
]
Format = Annotated[
    LogFormat,
    typer.Option(
        metavar="FORMAT",
        envvar="ASYNCQ_LOG_FORMAT",
        case_sensitive=False,
        rich_help_panel=_LOGS,
        help="human, or json: an object a line.",
    ),
]


def worker(
    target: Target,
    concurrency: Concurrency = None,
    queue: Queue = [],  # noqa: B006 - typer reads the default, and nobody changes it
    strict_priority: StrictPriority = None,
    shutdown_timeout: ShutdownTimeout = None,
    redis: Redis = None,
    dev: Dev = False,
    connect_timeout: ConnectTimeout = 30,
    processes: Processes = 1,
    max_tasks_per_process: MaxTasks = None,
    max_rss: MaxRss = None,
    reload: Reload = False,
    reload_dir: ReloadDir = [],  # noqa: B006 - as above
    metrics_port: MetricsPort = None,
    log_level: Level = None,
    log_format: Format = LogFormat.HUMAN,
) -> None:
    """Run the tasks of TARGET until told to stop.

    TARGET is module:attribute: a ServeMux, a Server, a handler, or a function without arguments
    that returns one of these. The current directory is importable. What a flag says overrides
    what a Server says. All flags with a value can be given as variables too: ASYNCQ_CONCURRENCY,
    ASYNCQ_QUEUES (separated by spaces), ASYNCQ_LOG_LEVEL and so on.

    For example: asyncq worker tasks:mux --dev -q critical=6 -q default=3

    TERM and INT (Ctrl-C) let running tasks finish for the shutdown timeout, a second one puts
    them back at once; TSTP takes no new tasks.

    Exit status: 0 left as it was told to, 1 the program failed, 2 wrong flags or TARGET,
    69 no Redis, 70 a handler blocked the event loop for too long.
    """
    from .monitoring import Address  # noqa: PLC0415
    from .process import run_worker  # noqa: PLC0415
    from .recycling import Limits  # noqa: PLC0415
    from .settings import WorkerSettings  # noqa: PLC0415
    from .supervised import Supervised  # noqa: PLC0415
    from .supervisor import supervise  # noqa: PLC0415

    if dev and redis is not None:
        raise CommandError("--dev and --redis both say where Redis is; give one of them")
    if reload_dir and not reload:
        raise CommandError("--reload-dir says what --reload watches; give --reload as well")
    limits = Limits(max_tasks_per_process, None if max_rss is None else _parse_size(max_rss))
    settings = WorkerSettings(
        target=target,
        redis="embedded://" if dev else redis,
        concurrency=concurrency,
        queues=_parse_queues(queue),
        strict_priority=strict_priority,
        processes=processes,
        limits=limits,
        shutdown_timeout=shutdown_timeout,
        metrics=None if metrics_port is None else Address.parse(metrics_port),
        log_level=log_level,
        log_format=log_format,
        connect_timeout=connect_timeout,
    )
    supervised = Supervised.from_environment()
    if supervised is None and (processes > 1 or reload or limits):
        watched = (reload_dir or [Path.cwd()]) if reload else None
        raise typer.Exit(supervise(settings, watched))
    raise typer.Exit(run_worker(settings, supervised))
