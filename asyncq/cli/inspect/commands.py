"""The table of these commands, with the names that asynq has for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer

from . import bulk, cron, enqueue, group, queue, server, stats, task


def add_commands(app: typer.Typer) -> None:
    """Adds them to `asyncq`."""
    app.command(short_help="Tasks by state and queue, today's work, Redis.")(stats.stats)
    _add_group(app, "queue", "Look at queues, pause and delete them.", [
        (queue.ls, "ls list"),
        (queue.inspect, "inspect"),
        (queue.history, "history"),
        (queue.pause, "pause"),
        (queue.resume, "resume unpause"),
        (queue.rm, "rm remove delete"),
    ])  # fmt: skip
    _add_group(app, "task", "Look at tasks, and move them by hand.", [
        (task.ls, "ls list"),
        (task.inspect, "inspect"),
        (enqueue.enqueue, "enqueue"),
        (task.run, "run"),
        (task.cancel, "cancel"),
        (task.archive, "archive"),
        (task.delete, "delete rm remove"),
        (enqueue.edit, "edit"),
        (bulk.runall, "runall"),
        (bulk.archiveall, "archiveall"),
        (bulk.deleteall, "deleteall"),
    ])  # fmt: skip
    _add_group(app, "group", "Look at groups of tasks.", [(group.ls, "ls list")])
    _add_group(app, "server", "Look at running servers.", [(server.ls, "ls list")])
    _add_group(app, "cron", "Look at periodic tasks.", [
        (cron.ls, "ls list"),
        (cron.history, "history"),
    ])  # fmt: skip


def _add_group(
    app: typer.Typer,
    name: str,
    help: str,
    commands: list[tuple[Callable[..., Any], str]],
) -> None:
    group = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")
    for command, names in commands:
        first, *others = names.split()
        also = f" (Also: {', '.join(others)}.)" if others else ""
        summary = (command.__doc__ or "").partition("\n")[0]
        group.command(first, short_help=summary + also)(command)
        for other in others:
            group.command(other, hidden=True)(command)
    app.add_typer(group, name=name, help=help)
