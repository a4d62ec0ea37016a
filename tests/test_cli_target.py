"""TARGET: what it may name, and how mistakes are explained."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from asyncq import ServeMux, Server, Task
from asyncq.cli.failure import CommandError, Exit
from asyncq.cli.target import call_factory, is_factory, load_target

TASKS = """
from asyncq import ServeMux, Server, Task

mux = ServeMux()
server = Server("redis://localhost", mux)

class Namespace:
    inner = mux

async def handler(task: Task) -> None: ...
def make() -> ServeMux: return mux
async def make_later() -> ServeMux: return mux
def broken() -> ServeMux: raise LookupError("no such table")
"""

Write = Callable[[str, str], None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes a module into the current directory; it is forgotten after the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)

    def write(path: str, text: str) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    yield write
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def shop(write: Write) -> None:
    """A module `shop_tasks` with targets of all kinds."""
    write("shop_tasks.py", TASKS)


def error_of(text: str) -> CommandError:
    with pytest.raises(CommandError) as raised:
        load_target(text)
    assert raised.value.status == Exit.USAGE
    return raised.value


# What a target may be


@pytest.mark.usefixtures("shop")
def test_module_of_the_current_directory_is_found() -> None:
    assert isinstance(load_target("shop_tasks:mux"), ServeMux)
    assert isinstance(load_target("shop_tasks:server"), Server)


@pytest.mark.usefixtures("shop")
def test_attribute_may_be_dotted() -> None:
    assert load_target("shop_tasks:Namespace.inner") is load_target("shop_tasks:mux")


def test_module_may_be_in_a_package(write: Write) -> None:
    write("shop_app/jobs.py", TASKS)
    assert isinstance(load_target("shop_app.jobs:mux"), ServeMux)


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize("name", ["make", "make_later"])
async def test_function_without_arguments_is_called(name: str) -> None:
    made = await call_factory(load_target(f"shop_tasks:{name}"), name)
    assert made is load_target("shop_tasks:mux")


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize("name", ["handler", "mux", "server"])
async def test_handler_mux_and_server_are_not_called(name: str) -> None:
    value = load_target(f"shop_tasks:{name}")
    assert await call_factory(value, name) is value


def test_handler_object_is_no_factory() -> None:
    class Handler:
        async def __call__(self, task: Task) -> None: ...

    assert not is_factory(Handler())


# Mistakes


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("shop_task:mux", "there is no module 'shop_task'; did you mean shop_tasks:mux?"),
        ("shop_tasks:mix", "shop_tasks has no 'mix'; did you mean shop_tasks:mux?"),
        ("shop_tasks:Namespace.iner", "did you mean shop_tasks:Namespace.inner?"),
        ("shop_tasks:Namespce.inner", "did you mean shop_tasks:Namespace.inner?"),
        (
            "shop_tasks:application",
            "shop_tasks has shop_tasks:mux (ServeMux), shop_tasks:server (Server)",
        ),
        ("shop_tasks.mux:mux", "shop_tasks is a module, not a package"),
        ("shop_tasks.mux", "did you mean shop_tasks:mux?"),
        ("shop_task", "did you mean shop_tasks:mux?"),
        ("shop_tasks.py", "names a file, not a module; did you mean shop_tasks:mux?"),
        ("./shop_tasks.py:server", "did you mean shop_tasks:server?"),
        ("../shop_tasks.py:mux", "outside of this directory"),
        ("", "TARGET is module:attribute, such as tasks:mux; got ''"),
        (":mux", "TARGET is module:attribute"),
        ("shop tasks:mux", "TARGET is module:attribute"),
    ],
)
def test_mistake_is_explained_on_one_line(text: str, hint: str) -> None:
    error = error_of(text)
    assert hint in str(error)
    assert "\n" not in str(error)
    assert error.traceback == ""


def test_target_without_colon_names_the_only_mux_of_the_module(write: Write) -> None:
    write("lone_tasks.py", "from asyncq import ServeMux\njobs = ServeMux()\nsame = jobs\n")
    assert "did you mean lone_tasks:jobs?" in str(error_of("lone_tasks"))


@pytest.mark.usefixtures("shop")
def test_target_without_colon_lists_several_targets() -> None:
    assert "shop_tasks:mux (ServeMux), shop_tasks:server" in str(error_of("shop_tasks"))


def test_module_in_a_directory_below_is_pointed_at(write: Write) -> None:
    write("src/deep_tasks.py", TASKS)
    assert "there is src/deep_tasks.py: start from src" in str(error_of("deep_tasks:mux"))


def test_nearest_module_of_a_package_keeps_the_package(write: Write) -> None:
    write("shop_pack/__init__.py", "")
    write("shop_pack/tasks.py", TASKS)
    assert "did you mean shop_pack.tasks:mux?" in str(error_of("shop_pack.taks:mux"))


def test_missing_dependency_is_not_taken_for_a_missing_target(write: Write) -> None:
    write("needy_tasks.py", "import not_installed_anywhere\n")
    error = error_of("needy_tasks:mux")
    assert "No module named 'not_installed_anywhere'" in error.traceback
    assert "needy_tasks.py" in error.traceback


def test_error_while_importing_shows_only_the_users_frames(write: Write) -> None:
    write("torn_tasks.py", "from asyncq import *\nmux = ServeMux()\nmux.handle('a', 5)\n")
    error = error_of("torn_tasks:mux")
    assert str(error) == "importing torn_tasks raised TypeError"
    assert [line for line in error.traceback.splitlines() if "File " in line] == [
        f'  File "{Path.cwd() / "torn_tasks.py"}", line 3, in <module>'
    ]


def test_chained_errors_lose_our_frames_too(write: Write) -> None:
    write("chain_lib.py", "def fail():\n    raise KeyError('inner')\n")
    write(
        "chain_tasks.py",
        "import chain_lib\ntry:\n    chain_lib.fail()\nexcept KeyError as e:\n"
        "    raise RuntimeError('outer') from e\n",
    )
    traceback = error_of("chain_tasks:mux").traceback
    assert "KeyError: 'inner'" in traceback
    assert "RuntimeError: outer" in traceback
    assert "importlib" not in traceback


@pytest.mark.parametrize("text", ["this is no python\n", "import sys; sys.exit(3)\n"])
def test_module_that_cannot_run_is_explained(text: str, write: Write) -> None:
    write("sick_tasks.py", text)
    assert "sick_tasks.py" in error_of("sick_tasks:mux").traceback


@pytest.mark.usefixtures("shop")
async def test_error_of_a_factory_shows_the_users_frames() -> None:
    with pytest.raises(CommandError) as raised:
        await call_factory(load_target("shop_tasks:broken"), "shop_tasks:broken")
    assert str(raised.value) == "shop_tasks:broken raised LookupError"
    assert "LookupError: no such table" in raised.value.traceback
    assert "asyncq/cli" not in raised.value.traceback
