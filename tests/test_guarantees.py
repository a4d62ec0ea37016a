"""`docs/guarantees.md`: every promise names the tests that hold it, and they exist."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest
from guarantees import PAGE, named_tests

ROOT = PAGE.parent.parent
TEXT = PAGE.read_text(encoding="utf-8")


def promises(text: str) -> list[str]:
    """The items of lists and the rows of tables, each as one line."""
    items = re.findall(r"^\* .*(?:\n  .*)*", text, re.MULTILINE)
    rows = re.findall(r"^\|(?! *[-|]).*\|$", text, re.MULTILINE)
    heads = re.findall(r"^(\|.*\|)\n\|-", text, re.MULTILINE)
    return [" ".join(item.split()) for item in items] + [row for row in rows if row not in heads]


@cache
def functions_of(file: str) -> dict[str, list[str]]:
    """The test functions of a file, with what decorates them."""
    path = ROOT / file
    if not path.is_file():
        return {}
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        node.name: [ast.unparse(decorator) for decorator in node.decorator_list]
        for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }


def test_every_promise_names_a_test() -> None:
    assert len(promises(TEXT)) > 60
    assert [line for line in promises(TEXT) if not named_tests(line)] == []


@pytest.mark.parametrize("name", named_tests(TEXT))
def test_named_test_exists_and_is_run_with_the_others(name: str) -> None:
    file, _, function = name.partition("::")
    assert function in functions_of(file)
    marks = functions_of(file)[function]
    assert not [
        mark for mark in marks if mark.startswith(("pytest.mark.campaign", "pytest.mark.skip"))
    ]


def test_whatever_looks_like_a_test_is_read_as_one() -> None:
    assert sorted(set(re.findall(r"[\w/.]+::\w+", TEXT))) == sorted(named_tests(TEXT))


def test_page_begins_with_the_command_that_runs_its_tests() -> None:
    assert "python -m nox -s guarantees" in "\n".join(TEXT.splitlines()[:12])


@pytest.mark.parametrize(
    ("text", "count"),
    [("* a\n  `tests/x.py::y`\n* b\n", 2), ("| h |\n|---|\n| a |\n| b |\n", 2), ("prose\n", 0)],
)
def test_promises_are_found(text: str, count: int) -> None:
    assert len(promises(text)) == count
