"""Does what was asked for and confirmed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from asyncq import AsyncqError, Inspector

from .state import (
    Action,
    Ended,
    ManyTasks,
    OneTask,
    SetPaused,
    WritePayload,
)

OnProgress = Callable[[int], None]


class Actor:
    """Acts through an inspector, which it does not close."""

    def __init__(self, inspector: Inspector) -> None:
        self._inspector = inspector

    async def do(self, action: Action, on_progress: OnProgress) -> Ended:
        """Returns how it ended; a failure of Redis or of the task's state is part of that.

        Cancel it to stop: what is done is done, and `on_progress` was told how much that is.
        """
        done = 0

        def told(count: int) -> None:
            nonlocal done
            done = count
            on_progress(count)

        try:
            match action:
                case OneTask():
                    await self._one(action)
                case SetPaused():
                    await self._set_paused(action)
                case WritePayload():
                    await self._inspector.update_payload(action.queue, action.id, action.payload)
                case ManyTasks():
                    return Ended(action, await self._many(action, told))
        except AsyncqError as error:
            return Ended(action, done, error=str(error))
        return Ended(action)

    async def _one(self, action: OneTask) -> None:
        if action.verb == "cancel":
            await self._inspector.cancel(action.id)
            return
        acts: dict[str, Callable[[str, str], Awaitable[None]]] = {
            "run": self._inspector.run_task,
            "archive": self._inspector.archive_task,
            "delete": self._inspector.delete_task,
        }
        await acts[action.verb](action.queue, action.id)

    async def _set_paused(self, action: SetPaused) -> None:
        if action.paused:
            await self._inspector.pause_queue(action.queue)
        else:
            await self._inspector.unpause_queue(action.queue)

    async def _many(self, action: ManyTasks, on_progress: OnProgress) -> int:
        if action.verb == "cancel":
            return await self._cancel_many(action, on_progress)
        acts = {
            "run": self._inspector.run_all,
            "archive": self._inspector.archive_all,
            "delete": self._inspector.delete_all,
        }
        return await acts[action.verb](
            action.queue,
            action.state,
            group=action.group or None,
            filter=action.filter,
            on_progress=on_progress,
        )

    async def _cancel_many(self, action: ManyTasks, on_progress: OnProgress) -> int:
        count = 0
        tasks = self._inspector.iter_tasks(action.queue, action.state, action.filter)
        async for task in tasks:
            await self._inspector.cancel(task.id)
            count += 1
            on_progress(count)
        return count
