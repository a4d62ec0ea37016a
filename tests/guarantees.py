"""The tests that `docs/guarantees.md` names, one a line, as pytest takes them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "guarantees.md"


def named_tests(text: str) -> list[str]:
    """Each test once, in the order of the page."""
    return list(dict.fromkeys(re.findall(r"`(tests/[\w/]+\.py::\w+)`", text)))


if __name__ == "__main__":
    sys.stdout.write("\n".join(named_tests(PAGE.read_text(encoding="utf-8"))) + "\n")
