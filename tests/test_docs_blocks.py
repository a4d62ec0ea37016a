"""Every block of README and docs is held by a test: run, read, or compared with what is so.

For a new kind of block write a test that holds it, and name it in the table.
"""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections.abc import Callable
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from docs_pages import NAMES, ROOT, Block, blocks, blocks_of, programs

from asyncq import Client, PeriodicTaskFile

TESTS = ROOT / "tests"
SOURCE = ROOT / "asyncq"

READ_BY: dict[str, Callable[[str], Any]] = {
    "json": json.loads,
    "toml": tomllib.loads,
    "yaml": lambda text: list(yaml.safe_load_all(text)),
}


class Held(NamedTuple):
    pages: str
    kind: str
    """The language; of a block without one `commands` if it is that, else how it begins, or `*`."""
    by: str


TABLE = """
*                          python       test_readme::test_programs_are_correctly_typed
*                          sh           test_readme::test_command_exists
*                          commands     test_readme::test_command_exists
docs/how-to/dashboard.md   [1 Queues]   test_dash_screen::test_page_on_the_dashboard_shows_this_screen
docs/how-to/docker.md      ASYNCQ_      test_docs_deployment::test_addresses_of_environment_files_are_those_of_clients
docs/how-to/docker.md      dockerfile   test_docs_deployment::test_image_runs_a_worker_as_process_1_and_not_as_root
docs/how-to/docker.md      yaml         test_docs_deployment::test_compose_starts_what_the_command_line_accepts
docs/how-to/doctor.md      ACL SETUSER  test_doctor_acl::test_page_of_the_doctor_shows_the_rules_as_they_are
docs/how-to/kubernetes.md  yaml         test_docs_deployment::test_deployment_starts_what_the_command_line_accepts
docs/how-to/metrics.md     yaml         test_docs_blocks::test_metrics_page_probes_and_scrapes
docs/how-to/periodic.md    toml         test_docs_blocks::test_file_of_periodic_tasks_is_read
docs/how-to/systemd.md     ini          test_docs_deployment::test_unit_starts_what_the_command_line_accepts
docs/how-to/systemd.md     ASYNCQ_      test_docs_deployment::test_variables_of_environment_files_are_those_of_the_worker
docs/how-to/systemd.md     systemctl    test_docs_blocks::test_systemd_page_names_units_and_pages_that_exist
docs/how-to/migrate-from-*.md  py       test_docs_guides::test_program_before_is_one_and_its_words_are_explained
docs/how-to/migrate-from-asynq.md  go   interop/test_guide::test_programs_of_both_languages_handle_the_tasks_of_the_other
docs/how-to/testing.md     toml         test_docs_guides::test_tests_of_the_testing_page_pass
docs/internals.md          *            test_docs_blocks::test_names_in_a_picture_of_the_internals_exist
docs/security.md           rediss://    test_docs_blocks::test_address_is_one_that_a_client_takes
"""  # noqa: E501 - a table
HELD = [Held(*re.split(r"  +", line)) for line in TABLE.strip().splitlines()]

RUN = {
    "README.md": "test_readme::test_readme_does_what_it_says",
    "docs/start.md": "test_readme::test_start_page_does_what_it_says",
    "docs/guarantees.md": "test_docs_programs::test_guarantees_page_",
    "docs/how-to/doctor.md": "test_docs_programs::test_doctor_page_",
    "docs/how-to/fastapi.md": "test_docs_programs::test_fastapi_page_",
    "docs/how-to/handlers.md": "test_docs_programs::test_handlers_page_",
    "docs/how-to/inspect.md": "test_docs_programs::test_inspect_page_",
    "docs/how-to/migrate-from-arq.md": "test_docs_guides::test_arq_page_",
    "docs/how-to/migrate-from-celery.md": "test_docs_guides::test_celery_page_",
    "docs/how-to/migrate-from-asynq.md": "interop/test_guide::test_programs_of_both_languages_",
    "docs/how-to/metrics.md": "test_docs_programs::test_metrics_page_",
    "docs/how-to/periodic.md": "test_docs_programs::test_periodic_page_",
    "docs/how-to/testing.md": "test_docs_guides::test_tests_of_the_testing_page_",
    "docs/how-to/tracing.md": "test_docs_programs::test_tracing_page_",
}
"""How the tests begin that run the programs of a page."""


def holds(held: Held, block: Block) -> bool:
    if not fnmatch(block.page, held.pages):
        return False
    if block.language:
        return held.kind == block.language
    if held.kind == "commands":
        return all(re.match(r"(python|asyncq) ", line) for line in block.text.splitlines())
    return held.kind == "*" or block.text.startswith(held.kind)


@cache
def functions_of(module: str) -> dict[str, str]:
    """Their names and sources."""
    text = (TESTS / f"{module}.py").read_text()
    return {
        node.name: ast.get_source_segment(text, node) or ""
        for node in ast.parse(text).body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }


# The table


