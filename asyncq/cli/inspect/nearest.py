"""What somebody may have meant, and states by their names."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

import typer

STATES = ("active", "pending", "scheduled", "retry", "archived", "completed", "aggregating")
"""The names of `TaskState`, which is imported only to do work."""

RUNNABLE = ("scheduled", "retry", "archived", "completed", "aggregating")
ARCHIVABLE = ("pending", "scheduled", "retry", "completed", "aggregating")
DELETABLE = ("pending", "scheduled", "retry", "archived", "completed", "aggregating")

_SHOWN = 5


def suggestion(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'default'?`, or what there is."""
    known = list(known)
    near = get_close_matches(name, known, 1, cutoff=0.5)
    if near:
        return f"; did you mean {near[0]!r}?"
    if not known:
        return "; there are none"
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    return f"; there are {', '.join(map(repr, known[:_SHOWN]))}{more}"


def state_name(text: str, allowed: Iterable[str] = STATES) -> str:
    """The state that is meant. Raises `typer.BadParameter` with the nearest one."""
    name = text.strip().lower()
    allowed = tuple(allowed)
    if name in allowed:
        return name
    if name in STATES:
        raise typer.BadParameter(f"tasks in state {name!r} cannot; it takes {', '.join(allowed)}")
    near = get_close_matches(name, allowed, 1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(allowed)}"
    raise typer.BadParameter(f"there is no state {text!r}; {hint}")
