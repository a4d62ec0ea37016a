"""What the demo prints before and after."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from asyncq import __version__

from .story import Row, Story


def print_opening(root: Path, story: Story, redis: str) -> None:
    """What is going to happen."""
    console = Console(highlight=False)
    console.print(f"\n[bold]asyncq {__version__}[/] demo: one worker process, and this producer")
    console.print(f"  redis  {redis}", soft_wrap=True, markup=False)
    console.print(
        f"  tasks  one for each of {story.files:,} files in {root}\n", soft_wrap=True, markup=False
    )


def print_closing(story: Story, seen: Sequence[Row], root: Path, code: Path) -> None:
    """What happened, row by row, and what to try next."""
    console = Console(highlight=False)
    cores = os.cpu_count()
    console.print(f"[bold]What happened in {story.seconds:.1f} s[/], on {cores} cores\n")
    table = Table.grid(padding=(0, 2))
    for row in seen:
        kept = Text("ok", style="green") if row.kept else Text("NO", style="bold red")
        table.add_row("", kept, row.what, Text(row.seen, overflow="fold"))
    console.print(table)
    console.print(f"\nIts code: {_short(code)}/tasks.py, enqueue.py. Next:\n", soft_wrap=True)
    for remark, command in _next_commands(code):
        console.print(f"  # {remark}", style="dim", soft_wrap=True, markup=False)
        console.print(f"  {command}", soft_wrap=True, markup=False)
    print()
    broken = [row.what for row in seen if not row.kept]
    if broken:
        print(f"error: not as promised: {'; '.join(broken)}", file=sys.stderr)


def _next_commands(code: Path) -> list[tuple[str, str]]:
    """Commands that work where this one was started, copied as they are."""
    asyncq, python = _program("asyncq"), _program("python")
    where = _short(code)
    return [
        ("the same with the files of this directory", f"{asyncq} demo ."),
        (
            "a worker that stays, on a Redis for development that keeps its data",
            f"PYTHONPATH={where} {asyncq} worker tasks:make_server --dev",
        ),
        (
            "tasks for it, from a second terminal",
            f"{python} {where}/enqueue.py --redis embedded:// .",
        ),
    ]


def _program(name: str) -> str:
    """How to call a program of this Python environment: by name if the shell would find it."""
    program = Path(sys.executable).parent / name
    found = shutil.which(name)
    # nox puts its environment on PATH for its own commands only.
    if found is not None and Path(found) == program and "NOX_CURRENT_SESSION" not in os.environ:
        return name
    return _short(program)


def _short(path: Path) -> str:
    try:
        shown = path.absolute().relative_to(Path.cwd())
    except ValueError:
        shown = path
    return shlex.quote(str(shown))
