"""The public types hold under mypy --strict and pyright: what must pass and what must not.

`typing/accepted.py` has to be free of errors. In `typing/refused.py` every mistake carries the
error that it must cause, and a comment that no error answers is an error.
"""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from pathlib import Path

import pytest

CASES = Path(__file__).parent / "typing"
COMMANDS = {
    "mypy": ["mypy", "--strict", "--config-file=", str(CASES)],
    "pyright": ["pyright", "--project", str(CASES / "pyrightconfig.json")],
}


@pytest.mark.parametrize("tool", COMMANDS)
async def test_type_checkers_accept_what_is_right_and_refuse_what_is_wrong(
    tool: str, tmp_path: Path
) -> None:
    if importlib.util.find_spec(tool) is None:
        pytest.skip(f'{tool} is not installed here: pip install "asyncq[dev]"')
    command = [sys.executable, "-m", *COMMANDS[tool]]
    if tool == "mypy":
        command += ["--cache-dir", str(tmp_path)]  # others may be running in the project
    checker = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await checker.communicate()
    assert checker.returncode == 0, output.decode()