def test_every_block_is_held_by_a_test() -> None:
    assert len(blocks()) > 60
    free = [
        f"{b} ({b.language or b.text[:40]!r})"
        for b in blocks()
        if not any(holds(h, b) for h in HELD)
    ]
    assert free == [], "write a test that holds each of these, and name it in the table"


@pytest.mark.parametrize("held", HELD, ids=lambda held: f"{held.pages} {held.kind}")
def test_line_of_the_table_names_a_test_and_a_block(held: Held) -> None:
    module, _, function = held.by.partition("::")
    assert function in functions_of(module)
    assert any(holds(held, block) for block in blocks())


@pytest.mark.parametrize("page", [name for name in NAMES if programs(name)])
def test_programs_of_a_page_are_run(page: str) -> None:
    assert page in RUN, "write tests that run its programs, and name them in RUN"
    module, _, beginning = RUN[page].partition("::")
    tests = [text for name, text in functions_of(module).items() if name.startswith(beginning)]
    for name in programs(page):
        others = [text for other, text in programs(page).items() if other != name]
        program = name.removesuffix(".py")
        assert any(
            re.search(rf'"{program}[.:"]|from {program} import', text) for text in [*tests, *others]
        ), f"{RUN[page]}... does not run {name}"


# What has no test elsewhere


@pytest.mark.parametrize("block", [b for b in blocks() if b.language in READ_BY], ids=str)
def test_block_is_well_formed(block: Block) -> None:
    assert READ_BY[block.language](block.text)


def test_metrics_page_probes_and_scrapes() -> None:
    said = (ROOT / "docs/how-to/metrics.md").read_text()
    served = set(re.findall(r"--(?:metrics-)?port (\d+)", said))
    probes, scrapes = (yaml.safe_load(text) for text in blocks_of("docs/how-to/metrics.md", "yaml"))
    for probe in probes.values():
        assert f"| `{probe['httpGet']['path']}` |" in said
        assert str(probe["httpGet"]["port"]) in served
    for job in scrapes["scrape_configs"]:
        for target in job["static_configs"][0]["targets"]:
            assert target.partition(":")[2] in served
    assert all((ROOT / "docs/monitoring" / name).is_file() for name in scrapes["rule_files"])


def test_file_of_periodic_tasks_is_read(tmp_path: Path) -> None:
    (text,) = blocks_of("docs/how-to/periodic.md", "toml")
    path = tmp_path / text.partition("\n")[0].removeprefix("# ")
    path.write_text(text)
    nightly, heartbeat = PeriodicTaskFile(path)()
    assert (nightly.name, nightly.options) == ("nightly report", {"queue": "low", "timeout": 1800})
    assert (heartbeat.spec, heartbeat.task.type) == ("@every 30s", "heartbeat")


def test_systemd_page_names_units_and_pages_that_exist() -> None:
    page = "docs/how-to/systemd.md"
    (text,) = (text for text in blocks_of(page, "") if text.startswith("systemctl"))
    units = re.findall(r"^# \S+/(asyncq-\w+)\.service$", (ROOT / page).read_text(), re.M)
    assert set(re.findall(r"\basyncq-\w+", text)) <= set(units)
    (port, path) = re.findall(r"http://127\.0\.0\.1:(\d+)(/\w+)", text)[0]
    assert f"--metrics-port 127.0.0.1:{port}" in blocks_of(page, "ini")[0]
    assert f"| `{path}` |" in (ROOT / "docs/how-to/metrics.md").read_text()


def test_address_is_one_that_a_client_takes() -> None:
    (address,) = (text.strip() for text in blocks_of("docs/security.md", ""))
    assert Client(address).where == "rediss://redis.example.org:6380"


@pytest.mark.parametrize(
    "block", [b for b in blocks() if b.page == "docs/internals.md"], ids=lambda block: block.line
)
def test_names_in_a_picture_of_the_internals_exist(block: Block) -> None:
    named = [name for line in block.text.splitlines() for name in names_at_the_left(line)]
    assert named
    assert [name for name in named if not is_in_the_source(name)] == []


def names_at_the_left(line: str) -> list[str]:
    """Those of the parts that a line explains; none if it goes on with what the one before says."""
    if re.match(r" {12,}(?!->)", line):
        return []
    parts = re.split(r"  +", line.strip())[0].removeprefix("-> ")
    return re.findall(r"[A-Za-z_][\w.]*\w", re.sub(r"\(.*\)|\.\.\.$", "", parts))


def is_in_the_source(name: str) -> bool:
    """A module, a package or a class; with a dot a function or method of a module."""
    module, _, function = name.partition(".")
    if function:
        paths = list(SOURCE.rglob(f"{module}.py"))
        return any(re.search(rf"def {function}\(", path.read_text()) for path in paths)
    if any(path.stem == name for path in SOURCE.rglob("*")):
        return True
    return any(re.search(rf"^class {name}\b", text, re.M) for text in sources())


@cache
def sources() -> list[str]:
    return [path.read_text() for path in SOURCE.rglob("*.py")]
