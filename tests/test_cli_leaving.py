"""A worker process ends, also when something in it does not."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from asyncq.cli import leaving

STUCK = """
import logging, sys, threading, time
from asyncq.cli.leaving import exit_within
logging.basicConfig(format="%(message)s")
print("kept", end="")

def never_returns():
    time.sleep(1000)

threading.Thread(target=never_returns, name="stuck").start()
exit_within(0.01, 7)
"""


async def test_leftover_tasks_are_cancelled() -> None:
    leftover = asyncio.create_task(asyncio.Event().wait())
    assert await leaving.stop_leftovers() == []
    assert leftover.cancelled()


async def test_task_that_swallows_its_cancellation_is_named_with_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leaving, "LAST_S", 0.01)
    released = asyncio.Event()

    async def stubborn() -> None:
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue

    task = asyncio.create_task(stubborn(), name="one of mine")
    await asyncio.sleep(0)
    (named,) = await leaving.stop_leftovers()
    assert named.startswith("task one of mine (in ")
    assert f"{__file__}:" in named
    released.set()
    await task


def test_thread_that_never_returns_is_named_and_left() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 7
    assert ended.stdout == "kept"
    assert "leaving without waiting for thread stuck (in never_returns, <string>:" in ended.stderr
