"""One command at work: Redis reached, errors told as people need them, a quiet end."""

from __future__ import annotations

import asyncio
import io
import os
import sys
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from asyncq.client import Client
from asyncq.errors import (
    EnqueueError,
    InspectError,
    OutcomeUnknownError,
    QueueNotEmptyError,
    QueueNotFoundError,
    RedisReplyError,
    RedisUnavailableError,
)
from asyncq.inspector import Inspector

from ..failure import CommandError, Exit
from ..reach import refusal, wait_for_redis, wrong_address_explained
from .nearest import suggestion
from .output import Output
from .text import counted

T = TypeVar("T")


FORBIDDEN = "NOPERM"
"""What Redis says of queues that its user has no rights to, of the rest nothing."""


class RefusedError(Exception):
    """Something that was asked for cannot be done; its text says why. Other things may go on."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What a command works with."""

    client: Client
    inspector: Inspector
    out: Output

    async def check_queue(self, queue: str) -> None:
        """Raises `RefusedError` with the nearest name unless there is such a queue."""
        known = await self.inspector.queues()
        if queue not in known:
            raise RefusedError(f"there is no queue {queue!r}{suggestion(queue, known)}")

    async def one_by_one(
        self, names: Iterable[str], act: Callable[[str], Awaitable[T]]
    ) -> tuple[dict[str, T], dict[str, str]]:
        """Acts on each name, whatever becomes of the others: what came of those that worked, and
        why others did not, which is told on stderr."""
        done: dict[str, T] = {}
        failed: dict[str, str] = {}
        for name in dict.fromkeys(names):
            try:
                done[name] = await act(name)
            except (InspectError, RefusedError) as error:
                failed[name] = await self.explain(error)
            except RedisReplyError as error:
                if error.code != FORBIDDEN:
                    raise
                failed[name] = f"{name!r} is not for this user of Redis: {error.text}"
            else:
                continue
            self.out.problem(failed[name])
        return done, failed

    async def explain(self, error: Exception) -> str:
        """What is wrong, in the words of the command line."""
        match error:
            case QueueNotFoundError():
                known = await self.inspector.queues()
                return f"there is no queue {error.queue!r}{suggestion(error.queue, known)}"
            case QueueNotEmptyError(active=0):
                return (
                    f"queue {error.queue!r} is not deleted: it has {counted(error.size, 'task')};"
                    " --force deletes all with it"
                )
            case _:
                return str(error)


def run(
    work: Callable[[Desk], Awaitable[int | None]],
    *,
    redis: str | None,
    connect_timeout: float,
    json: bool,
) -> int:
    """Does the work; the exit status. Raises `CommandError`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # whatever the locale can show
    out = Output(json=json)
    try:
        with asyncio.Runner() as runner:
            status = runner.run(_work(work, out, redis, connect_timeout))
        sys.stdout.flush()
    except KeyboardInterrupt:
        return Exit.OK if out.endless else Exit.INTERRUPTED
    except BrokenPipeError:
        # Whoever read has enough. What is still in the buffer goes nowhere, without complaint.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.BROKEN_PIPE
    return status or Exit.OK


async def _work(
    work: Callable[[Desk], Awaitable[int | None]],
    out: Output,
    redis: str | None,
    connect_timeout: float,
) -> int | None:
    with wrong_address_explained():
        client = Client(redis)
    async with client, Inspector(client) as inspector:
        await wait_for_redis(client, connect_timeout, told=False)
        desk = Desk(client, inspector, out)
        try:
            return await work(desk)
        except OutcomeUnknownError as error:
            text = f"{error}; enqueue it again with --id {error.task_id} to have it once"
            raise CommandError(text, status=Exit.NO_REDIS) from None
        except (InspectError, EnqueueError, RefusedError) as error:
            raise CommandError(await desk.explain(error), status=Exit.FAILED) from None
        except RedisUnavailableError as error:
            raise CommandError(str(error), status=Exit.NO_REDIS) from None
        except RedisReplyError as error:
            raise refusal(client.where, error) from None


def unwrapped(results: dict[str, Any], failed: dict[str, str], name: str) -> list[dict[str, Any]]:
    """One record for each argument, for JSON: what came of it, and `error`."""
    done = [{name: key, **value, "error": None} for key, value in results.items()]
    return done + [{name: key, "error": why} for key, why in failed.items()]
