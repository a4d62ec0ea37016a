"""The reference has every public name once, and each says what it is."""

from __future__ import annotations

import ast
import importlib
import re
from collections import Counter
from pathlib import Path

import pytest

import asyncq

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "docs" / "reference"
MODULES = ["asyncq", "asyncq.doctor", "asyncq.metrics", "asyncq.otel", "asyncq.testing"]
PAGES = sorted(REFERENCE.glob("*.md"))


def shown() -> list[str]:
    """What the pages ask the site to show."""
    return [
        name
        for page in PAGES
        for name in re.findall(r"^(?:### )?::: (\S+)$", page.read_text(), re.M)
    ]


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_shown_once(module: str) -> None:
    public = [f"{module}.{name}" for name in importlib.import_module(module).__all__]
    counts = Counter(shown())
    assert {name: counts[name] for name in public if counts[name] != 1} == {}


@pytest.mark.parametrize("name", shown())
def test_what_is_shown_exists(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    if name in {"asyncq.errors", *MODULES}:
        importlib.import_module(name)
    else:
        assert hasattr(importlib.import_module(module), attribute)


def test_index_names_every_page() -> None:
    links = re.findall(r"\]\((\S+)\)", (REFERENCE / "index.md").read_text())
    assert {page.name for page in PAGES} - {"index.md"} <= set(links)


@pytest.mark.parametrize("home", sorted(vars(asyncq)["_HOMES"]))
def test_every_field_of_a_public_class_is_explained(home: str) -> None:
    """Of functions and classes the linter asks for it."""
    public = vars(asyncq)["_HOMES"][home].split()
    tree = ast.parse((ROOT / "asyncq" / f"{home}.py").read_text())
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name in public]
    assert [f"{c.name}.{field}" for c in classes for field in unexplained(c)] == []


def unexplained(found: ast.ClassDef) -> list[str]:
    names = []
    for node, after in zip(found.body, [*found.body[1:], None], strict=True):
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and not isinstance(after, ast.Expr):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            names.append(ast.unparse(target))
    return [name for name in names if not name.startswith("_")]
