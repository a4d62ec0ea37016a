"""What is installed is what is in the repository."""

from __future__ import annotations

from pathlib import Path

import asyncq

SOURCE = Path(__file__).parent.parent / "asyncq"


def files(root: Path) -> set[str]:
    found = (path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(root)) for path in found}


def test_installed_package_has_every_file_of_the_source() -> None:
    installed = files(Path(asyncq.__file__).parent)
    assert "py.typed" in installed
    assert files(SOURCE) - installed == set()
