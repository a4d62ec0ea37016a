"""`asyncq demo [DIRECTORY]`: its arguments."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from typing import Annotated

import typer

from ..failure import CommandError

Directory = Annotated[
    Path | None,
    typer.Argument(
        metavar="DIRECTORY",
        show_default="the standard library of this Python",
        help="Its files are read, one task each.",
    ),
]
Redis = Annotated[
    str | None,
    typer.Option(
        "--redis", "-r", metavar="URL", show_default="a private one",
        help="A Redis of your own: redis://, rediss:// or unix://. The demo's queues have names"
        " that nobody else uses, and are deleted in the end.",
    ),
]  # fmt: skip


def demo(directory: Directory = None, redis: Redis = None) -> None:
    """See it work, in about ten seconds.

    Starts a worker process and gives it one task for each file of DIRECTORY, and tasks that are
    delayed, refused as duplicates, retried, timed out and aggregated. Then it tells what came of
    them. Files are only read.

    Exit status: 0 all went as promised, 1 something did not, 2 wrong arguments, 69 no Redis.
    """
    from . import quickstart  # noqa: PLC0415 - `asyncq --help` does without

    root = _readable(directory or Path(sysconfig.get_paths()["stdlib"]))
    quickstart.make_importable()
    from .run import run_demo  # noqa: PLC0415 - it imports the quick start

    raise typer.Exit(run_demo(root, redis))


def _readable(directory: Path) -> Path:
    root = directory.expanduser()
    if not root.exists():
        raise CommandError(f"there is no directory {directory}")
    if not root.is_dir():
        raise CommandError(f"{directory} is not a directory; name the one whose files to read")
    return root.resolve()
