"""Where the code of the quick start is: `tasks.py` and `enqueue.py`, which the demo runs.

They are written in `examples/quickstart` as a tutorial, and packed into the installed package.
"""

from __future__ import annotations

import sys
from pathlib import Path

import asyncq

from ..failure import CommandError, Exit


def directory() -> Path:
    """The directory of the two files. Raises `CommandError` if they are missing."""
    package = Path(asyncq.__file__).parent
    for place in (package / "_quickstart", package.parent / "examples" / "quickstart"):
        if (place / "tasks.py").is_file():
            return place
    raise CommandError(f"{package} lacks the demo's tasks; install asyncq anew", status=Exit.FAILED)


def make_importable() -> None:
    """From now on `import tasks` and `import enqueue` mean the quick start's."""
    sys.path.insert(0, str(directory()))


def nearest_copy() -> Path:
    """The directory to name to people: that of the repository, if they are in it."""
    here, installed = Path("examples", "quickstart"), directory()
    for name in ("tasks.py", "enqueue.py"):
        copy = here / name
        if not copy.is_file() or copy.read_bytes() != (installed / name).read_bytes():
            return installed
    return here
