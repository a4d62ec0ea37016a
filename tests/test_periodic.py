"""The periodic task manager, and periodic tasks from files."""

from __future__ import annotations

import asyncio
import builtins
import logging
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from asyncq import (
    Inspector,
    PeriodicTask,
    PeriodicTaskFile,
    PeriodicTaskManager,
    Task,
)


class Listing:
    """A provider whose list, or error, the test sets."""

    def __init__(self, *tasks: Any) -> None:
        self.tasks: Sequence[Any] = tasks
        self.error: Exception | None = None

    def __call__(self) -> Sequence[Any]:
        if self.error is not None:
            raise self.error
        return self.tasks


def a_task(type_: str = "t", spec: str = "@every 1h", **options: Any) -> PeriodicTask:
    return PeriodicTask(spec, Task(type_), **options)


def shown(manager: PeriodicTaskManager) -> list[tuple[str, str]]:
    return [(entry.task.type, entry.spec) for entry in manager.entries]


async def test_entries_follow_the_provider(redis_url: str, queue: str) -> None:
    stays, goes, comes = (a_task(type_, queue=queue) for type_ in ("stays", "goes", "comes"))
    provider = Listing(stays, goes)
    async with PeriodicTaskManager(redis_url, provider) as manager:
        before = {entry.task.type: entry.id for entry in manager.entries}
        provider.tasks = [a_task("stays", queue=queue), comes]
        await manager._sync()
        after = {entry.task.type: entry.id for entry in manager.entries}
        assert list(after) == ["stays", "comes"]
        assert after["stays"] == before["stays"]


@pytest.mark.parametrize(
    "changed",
    [
        PeriodicTask("@every 2h", Task("t", "p"), name="n"),
        PeriodicTask("@every 1h", Task("t", "other"), name="n"),
        PeriodicTask("@every 1h", Task("t", "p", headers={"a": "b"}), name="n"),
        PeriodicTask("@every 1h", Task("t", "p", max_retry=1), name="n"),
        PeriodicTask("@every 1h", Task("t", "p"), name="n", retention=1),
    ],
)
async def test_whatever_changes_in_an_entry_is_taken_over(
    redis_url: str, queue: str, changed: PeriodicTask
) -> None:
    provider = Listing(PeriodicTask("@every 1h", Task("t", "p"), name="n"))
    async with PeriodicTaskManager(redis_url, provider) as manager:
        (before,) = manager.entries
        provider.tasks = [changed]
        await manager._sync()
        (after,) = manager.entries
        assert after.id != before.id
        assert (after.spec, after.task) == (changed.spec, changed.task)


async def test_it_looks_again_at_intervals_and_shows_its_entries(
    redis_url: str, queue: str
) -> None:
    asked = asyncio.Semaphore(0)

    async def provider() -> list[PeriodicTask]:
        asked.release()
        return [a_task(queue=queue)]

    manager = PeriodicTaskManager(redis_url, provider, sync_interval=timedelta(milliseconds=10))
    async with manager, Inspector(redis_url) as inspector, asyncio.timeout(30):
        for _ in range(3):
            await asked.acquire()
        (entry,) = manager.entries
        assert entry.id in [shown.id for shown in await inspector.scheduler_entries()]


