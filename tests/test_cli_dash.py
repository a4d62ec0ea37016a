"""`asyncq dash`: its flags, and what it does where it cannot work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from commands import Command

from asyncq.cli.dash import seconds
from asyncq.cli.dashing import is_light
from asyncq.cli.main import main


def run(*args: str, cwd: Path) -> tuple[int, str]:
    with Command("dash", *args, cwd=cwd) as command:
        return command.exit_status(), command.output


def test_without_a_terminal_it_names_what_serves_scripts(tmp_path: Path) -> None:
    status, output = run("--redis", "redis://localhost:1", cwd=tmp_path)
    assert status == 2
    assert "needs a terminal" in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    "args",
    [
        ("--refresh", "nonsense"),
        ("--refresh", "499ms"),
        ("--refresh", "0"),
        ("--refresh", "2h"),
        ("--refresh", "-5s"),
        ("--theme", "pink"),
        ("--dev", "--redis", "redis://x"),
        ("--json",),
    ],
)
def test_wrong_flags_are_status_2(args: tuple[str, ...], tmp_path: Path) -> None:
    status, output = run(*args, cwd=tmp_path)
    assert status == 2
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("text", "length"), [("2s", 2), ("2", 2), ("0.5", 0.5), ("500ms", 0.5), ("1m30s", 90)]
)
def test_refresh_is_a_duration_or_seconds(text: str, length: float) -> None:
    assert seconds(text) == length


def test_without_textual_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "textual", None)
    with pytest.raises(SystemExit) as left:
        main(["dash", "--redis", "redis://localhost:1"])
    assert left.value.code == 2
    assert capsys.readouterr().err == (
        "error: asyncq dash needs Textual: pip install 'asyncq[dash]'\n"
    )


@pytest.mark.parametrize(
    ("value", "light"), [("", False), ("15;0", False), ("0;15", True), ("0;default;7", True)]
)
def test_background_is_what_the_terminal_says(
    monkeypatch: pytest.MonkeyPatch, value: str, light: bool
) -> None:
    monkeypatch.setenv("COLORFGBG", value)
    assert is_light() is light


def test_help_of_asyncq_does_without_textual() -> None:
    program = "import sys, asyncq.cli.main; sys.exit('textual' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
