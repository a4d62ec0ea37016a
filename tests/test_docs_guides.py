"""The programs of the guides, on testing and on moving from other queues, do what they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from docs_pages import blocks_of, programs, write_programs

TESTING = "docs/how-to/testing.md"


def run(directory: Path, *arguments: str, **environment: str) -> str:
    """What `python ARGUMENTS` printed; it must end well."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=directory,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,  # what it printed tells more
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_tests_of_the_testing_page_pass(tmp_path: Path) -> None:
    tests = ["test_handlers.py", "test_queues.py"]
    assert {*tests, "conftest.py", "outbox.py", "shop.py"} == set(programs(TESTING))
    write_programs(TESTING, tmp_path)
    (settings,) = blocks_of(TESTING, "toml")
    (tmp_path / "pyproject.toml").write_text(settings)
    said = run(tmp_path, "-m", "pytest", "-q", f"--basetemp={tmp_path / 'temp'}", *tests)
    passed = re.search(r"(\d+) passed", said)
    assert passed, said
    assert int(passed[1]) == sum(text.count("def test_") for text in programs(TESTING).values())
