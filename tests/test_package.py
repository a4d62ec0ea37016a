"""What is installed is what is in the repository."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import asyncq

SOURCE = Path(__file__).parent.parent / "asyncq"


def files(root: Path) -> set[str]:
    found = (path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(root)) for path in found}


def test_installed_package_has_every_file_of_the_source() -> None:
    installed = files(Path(asyncq.__file__).parent)
    assert "py.typed" in installed
    assert files(SOURCE) - installed == set()


def test_public_names_are_those_that_type_checkers_see() -> None:
    tree = ast.parse((SOURCE / "__init__.py").read_text())
    seen = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level == 1
        for alias in node.names
    }
    homes = {name: home for home, names in vars(asyncq)["_HOMES"].items() for name in names.split()}
    assert homes == seen
    assert sorted(homes) == sorted(asyncq.__all__)


@pytest.mark.parametrize("name", asyncq.__all__)
def test_public_name_is_there_when_asked_for(name: str) -> None:
    assert name in dir(asyncq)
    assert getattr(asyncq, name) is not None


def test_name_that_is_not_there_is_an_error() -> None:
    with pytest.raises(AttributeError, match="module 'asyncq' has no attribute 'Cleint'"):
        getattr(asyncq, "Cleint")  # noqa: B009 - a type checker would refuse it otherwise


def test_importing_the_package_imports_nothing_else() -> None:
    program = "import asyncq, sys; print(*(m for m in sys.modules if m.startswith('asyncq')))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["asyncq"]
