"""`docs/asynq-compatibility.md` names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "asynq-compatibility.md"


def test_every_test_that_the_page_names_exists() -> None:
    named = re.findall(r"\| `([\w/]+)::(\w+)` \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(named) > 100
    assert [f"{file}::{name}" for file, name in named if not exists(file, name)] == []


def test_every_row_names_a_test() -> None:
    rows = re.findall(r"^\| .*\|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    bare = [row for row in rows if not re.search(r"::\w+` \|$|\| test \|$", row)]
    assert [row for row in bare if "not yet" not in row] == []


def exists(file: str, name: str) -> bool:
    *folders, last = file.split("/")
    module = TESTS.joinpath(*folders, f"test_{last}.py")
    return module.exists() and f"def test_{name}(" in module.read_text(encoding="utf-8")
