"""An environment for each contestant, made once and kept: their Redis clients conflict."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from benchmarks.programs import Contestant, ContestantError

CONTESTANTS = Path(__file__).parent / "contestants"


def names() -> list[str]:
    """All contestants that there are: asyncq first, then the original, then by name."""
    found = {
        path.parent.name
        for pattern in ("*/contestant.py", "*/main.go")
        for path in CONTESTANTS.glob(pattern)
    }
    first = [name for name in ("asyncq", "asynq_go") if name in found]
    return first + sorted(found - set(first))


def prepare(name: str, cache: Path) -> Contestant:
    """A contestant that can be asked. Its environment is made if `cache` does not have it.

    Raises:
        ContestantError: it cannot be made; the message says why
    """
    directory = CONTESTANTS / name
    if name == "asyncq":
        command = [sys.executable, "contestant.py"]  # the driver's environment is asyncq's own
    elif (directory / "main.go").exists():
        command = [str(_built(directory, cache))]
    else:
        command = [str(_virtual(directory, cache)), "contestant.py"]
    contestant = Contestant(name, command, directory)
    return Contestant(name, command, directory, contestant.ask("info"))


def _virtual(directory: Path, cache: Path) -> Path:
    """The Python of an environment with the contestant's requirements."""
    requirements = directory / "requirements.txt"
    home = cache / _stamped(directory.name, requirements.read_bytes())
    python = home / "bin" / "python"
    if not (home / "complete").exists():
        shutil.rmtree(home, ignore_errors=True)
        venv.create(home, with_pip=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run([*pip, "-r", str(requirements)], directory)
        (home / "complete").touch()
    return python


def _built(directory: Path, cache: Path) -> Path:
    """The Go program. The Go tool knows itself what has changed."""
    if shutil.which("go") is None:
        raise ContestantError("there is no Go on PATH")
    cache.mkdir(parents=True, exist_ok=True)
    program = cache / directory.name
    _run(["go", "build", "-o", str(program), "."], directory)
    return program


def _stamped(name: str, requirements: bytes) -> str:
    key = json.dumps([sys.version, platform.machine()]).encode() + requirements
    return f"{name}-{hashlib.sha256(key).hexdigest()[:12]}"


def _run(command: list[str], directory: Path) -> None:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it said nothing"]
        raise ContestantError(f"{command[0]} could not make its environment: {lines[-1]}")
