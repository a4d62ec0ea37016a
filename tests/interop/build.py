"""Builds the Go programs of these tests, once for all test processes."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

SOURCE = Path(__file__).parent / "golang"
COMMAND_LINE = "github.com/hibiken/asynq/tools/asynq"
LONGEST_S = 600


class NoGoError(Exception):
    """Why this machine cannot build Go programs."""


def build(cache: Path) -> Path:
    """The directory that holds `interop` (our program) and `asynq` (the original's command line).

    Made anew when a source or Go itself has changed. Raises `NoGoError` when there is no Go, or
    no way to the modules; a program that does not compile fails as any test does.
    """
    go = shutil.which("go")
    if go is None:
        raise NoGoError("no `go` on PATH")
    built = cache / _fingerprint(go)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not built.exists():
            for outdated in cache.glob("*/"):
                shutil.rmtree(outdated)
            _download(go)
            unfinished = cache / "unfinished"
            _run([go, "build", "-buildvcs=false", "-o", f"{unfinished}/", ".", COMMAND_LINE])
            unfinished.rename(built)
    return built


def _fingerprint(go: str) -> str:
    whole = hashlib.sha256(_run([go, "version"]).stdout)
    for file in sorted(SOURCE.iterdir()):
        whole.update(file.name.encode() + file.read_bytes())
    return whole.hexdigest()[:16]


def _download(go: str) -> None:
    try:
        _run([go, "mod", "download"])
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        said = (error.stderr or b"it took too long").decode(errors="replace")
        raise NoGoError(f"the Go modules cannot be fetched: {said.strip()[-500:]}") from error


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            command, cwd=SOURCE, check=True, capture_output=True, timeout=LONGEST_S
        )
    except subprocess.CalledProcessError as error:
        error.add_note(error.stderr.decode(errors="replace"))
        raise
