"""What `--reload` watches. It needs the extra `reload`."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from .failure import CommandError


def check_installed() -> None:
    """Raises `CommandError`, with what to install."""
    if importlib.util.find_spec("watchfiles") is None:
        raise CommandError('--reload needs watchfiles: pip install "asyncq[reload]"')


async def changes(directories: Sequence[Path]) -> AsyncIterator[list[str]]:
    """The Python files that changed, each time some did."""
    from watchfiles import PythonFilter, awatch  # noqa: PLC0415 - only if asked for

    async for changed in awatch(*directories, watch_filter=PythonFilter()):
        yield sorted({_shown(path) for _, path in changed})


def _shown(path: str) -> str:
    return os.path.relpath(path)
