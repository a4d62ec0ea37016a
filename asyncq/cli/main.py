"""`asyncq`: the table of commands.

A command is a module here with one function; those for looking and acting are in `inspect`. To add
one, import it and add a line below. For the sake of `asyncq --help` such a module imports nothing
heavy at its top: what it needs to do its work, it imports inside the function.
"""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from asyncq import __version__

from .dash import dash
from .demo import demo
from .doctor import doctor
from .failure import CommandError
from .inspect.commands import add_commands
from .metrics import metrics
from .scheduler import scheduler
from .worker import worker

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # so that paragraphs are filled
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(short_help="Run the tasks of a program.")(worker)
app.command(short_help="Enqueue tasks when they are due.")(scheduler)
app.command(short_help="Check a Redis, and repair it.")(doctor)
app.command(short_help="Watch and steer it, live.")(dash)
app.command(short_help="Show the queues to Prometheus.")(metrics)
add_commands(app)
app.command(short_help="See it work, in about ten seconds.")(demo)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command, by default that of `sys.argv`, and exits with its status."""
    try:
        app(arguments, prog_name="asyncq")
    except CommandError as error:
        _explain(error)
        sys.exit(error.status)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"asyncq {__version__}")
        raise typer.Exit


@app.callback()
def _asyncq(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Distributed tasks on Redis."""


def _explain(error: CommandError) -> None:
    """On stderr, or as a log line where the logs were asked for as JSON."""
    from .logs import is_json  # noqa: PLC0415 - `asyncq --help` does without
    from .wrapping import wrapped  # noqa: PLC0415 - likewise

    if is_json():
        logging.getLogger("asyncq").critical(
            "%s", error, extra={"exception": error.traceback} if error.traceback else None
        )
    else:
        text = f"error: {error}"
        if sys.stderr.isatty():
            text = wrapped(text, shutil.get_terminal_size().columns)
        print(f"{error.traceback}{text}", file=sys.stderr)
