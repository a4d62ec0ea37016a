"""README and the pages of docs: what stands in their blocks."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


@dataclass(frozen=True)
class Block:
    """What is fenced or indented."""

    page: str
    line: int
    language: str
    """Empty if indented, or if nothing is said."""
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@cache
def blocks() -> tuple[Block, ...]:
    """Those of all pages."""
    found: list[Block] = []
    for page, name in zip(PAGES, NAMES, strict=True):
        for token in MarkdownIt().parse(page.read_text()):
            if token.type in ("fence", "code_block"):
                assert token.map is not None
                found.append(Block(name, token.map[0] + 1, token.info.strip(), token.content))
    return tuple(found)


@cache
def anchors(page: Path) -> list[str]:
    """What links to headings of a page say after `#`, where git is hosted and on the site."""
    found: list[str] = []
    tokens = MarkdownIt().parse(page.read_text())
    for token, text in pairwise(tokens):
        if token.type == "heading_open":
            words = "".join(part.content for part in text.children or ())
            name = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
            assert name not in found, f"{page}: two headings {words!r}"
            found.append(name)
    return found


def blocks_of(page: str, language: str) -> list[str]:
    return [b.text for b in blocks() if (b.page, b.language) == (page, language)]


def programs(page: str) -> dict[str, str]:
    """The Python blocks of a page, by file name."""
    found = {}
    for block in blocks_of(page, "python"):
        first = block.partition("\n")[0]
        assert re.fullmatch(r"# \w+\.py", first), f"{page}: name the file in line 1, not {first!r}"
        found[first.removeprefix("# ")] = block
    return found


def write_programs(page: str, directory: Path) -> None:
    for name, text in programs(page).items():
        (directory / name).write_text(text)


@contextmanager
def importable(directory: Path) -> Generator[None]:
    """Programs there can be imported by name while this is entered, and are forgotten then."""
    known = set(sys.modules)
    sys.path.insert(0, str(directory))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(directory))
        for name in set(sys.modules) - known:
            if str(getattr(sys.modules[name], "__file__", None)).startswith(str(directory)):
                del sys.modules[name]


def run_python(directory: Path, *arguments: str, **environment: str) -> str:
    """What `python ARGUMENTS` printed there; it must end well."""
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
