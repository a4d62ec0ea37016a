"""From TARGET on the command line to the object it names, or to an error that helps.

Everything a person gets wrong here is a `CommandError` of one line with the nearest name; what
their own code raises is shown with the frames of their own code only.
"""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import sys
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from asyncq import RedisNotConfiguredError, ServeMux, Server

from .failure import CommandError, Exit


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a command takes for TARGET, for its errors and its hints."""

    types: tuple[type, ...]
    accepted: str
    """A sentence."""
    example: str
    """A likely name for one."""


WORK = Wanted(
    (ServeMux, Server),
    "a target is a ServeMux, a Server, a handler (async def handler(task: Task)),"
    " or a function without arguments that returns one of these",
    "mux",
)

_OURS = Path(__file__).parent.parent
_MOST_NAMES = 8


def load_target(text: str, wanted: Wanted = WORK) -> object:
    """What `module:attribute` names; the current directory is importable.

    Raises `CommandError`.
    """
    _make_directory_importable()
    module_name, colon, attribute = text.partition(":")
    if _is_path(module_name):
        raise CommandError(_names_a_file(text, module_name, attribute or wanted.example))
    if not colon or not attribute or not _is_dotted(module_name):
        raise CommandError(_not_a_target(text, wanted))
    return _find(_import(module_name, attribute), attribute, wanted)


async def call_factory(value: object, text: str) -> object:
    """`value`, or what it returns if it is a function without arguments.

    Raises `CommandError` with the user's own traceback for whatever the function raises, but
    `RedisNotConfiguredError` as it is: a flag is missing.
    """
    if not is_factory(value):
        return value
    factory: Any = value
    try:
        made = factory()
        return await made if inspect.isawaitable(made) else made
    except RedisNotConfiguredError:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001 - any error of theirs is shown
        raise _raised_by_user(f"{text} raised", error) from None


def is_factory(value: object) -> bool:
    """Whether `value` is a function (or class) that can be called without arguments."""
    if not (inspect.isroutine(value) or inspect.isclass(value) or isinstance(value, partial)):
        return False
    try:
        inspect.signature(value).bind()
    except (TypeError, ValueError):
        return False
    return True


def describe(value: object) -> str:
    """What a value is, for people: `mux (ServeMux)` says more than its repr."""
    if inspect.isroutine(value):
        return "async function" if inspect.iscoroutinefunction(value) else "function"
    return f"class {value.__name__}" if isinstance(value, type) else type(value).__name__


def wrong_type(
    text: str, value: object, *, returned: bool = False, wanted: Wanted = WORK
) -> CommandError:
    """The error for a target that is something else."""
    article = "an" if describe(value)[0] in "aeiouAEIOU" else "a"
    said = (
        f"{text} {'returned' if returned else 'is'} {article} {describe(value)}; {wanted.accepted}"
    )
    module = sys.modules.get(text.partition(":")[0])
    return CommandError(said + (f". {_offer(module, wanted)}" if module else ""))


def _make_directory_importable() -> None:
    directory = os.getcwd()
    if directory not in sys.path and "" not in sys.path:
        sys.path.insert(0, directory)


# ---- the module ----


def _import(name: str, attribute: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if f"{name}.".startswith(f"{missing}.") and not _user_frames(error):
            raise CommandError(_no_module(name, missing, attribute)) from None
        raise _raised_by_user(f"importing {name} raised", error) from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - any error of theirs is shown
        raise _raised_by_user(f"importing {name} raised", error) from None


def _no_module(name: str, missing: str, attribute: str) -> str:
    parent, _, leaf = missing.rpartition(".")
    package = sys.modules.get(parent)
    if package is not None and not hasattr(package, "__path__"):
        return (
            f"{parent} is a module, not a package, so there is no {missing};"
            f" did you mean {parent}:{leaf}?"
        )
    directories = list(package.__path__) if package is not None else [os.getcwd()]
    said = f"there is no module {missing!r}"
    here = Path.cwd()
    below = next(here.glob(f"*/{leaf}.py"), None) if package is None else None
    if below is not None:
        below = below.relative_to(here)
        return f"{said} in {here}, but there is {below}: start from {below.parent}"
    known = sorted(set(_modules_in(directories)))
    near = get_close_matches(leaf, known, n=1)
    if near:
        right = f"{parent}.{near[0]}" if parent else near[0]
        return f"{said}; did you mean {right}{name.removeprefix(missing)}:{attribute}?"
    hint = f"it has {_listed(known)}" if known else "start from the directory that has it"
    return f"{said} in {', '.join(directories)}; {hint}"


def _modules_in(directories: Iterable[str]) -> Iterator[str]:
    for directory in directories:
        yield from (module.name for module in pkgutil.iter_modules([directory]))
        # A package needs no __init__.py.
        for path in Path(directory).glob("*/*.py"):
            if path.parent.name.isidentifier() and path.name != "__init__.py":
                yield path.parent.name


# ---- the attribute ----


def _find(module: ModuleType, path: str, wanted: Wanted) -> object:
    value: object = module
    walked = module.__name__
    for step, name in enumerate(path.split(".")):
        try:
            value = getattr(value, name)
        except AttributeError:
            near = get_close_matches(name, _public_names(value), n=1)
            if near:
                right = ".".join([*path.split(".")[:step], near[0], *path.split(".")[step + 1 :]])
                hint = f"did you mean {module.__name__}:{right}?"
            else:
                hint = _offer(module, wanted)
            raise CommandError(f"{walked} has no {name!r}; {hint}") from None
        walked += f".{name}" if step else f":{name}"
    return value


def _public_names(value: object) -> list[str]:
    return [name for name in dir(value) if not name.startswith("_")]


def _targets_in(module: ModuleType, wanted: Wanted) -> dict[str, object]:
    """What in it could be meant; what has two names is listed once."""
    found: dict[int, tuple[str, object]] = {}
    for name, value in vars(module).items():
        if isinstance(value, wanted.types):
            found.setdefault(id(value), (name, value))
    return dict(found.values())


def _offer(module: ModuleType, wanted: Wanted) -> str:
    found = _targets_in(module, wanted)
    if not found:
        return f"{module.__name__} has no " + " and no ".join(t.__name__ for t in wanted.types)
    offered = [f"{module.__name__}:{name} ({describe(value)})" for name, value in found.items()]
    return f"{module.__name__} has {_listed(offered)}"


# ---- not of the form module:attribute ----


def _is_path(module_name: str) -> bool:
    return module_name.endswith(".py") or "/" in module_name or os.sep in module_name


def _is_dotted(module_name: str) -> bool:
    return all(part.isidentifier() for part in module_name.split("."))


def _names_a_file(text: str, module_name: str, attribute: str) -> str:
    relative = os.path.relpath(module_name.removesuffix(".py"))
    module = relative.replace(os.sep, ".")
    if not _is_dotted(module):
        return f"{text!r} names a file outside of this directory; start from where the file is"
    return f"{text!r} names a file, not a module; did you mean {module}:{attribute}?"


def _not_a_target(text: str, wanted: Wanted) -> str:
    form = f"TARGET is module:attribute, such as tasks:{wanted.example}; got {text!r}"
    module_name = text.rstrip(":")
    if not _is_dotted(module_name):
        return form
    module = _try_import(module_name)
    if module is not None:
        found = list(_targets_in(module, wanted))
        if len(found) == 1:
            return f"{form}; did you mean {module_name}:{found[0]}?"
        return f"{form}; {_offer(module, wanted)}"
    parent, _, leaf = module_name.rpartition(".")
    if parent and hasattr(_try_import(parent), leaf):
        return f"{form}; did you mean {parent}:{leaf}?"
    near = get_close_matches(module_name, sorted(_modules_in([os.getcwd()])), n=1)
    return f"{form}; did you mean {near[0]}:{wanted.example}?" if near else form


def _try_import(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit):  # noqa: BLE001 - as the next line says
        return None  # the form is wrong in any case; this was for a better hint


# ---- what the user's code raised ----


def _raised_by_user(what: str, error: BaseException) -> CommandError:
    """Their traceback, without the frames of import machinery and of asyncq."""
    shown = traceback.TracebackException.from_exception(error)
    _keep_user_frames(shown, seen=set())
    return CommandError(
        f"{what} {type(error).__name__}",
        status=Exit.USAGE,
        traceback="".join(shown.format()),
    )


def _keep_user_frames(shown: traceback.TracebackException, seen: set[int]) -> None:
    if id(shown) in seen:
        return
    seen.add(id(shown))
    shown.stack = traceback.StackSummary.from_list(
        [frame for frame in shown.stack if _is_user_frame(frame.filename)]
    )
    for linked in (shown.__cause__, shown.__context__, *(shown.exceptions or ())):
        if linked is not None:
            _keep_user_frames(linked, seen)


def _user_frames(error: BaseException) -> list[traceback.FrameSummary]:
    frames = traceback.extract_tb(error.__traceback__)
    return [frame for frame in frames if _is_user_frame(frame.filename)]


def _is_user_frame(filename: str) -> bool:
    if filename.startswith("<frozen importlib") or filename == importlib.__file__:
        return False
    return not Path(filename).is_relative_to(_OURS)


def _listed(names: list[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
