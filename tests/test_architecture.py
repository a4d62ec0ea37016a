"""Who may import whom, and how long things may be.

All imports count: inside functions, and for type hints only. A cycle that `TYPE_CHECKING` hides
from Python is not hidden from the reader.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "asyncq"

LONGEST_FUNCTION = 65
LONGEST_MODULE = 500

LEAVES = {
    "errors": "",
    "_clock": "",
    "_task_ids": "",
    "_threads": "",
    "payload": "errors",
    "options": "errors",
    "task": "options payload errors",
    "task_type": "task options payload errors",
    "info": "task options payload errors",
    "context": "task payload errors",
    "handler": "task task_type payload errors _threads",
    "mux": "handler task task_type options payload errors",
    "retry": "task options errors",
    "statistics": "",
    "config": "mux handler retry statistics task options errors",
    "task_filter": "info task options payload errors",
    "duration_text": "",
    "safe_text": "",
    "size_text": "",
    "option_text": "options duration_text errors",
    "cron": "duration_text errors",
    "_signals": "",
    "_background": "_signals errors",
    "_closing": "",
}
ANY_LEAF = " ".join(LEAVES)
PUBLIC = (
    "asyncq errors options task task_type info context handler mux retry statistics config"
    " client sync inspector task_filter cron scheduler periodic periodic_file server rate devredis"
)

# A room is a module or package directly below asyncq; `asyncq` itself is the public names.
# The longest entry that fits a module counts. Whatever is in a room may import the rest of it.
MAY_IMPORT = LEAVES | {
    "devredis": "",
    "_broker": "errors task info payload options option_text _clock devredis",
    "_worker": f"{ANY_LEAF} _broker",
    "_worker.aggregator": f"{ANY_LEAF} _broker client",
    "client": f"{ANY_LEAF} _broker",
    "inspector": f"{ANY_LEAF} _broker client",
    "_entry": f"{ANY_LEAF} _broker",
    "scheduler": f"{ANY_LEAF} _entry _broker _worker client",
    "periodic": f"{ANY_LEAF} _entry _worker client scheduler",
    "periodic_file": f"{ANY_LEAF} periodic",
    "server": f"{ANY_LEAF} _broker _worker client scheduler periodic",
    "rate": f"{ANY_LEAF} _broker client",
    "sync": f"{ANY_LEAF} client",
    "doctor": f"{ANY_LEAF} _broker client",
    "asyncq": PUBLIC,
    "cli": f"{PUBLIC} doctor duration_text option_text safe_text size_text metrics dash",
    "dash": f"{PUBLIC} safe_text size_text",
    "web": PUBLIC,
    "metrics": PUBLIC,
    "otel": PUBLIC,
    "testing": PUBLIC,
    "__main__": "cli",
}
USERS = {"cli", "dash", "web", "metrics", "otel", "testing"}

ALONE = {
    "devredis.keeper": "it is run as a script, without the rest of asyncq",
    "_broker.keys": "the names of keys are facts",
    "_broker.wire": "so are the fields of messages",
}
STRANGERS = {("_broker.inspection", "_broker.broker")}


@dataclass(frozen=True)
class Module:
    name: str
    """Dotted, without `asyncq.`; the package itself is `asyncq`."""
    lines: int
    functions: tuple[tuple[str, int], ...]
    """The name and length in lines of each function."""
    imports: frozenset[str]
    """The modules of the package that it imports."""

    @property
    def room(self) -> str:
        return room_of(self.name)


def room_of(name: str) -> str:
    return name.partition(".")[0]


def read_package(root: Path) -> dict[str, Module]:
    paths = {dotted(path, root): path for path in root.rglob("*.py")}
    return {name: read_module(name, path, root, set(paths)) for name, path in paths.items()}


def dotted(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "asyncq"


def read_module(name: str, path: Path, root: Path, names: set[str]) -> Module:
    text = path.read_text()
    tree = ast.parse(text)
    package = path.parent.relative_to(root.parent).parts
    imported = {
        module
        for target in import_targets(tree, package)
        if (module := internal(target, names)) is not None and module != name
    }
    functions = tuple(
        (node.name, node.end_lineno - node.lineno + 1)
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.end_lineno
    )
    return Module(name, len(text.splitlines()), functions, frozenset(imported))


def import_targets(tree: ast.AST, package: tuple[str, ...]) -> Iterator[str]:
    """The absolute dotted name of everything imported, in or outside of functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            prefix = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{prefix}.{alias.name}" for alias in node.names)


def internal(target: str, names: set[str]) -> str | None:
    """The module that `import target` reads: itself, or the one that has the name at its end."""
    first, _, rest = target.partition(".")
    if first != "asyncq":
        return None
    if rest in names:
        return rest
    return rest.rpartition(".")[0] or "asyncq"


def cycle_in(modules: dict[str, Module]) -> list[str]:
    try:
        TopologicalSorter({m.name: m.imports for m in modules.values()}).prepare()
    except CycleError as error:
        cycle: list[str] = error.args[1]
        return cycle[::-1]
    return []


