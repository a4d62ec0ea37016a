"""Waiting for what happens, never for a fixed time."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")

LONGEST_S = 90
"""Only ever reached by a test that fails."""


async def until(
    condition: Callable[[], Any],
    what: str | Callable[[], object] = "",
    *,
    every_s: float = 0.005,
    longest_s: float = LONGEST_S,
) -> Any:
    """The first truthy value of `condition()`, plain or async, asked again and again.

    `what` is for the one who reads of its failure; it may be a function, called then.
    """
    deadline = time.monotonic() + longest_s
    while True:
        found = condition()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return found
        assert time.monotonic() < deadline, (
            f"never came true: {what() if callable(what) else what or condition}"
        )
        await asyncio.sleep(every_s)


async def soon(awaitable: Awaitable[T]) -> T:
    """The value of `awaitable`, which a test that passes does not wait for long."""
    async with asyncio.timeout(LONGEST_S):
        return await awaitable
