"""`TaskFilter`: which tasks of a state are meant, when looking at them or acting on them."""

from __future__ import annotations

from dataclasses import dataclass

from .info import TaskInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFilter:
    """Which tasks of a state are meant; what is not given does not matter.

    Texts are compared as they are, upper and lower case apart. Raises `TypeError` for what is no
    text, `ValueError` for an empty one.
    """

    type: str | None = None
    """The task's type; with `*` at the end all types that begin so."""
    payload: str | bytes | None = None
    """What the payload contains."""
    error: str | None = None
    """What the text of the last error contains."""

    def __post_init__(self) -> None:
        for name, kinds in _KINDS.items():
            value = getattr(self, name)
            if value is not None and not isinstance(value, kinds):
                wanted = " or ".join(kind.__name__ for kind in kinds)
                raise TypeError(f"{name}= takes {wanted}, got {value!r}")
            if value is not None and not value:
                raise ValueError(f"{name}= must not be empty; leave it out if any will do")

    def matches(self, task: TaskInfo) -> bool:
        """Whether a task is meant."""
        if self.type is not None:
            prefix = self.type.removesuffix("*")
            if not (task.type.startswith(prefix) if prefix != self.type else task.type == prefix):
                return False
        if self.payload is not None:
            wanted = self.payload.encode() if isinstance(self.payload, str) else self.payload
            if wanted not in task.payload:
                return False
        return self.error is None or self.error in task.last_error


_KINDS: dict[str, tuple[type, ...]] = {"type": (str,), "payload": (str, bytes), "error": (str,)}