def broken_rules(modules: dict[str, Module]) -> list[str]:
    return [
        problem
        for module in modules.values()
        for imported in sorted(module.imports)
        if (problem := broken_rule(module, imported))
    ] + [
        f"{module.name}: {module.room} is not in the table of this test: who may import it, and"
        " what may it import?"
        for module in modules.values()
        if module.room not in MAY_IMPORT
    ]


def broken_rule(module: Module, imported: str) -> str | None:
    if module.name in ALONE:
        return f"{module.name} imports {imported}, but stands alone: {ALONE[module.name]}"
    if (module.name, imported) in STRANGERS:
        return f"{module.name} imports {imported}, which it must not know"
    room = room_of(imported)
    if room != module.room and room not in allowed(module.name):
        return f"{module.name} imports {imported}, but may import only: {allowed(module.name)}"
    return None


def allowed(name: str) -> list[str]:
    while name and name not in MAY_IMPORT:
        name = name.rpartition(".")[0]
    return MAY_IMPORT.get(name, "").split()


def too_long(modules: dict[str, Module]) -> list[str]:
    return [
        f"{module.name}: {module.lines} lines"
        for module in modules.values()
        if module.lines > LONGEST_MODULE
    ] + [
        f"{module.name}.{function}: {lines} lines"
        for module in modules.values()
        for function, lines in module.functions
        if lines > LONGEST_FUNCTION
    ]


# asyncq


@pytest.fixture(scope="module")
def asyncq_modules() -> dict[str, Module]:
    return read_package(PACKAGE)


def test_no_import_cycle(asyncq_modules: dict[str, Module]) -> None:
    assert cycle_in(asyncq_modules) == []


def test_every_import_is_allowed(asyncq_modules: dict[str, Module]) -> None:
    assert broken_rules(asyncq_modules) == []


def test_nothing_imports_the_users_of_the_public_names(asyncq_modules: dict[str, Module]) -> None:
    assert [
        (module.name, imported)
        for module in asyncq_modules.values()
        for imported in module.imports
        if (room := room_of(imported)) in USERS and module.room not in (room, "cli", "__main__")
    ] == []


def test_functions_and_modules_have_a_readable_length(asyncq_modules: dict[str, Module]) -> None:
    assert too_long(asyncq_modules) == []


# The checks themselves


def write_package(root: Path, files: dict[str, str]) -> dict[str, Module]:
    package = root / "asyncq"
    for name, text in ({"__init__.py": ""} | files).items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return read_package(package)


@pytest.mark.parametrize(
    "back",
    [
        "from . import client",
        "from .client import Client",
        "import asyncq.client",
        "from asyncq import client",
        "def f():\n    from .client import Client",
        "if TYPE_CHECKING:\n    from asyncq.client import Client",
    ],
)
def test_cycle_is_found_however_it_is_written(back: str, tmp_path: Path) -> None:
    modules = write_package(
        tmp_path,
        {
            "client.py": "from ._broker.broker import Broker",
            "_broker/broker.py": "from ..task import T",
        }
        | {"task.py": back, "_broker/__init__.py": ""},
    )
    assert sorted(cycle_in(modules)[1:]) == ["_broker.broker", "client", "task"]


def test_name_imported_from_a_package_is_an_import_of_that_package(tmp_path: Path) -> None:
    modules = write_package(
        tmp_path,
        {"server.py": "from asyncq import Task", "cli/main.py": "from ..devredis import ensure"}
        | {"devredis/__init__.py": "from .sharing import ensure", "devredis/sharing.py": ""},
    )
    assert modules["server"].imports == {"asyncq"}
    assert modules["cli.main"].imports == {"devredis"}
    assert modules["devredis"].imports == {"devredis.sharing"}


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("errors.py", "from .task import Task"),
        ("_broker/broker.py", "from ..client import Client"),
        ("_worker/processor.py", "from ..client import Client"),
        ("_worker/aggregator.py", "from ..server import Server"),
        ("server.py", "from .inspector import Inspector"),
        ("inspector.py", "from .server import Server"),
        ("_broker/inspection.py", "from .broker import Broker"),
        ("cli/inspect.py", "from .._broker import keys"),
        ("devredis/keeper.py", "from .programs import find_server"),
        ("models.py", ""),
    ],
)
def test_forbidden_import_and_unknown_room_are_found(file: str, text: str, tmp_path: Path) -> None:
    modules = write_package(
        tmp_path, {"_broker/broker.py": "", "devredis/programs.py": ""} | {file: text}
    )
    assert len(broken_rules(modules)) == 1


def test_aggregator_may_import_the_client(tmp_path: Path) -> None:
    modules = write_package(
        tmp_path, {"client.py": "", "_worker/aggregator.py": "from ..client import Client"}
    )
    assert broken_rules(modules) == []


def test_long_function_and_long_module_are_found(tmp_path: Path) -> None:
    modules = write_package(
        tmp_path,
        {
            "task.py": "def f():\n" + "    pass\n" * LONGEST_FUNCTION,
            "client.py": "x = 1\n" * (LONGEST_MODULE + 1),
        },
    )
    assert sorted(too_long(modules)) == ["client: 501 lines", "task.f: 66 lines"]
