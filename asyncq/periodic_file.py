"""`PeriodicTaskFile`: a provider of periodic tasks that reads a TOML or YAML file.

[[tasks]]
spec = "0 3 * * *"
type = "report:nightly"
payload = { region = "eu" }
queue = "low"
timeout = "30m"
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias, cast

from . import cron
from .duration_text import parse_duration
from .errors import InvalidResultError
from .options import NAMES, EnqueueOptions, check_names, compose
from .periodic import PeriodicTask
from .task import Task

_OWN = ("spec", "type", "payload", "headers", "name")
_DURATIONS = ("timeout", "unique", "process_in", "retention")
_FIXED = ("deadline", "process_at")  # one moment makes no sense for what is enqueued for ever
_KEYS = (*_OWN, *(name for name in NAMES if name not in _FIXED))

_Lines: TypeAlias = "list[int | None]"


class PeriodicTaskFile:
    """A provider for `PeriodicTaskManager`: what a file lists, read anew each time.

    The file is TOML with a table `[[tasks]]` for each, or YAML with a list `tasks:` (which needs
    `pip install "asyncq[yaml]"`). Each has `spec` and `type`, and may have `payload` (text as it
    is, anything else becomes JSON), `headers`, `name` and enqueue options; durations are seconds or
    texts such as "90s" and "1h30m". A file with any mistake in it counts as a whole: it raises
    `ValueError` that names the file, the line and the entry of each.

    Raises `ValueError` for another kind of file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() not in _LOADERS:
            raise ValueError(
                f"a file of periodic tasks ends in {', '.join(_LOADERS)}, got {str(path)!r}"
            )

    def __call__(self) -> list[PeriodicTask]:
        """The tasks as the file has them now. Raises `ValueError`, and `OSError` without one."""
        text = self.path.read_text(encoding="utf-8")
        content, lines = _LOADERS[self.path.suffix.lower()](text, str(self.path))
        listed = self._listed(content)
        tasks: list[PeriodicTask] = []
        problems: list[str] = []
        for number, raw in enumerate(listed, 1):
            try:
                tasks.append(_task(raw))
            except (TypeError, ValueError, InvalidResultError) as error:
                line = lines[number - 1] if len(lines) == len(listed) else None
                where = f"{self.path}:{line}" if line else str(self.path)
                problems.append(f"{where}: {_title(number, raw)}: {error}")
        if problems:
            raise ValueError("\n".join(problems))
        return tasks

    def __repr__(self) -> str:
        return f"PeriodicTaskFile({str(self.path)!r})"

    def _listed(self, content: object) -> list[Any]:
        listed = content.get("tasks") if isinstance(content, Mapping) else None
        if not isinstance(listed, list):
            form = "[[tasks]] tables" if self.path.suffix == ".toml" else "list under tasks:"
            raise ValueError(f"{self.path}: it has no {form}")
        check = cast("Mapping[str, Any]", content)
        extra = [name for name in check if name != "tasks"]
        if extra:
            raise ValueError(f"{self.path}: {extra[0]!r} is unknown here; there is only 'tasks'")
        return listed


def _task(raw: object) -> PeriodicTask:
    if not isinstance(raw, Mapping):
        raise TypeError(f"each is a table with spec and type, got {raw!r}")
    fields = dict(cast("Mapping[str, Any]", raw))
    for name in _FIXED:
        if name in fields:
            raise ValueError(f"{name} is one moment, and the task is enqueued again and again")
    check_names(fields, _KEYS, "key")
    for name in ("spec", "type"):
        if name not in fields:
            raise ValueError(f"it has no {name}")
    spec, type_, payload, headers, name = (fields.pop(own, None) for own in _OWN)
    cron.parse(spec)
    options = cast(EnqueueOptions, {key: _option(key, value) for key, value in fields.items()})
    compose(options)
    return PeriodicTask(spec, Task(type_, payload, headers=headers), name=name, **options)


def _option(name: str, value: object) -> object:
    if name not in _DURATIONS or not isinstance(value, str):
        return value
    try:
        return parse_duration(value) / 10**9
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _title(number: int, raw: object) -> str:
    if isinstance(raw, Mapping):
        fields = cast("Mapping[str, Any]", raw)
        for key in ("name", "type"):
            if key in fields:
                return f"entry {number} ({key} {fields[key]!r})"
    return f"entry {number}"


def _load_toml(text: str, path: str) -> tuple[object, _Lines]:
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: it is no TOML: {error}") from None
    headings = re.compile(r"^\s*\[\[\s*tasks\s*\]\]", re.MULTILINE)
    return content, [text.count("\n", 0, m.end()) + 1 for m in headings.finditer(text)]


def _load_yaml(text: str, path: str) -> tuple[object, _Lines]:
    try:
        import yaml  # noqa: PLC0415 - an optional extra
    except ImportError:
        raise ValueError(
            f'{path}: reading YAML needs PyYAML: pip install "asyncq[yaml]", or write TOML'
        ) from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else path
        problem = getattr(error, "problem", None) or str(error)
        raise ValueError(f"{where}: it is no YAML: {problem}") from None
    if not isinstance(node, yaml.MappingNode):
        return content, []
    lists = [value for key, value in node.value if key.value == "tasks"]
    items = [
        item for found in lists if isinstance(found, yaml.SequenceNode) for item in found.value
    ]
    return content, [item.start_mark.line + 1 for item in items]


_LOADERS = {".toml": _load_toml, ".yaml": _load_yaml, ".yml": _load_yaml}
