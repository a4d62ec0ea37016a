"""A payload in somebody's editor."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import sys
import tempfile
from pathlib import Path

from asyncq.info import TaskInfo

from .session import RefusedError
from .text import spread

_OUTSIDE_OF_STRINGS = re.compile(r'("(?:[^"\\]|\\.)*")|\s+', re.DOTALL)


async def edited(task: TaskInfo) -> bytes:
    """The payload as it was left in `$VISUAL` or `$EDITOR`, JSON spread out meanwhile.

    Raises `RefusedError` if it is not to be changed, or cannot be; what was written is then kept.
    """
    text = _text_of(task)
    shown = spread(text)
    path = _write(shown, ".txt" if shown == text else ".json")
    await _edit(path)
    new = _read(path)
    if new == shown:
        _remove(path)
        raise RefusedError("nothing was changed")
    if shown != text:
        new = _gathered(new, path)
    _remove(path)
    return new.encode("utf-8", "surrogateescape")


def _write(text: str, suffix: str) -> str:
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", newline="", prefix="asyncq-payload-", suffix=suffix, delete=False
    ) as file:
        file.write(text + "\n")
    return file.name


def _read(path: str) -> str:
    return Path(path).read_bytes().decode("utf-8", "surrogateescape").removesuffix("\n")


def _remove(path: str) -> None:
    Path(path).unlink()


def _text_of(task: TaskInfo) -> str:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise RefusedError(
            "say what its payload shall be, with --payload or --json-payload: there is no terminal"
            " for an editor"
        )
    try:
        return task.payload.decode()
    except UnicodeDecodeError:
        raise RefusedError("its payload is no text; give a new one with --payload @FILE") from None


async def _edit(path: str) -> None:
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        process = await asyncio.create_subprocess_exec(*shlex.split(editor), path)
    except (OSError, ValueError) as error:
        _remove(path)
        raise RefusedError(f"cannot start the editor {editor!r}: {error}") from None
    status = await process.wait()
    if status:
        raise RefusedError(f"the editor ended with status {status}; nothing was changed ({path})")


def _gathered(text: str, path: str) -> str:
    """JSON on one line, its numbers and strings as they were written."""
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"that is no JSON any more: {error}; it is kept in {path}") from None
    return _OUTSIDE_OF_STRINGS.sub(lambda match: match[1] or "", text)
