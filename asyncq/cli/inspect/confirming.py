"""Asking before what cannot be undone, and showing how far long work has come."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

from asyncq.errors import RedisError
from asyncq.safe_text import safe

from ..failure import CommandError, Exit
from ..wrapping import wrapped


async def confirm(what: str, *, yes: bool) -> None:
    """Returns when `what` ("delete 3 tasks") is agreed to, by `--yes` or by a person.

    Raises `CommandError` if it is not, or if there is nobody to ask.
    """
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise CommandError(
            f"there is no terminal to ask whether to {safe(what)}, which cannot be undone: add"
            " --yes if that is what you want"
        )
    print(f"{safe(what[:1].upper() + what[1:])}? It cannot be undone. [y/N] ", end="",
          file=sys.stderr, flush=True)  # fmt: skip
    if (await _line()).strip().lower() not in ("y", "yes"):
        raise CommandError("nothing was changed", status=Exit.FAILED)


async def _line() -> str:
    """What is typed, without holding up the loop, which has to see Ctrl-C."""
    loop, typed = asyncio.get_running_loop(), asyncio.Event()
    try:
        loop.add_reader(sys.stdin, typed.set)
    except NotImplementedError:  # Windows, where a console is no socket
        return sys.stdin.readline()
    try:
        await typed.wait()
    finally:
        loop.remove_reader(sys.stdin)
    return sys.stdin.readline()


@contextmanager
def progress(what: str, total: int | None) -> Generator[Callable[[int], None]]:
    """A bar on stderr while somebody watches; it is told how many are done. `total` None: nobody
    knows how many there will be."""
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console  # noqa: PLC0415 - only for a terminal
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}" + (f" of {total:,}" if total is not None else "")),
        TimeElapsedColumn(),
    ]
    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(safe(what), total=total)
        yield lambda done: bar.update(task, completed=done)


@contextmanager
def accounted(
    what: str, total: int | None, done: Callable[[str], str]
) -> Generator[Callable[[int], None]]:
    """`progress`, for work that is done in parts: when it is interrupted, or Redis is lost,
    `done(how many)` is said of what is done by then."""
    count = 0
    try:
        with progress(what, total) as shown:

            def told(so_far: int) -> None:
                nonlocal count
                count = so_far
                shown(so_far)

            yield told
    except (asyncio.CancelledError, RedisError):
        # The part that was on its way may be done, too.
        text = safe(f"not finished: {done(f'{count:,} or a few more')}; the rest is as it was")
        if sys.stderr.isatty():
            text = wrapped(text, shutil.get_terminal_size().columns)
        print(text, file=sys.stderr)
        raise
