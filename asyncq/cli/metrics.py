"""`asyncq metrics`: the flags."""

from __future__ import annotations

from typing import Annotated

import typer

from .failure import CommandError
from .logs import LogFormat
from .worker import Dev, Format, Level

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
Port = Annotated[
    str,
    typer.Option(
        metavar="[HOST:]PORT",
        help="Where to listen; without a host, on every address.",
    ),
]
ScrapeTimeout = Annotated[
    float,
    typer.Option(
        metavar="SECONDS",
        min=0.1,
        help="How long Redis may take for one scrape; less than Prometheus waits.",
    ),
]


def metrics(
    port: Port = "9876",
    redis: Redis = None,
    dev: Dev = False,
    scrape_timeout: ScrapeTimeout = 8,
    log_level: Level = None,
    log_format: Format = LogFormat.HUMAN,
) -> None:
    """Show all queues of a Redis to Prometheus, until told to stop.

    /metrics has the names and labels of asynq's exporter, read anew at each scrape, and
    asyncq_redis_up, which is 0 when Redis does not answer. One of it is enough for a Redis; what
    workers know themselves they show with asyncq worker --metrics-port.

    Exit status: 0 left as it was told to, 1 the port is taken, 2 wrong flags.
    """
    from .exporting import run_metrics  # noqa: PLC0415
    from .monitoring import Address  # noqa: PLC0415

    if dev and redis is not None:
        raise CommandError("--dev and --redis both say where Redis is; give one of them")
    try:
        address = Address.parse(port)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="'--port'") from None
    run_metrics(
        "embedded://" if dev else redis,
        address,
        timeout=scrape_timeout,
        log_format=log_format,
        log_level=log_level,
    )
