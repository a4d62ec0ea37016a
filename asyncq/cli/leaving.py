"""The end of a worker process, also when something in it does not end."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import sys
import sysconfig
import threading
import traceback
from types import FrameType
from typing import Any, NoReturn

_log = logging.getLogger("asyncq")

_STDLIB = sysconfig.get_path("stdlib") + os.sep

LAST_S = 1.0
"""How long what the server left behind has for its own end. By feel."""
EXIT_S = 5.0
"""How long the interpreter may take to exit: for what users registered with `atexit`. By feel."""


async def stop_leftovers() -> list[str]:
    """Cancels all other asyncio tasks; the names of those that did not end."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    if not others:
        return []
    _, running = await asyncio.wait(others, timeout=LAST_S)
    return [f"task {task.get_name()}{_place(_frames_of_task(task))}" for task in running]


def place_of_thread(thread_id: int) -> str:
    """Where a thread is, for people."""
    return _place(_frames_of_thread(thread_id))


def exit_within(seconds: float, status: int) -> None:
    """From now on this process leaves with `status`, even if threads or exit handlers hang."""

    def expire() -> None:
        alive = [
            f"thread {thread.name}{place_of_thread(thread.ident or 0)}"
            for thread in threading.enumerate()
            if not thread.daemon and thread is not threading.main_thread()
        ]
        leave_at_once(alive or [f"the exit{place_of_thread(main_id)}"], status)

    main_id = threading.main_thread().ident or 0
    timer = threading.Timer(seconds, expire)
    timer.daemon = True
    timer.start()


def leave_at_once(still_running: list[str], status: int) -> NoReturn:
    """Leaves without waiting for what still runs, naming it in the log."""
    _log.warning("leaving without waiting for %s", "; ".join(still_running))
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _frames_of_thread(thread_id: int) -> list[FrameType]:
    """Innermost first."""
    innermost = sys._current_frames().get(thread_id)
    if innermost is None:
        return []
    return [frame for frame, _ in traceback.walk_stack(innermost)]


def _frames_of_task(task: asyncio.Task[object]) -> list[FrameType]:
    """Innermost first: `Task.get_stack` shows only the outermost of those that are suspended."""
    frames: list[FrameType] = []
    awaited: Any = task.get_coro()
    while inspect.iscoroutine(awaited):
        if awaited.cr_frame is not None:
            frames.append(awaited.cr_frame)
        awaited = awaited.cr_await
    return frames[::-1]


def _place(frames: list[FrameType]) -> str:
    """The innermost frame that is not Python's own, if there is one."""
    frame = next((f for f in frames if not _is_pythons_own(f.f_code.co_filename)), None)
    frame = frame or next(iter(frames), None)
    if frame is None:
        return ""
    return f" (in {frame.f_code.co_qualname}, {frame.f_code.co_filename}:{frame.f_lineno})"


def _is_pythons_own(filename: str) -> bool:
    return filename.startswith(_STDLIB) and "site-packages" not in filename