async def test_a_provider_that_fails_changes_nothing(
    redis_url: str, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    provider = Listing(a_task(queue=queue))
    async with PeriodicTaskManager(redis_url, provider) as manager:
        provider.error = RuntimeError("no database")
        await manager._sync()
        assert shown(manager) == [("t", "@every 1h")]
    assert "they stay as they are" in caplog.text
    assert "no database" in caplog.text


async def test_a_wrong_entry_does_not_hold_up_the_others(
    redis_url: str, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    provider = Listing(a_task("named", name="n", queue=queue), a_task("goes", queue=queue))
    async with PeriodicTaskManager(redis_url, provider) as manager:
        provider.tasks = [
            a_task("named", "@every nothing", name="n", queue=queue),
            "no task",
            a_task("comes", queue=queue),
        ]
        caplog.set_level(logging.ERROR)
        await manager._sync()
        assert shown(manager) == [("named", "@every 1h"), ("comes", "@every 1h")]
    assert "entry 1, <PeriodicTask 'n' '@every nothing'" in caplog.text
    assert "entry 2, 'no task': a provider lists PeriodicTask" in caplog.text


async def test_two_entries_that_are_the_same_are_one_and_both_are_named(
    redis_url: str, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    provider = Listing()
    async with PeriodicTaskManager(redis_url, provider) as manager:
        provider.tasks = [
            a_task("one", name="n", queue=queue),
            a_task("two", "@every 2h", name="n", queue=queue),
        ]
        await manager._sync()
        assert shown(manager) == [("one", "@every 1h")]
    assert "entry 2, 'n' (@every 2h), is listed twice: the other is 'n' (@every 1h)" in caplog.text


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ([a_task(spec="* * *")], "entry 1, .*: it has 3 fields"),
        ([a_task(timeout=0.5)], "timeout="),
        ([a_task(), a_task()], "is listed twice"),
        ([None], "a provider lists PeriodicTask"),
    ],
)
async def test_it_does_not_start_with_a_wrong_entry(
    redis_url: str, tasks: list[Any], message: str
) -> None:
    manager = PeriodicTaskManager(redis_url, Listing(*tasks))
    with pytest.raises(ValueError, match=message):
        await manager.start()
    assert manager.state == "closed"


async def test_it_does_not_start_when_the_provider_fails(redis_url: str) -> None:
    provider = Listing()
    provider.error = LookupError("no such table")
    with pytest.raises(LookupError, match="no such table"):
        await PeriodicTaskManager(redis_url, provider).start()


async def test_a_provider_that_returns_no_list_is_an_error(redis_url: str) -> None:
    wrong: Any = lambda: 5  # noqa: E731 - shorter than a function
    with pytest.raises(TypeError, match="returns a list of PeriodicTask, this one 5"):
        await PeriodicTaskManager(redis_url, wrong).start()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"provider": []}, TypeError, "provider= takes a function"),
        ({"sync_interval": 0}, ValueError, "sync_interval= must be more than 0"),
        ({"location": "Nowhere"}, ValueError, "there is no time zone"),
    ],
)
def test_impossible_settings_are_refused(
    redis_url: str, arguments: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        PeriodicTaskManager(redis_url, **({"provider": Listing()} | arguments))


# Files

TOML = """
[[tasks]]
spec = "0 3 * * *"
type = "report"
payload = { region = "eu", days = [1, 2] }
headers = { team = "data" }
name = "nightly"
queue = "low"
timeout = "1h30m"
retention = 60

[[tasks]]
spec = "@every 30s"
type = "ping"
payload = "text"
"""
YAML = """
tasks:
  - spec: "0 3 * * *"
    type: report
    payload: {region: eu, days: [1, 2]}
    headers: {team: data}
    name: nightly
    queue: low
    timeout: 1h30m
    retention: 60
  - spec: "@every 30s"
    type: ping
    payload: text
"""


def file_of(directory: Path, name: str, text: str) -> PeriodicTaskFile:
    path = directory / name
    path.write_text(text)
    return PeriodicTaskFile(path)


@pytest.mark.parametrize(("name", "text"), [("p.toml", TOML), ("p.yaml", YAML), ("p.yml", YAML)])
def test_a_file_lists_tasks(tmp_path: Path, name: str, text: str) -> None:
    report, ping = file_of(tmp_path, name, text)()
    assert (report.spec, report.name) == ("0 3 * * *", "nightly")
    assert report.task == Task("report", {"region": "eu", "days": [1, 2]}, headers={"team": "data"})
    assert report.options == {"queue": "low", "timeout": 5400, "retention": 60}
    assert (ping.spec, ping.name, ping.options) == ("@every 30s", None, {})
    assert ping.task == Task("ping", "text")


async def test_a_file_is_a_provider(redis_url: str, tmp_path: Path) -> None:
    provider = file_of(tmp_path, "p.toml", TOML)
    async with PeriodicTaskManager(redis_url, provider) as manager:
        assert shown(manager) == [("report", "0 3 * * *"), ("ping", "@every 30s")]
        provider.path.write_text(TOML.replace("@every 30s", "@every 40s"))
        await manager._sync()
        assert shown(manager) == [("report", "0 3 * * *"), ("ping", "@every 40s")]
        provider.path.write_text("[[tasks")
        await manager._sync()
        assert len(manager.entries) == 2


@pytest.mark.parametrize("name", ["p.toml", "p.yaml"])
def test_a_mistake_is_found_in_its_line(tmp_path: Path, name: str) -> None:
    text = (TOML if name == "p.toml" else YAML).replace("@every 30s", "@every day")
    with pytest.raises(ValueError, match="cron spec '@every day'") as caught:
        file_of(tmp_path, name, text)()
    line = 12 if name == "p.toml" else 11
    assert f"{name}:{line}: entry 2 (type 'ping'): " in str(caught.value)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ('spec = "@daily"', "entry 1: it has no type"),
        ('type = "t"', "it has no spec"),
        ('type = "t"\nspec = "@daily"\nqeue = "q"', "unknown key 'qeue'; did you mean 'queue'"),
        ('type = "t"\nspec = "@daily"\ntimeout = "1d"', "timeout: a duration is written"),
        ('type = "t"\nspec = "@daily"\nmax_retry = -1', "max_retry="),
        ('type = "t"\nspec = "@daily"\nheaders = { a = 1 }', "headers="),
        ('type = "t"\nspec = "@daily"\nprocess_at = 2030-01-01T00:00:00Z', "is one moment"),
    ],
)
def test_what_is_wrong_with_an_entry_is_said(tmp_path: Path, task: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        file_of(tmp_path, "p.toml", f"[[tasks]]\n{task}\n")()
    assert "p.toml:1: entry 1" in str(caught.value)


def test_all_mistakes_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"entry 1.*\n.*entry 2"):
        file_of(tmp_path, "p.toml", "[[tasks]]\n[[tasks]]\n")()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.toml", "[[tasks]", "it is no TOML: .*line 1"),
        ("p.toml", "", r"it has no \[\[tasks\]\] tables"),
        ("p.toml", "tasks = []\nother = 1", "'other' is unknown here"),
        ("p.toml", "tasks = [1]", "entry 1: each is a table with spec and type, got 1"),
        ("p.yaml", "tasks: [", r"p.yaml:\d: it is no YAML"),
        ("p.yaml", "- spec: x", "it has no list under tasks"),
        ("p.yaml", "", "it has no list under tasks"),
    ],
)
def test_a_file_that_is_no_list_of_tasks_says_so(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        file_of(tmp_path, name, text)()


def test_another_kind_of_file_is_refused() -> None:
    with pytest.raises(ValueError, match=r"ends in \.toml, \.yaml, \.yml, got 'tasks\.json'"):
        PeriodicTaskFile("tasks.json")


def test_yaml_without_its_extra_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without_yaml(name: str, *arguments: Any, **named: Any) -> Any:
        if name == "yaml":
            raise ImportError(name)
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without_yaml)
    with pytest.raises(ValueError, match=r'pip install "asyncq\[yaml\]"'):
        file_of(tmp_path, "p.yaml", YAML)()
