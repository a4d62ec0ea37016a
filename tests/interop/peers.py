"""Drives processes of both languages: `peer.py`, and the program in `golang/`.

task = await peer.enqueue("echo", b"hello", queue=queue)
await worker.event("done", task)
assert (await peer.inspect("task_info", queue=queue, task_id=task["id"]))["state"] == "completed"
"""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from waiting import soon, until

Seen = dict[str, Any]
"""A task, queue, server or event in the words of both sides: plain values of JSON."""


class CallError(Exception):
    """What a call failed with on the other end."""


class Peer:
    """One process. Its replies and events are read by a thread, so any event loop may ask."""

    def __init__(self, language: str, command: Sequence[str], log: Path) -> None:
        self.language = language
        self.events: list[Seen] = []
        self._log = log
        self._replies: dict[int, Future[Any]] = {}
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> str:
        """What it wrote to standard error."""
        return self._log.read_text(errors="replace")

    async def call(self, do: str, **arguments: Any) -> Any:
        """The value of one call. Raises `CallError`."""
        number = len(self._replies)
        reply = self._replies[number] = Future()
        request = json.dumps({"n": number, "do": do, **arguments}) + "\n"
        assert self._process.stdin is not None
        self._process.stdin.write(request.encode())
        self._process.stdin.flush()
        return await soon(asyncio.wrap_future(reply))

    async def enqueue(
        self,
        type: str,
        payload: bytes | None = None,
        headers: dict[str, str] | None = None,
        **options: Any,
    ) -> Seen:
        """Options are those of `Client.enqueue`, durations in seconds, times in Unix seconds."""
        task = new_task(type, payload, headers, **options)
        found: Seen = await self.call("enqueue", **task)
        return found

    async def start_worker(self, name: str = "w", **config: Any) -> None:
        """Settings are those of `ServerConfig`; `group` is a `GroupConfig` without aggregator."""
        await self.call("start_worker", name=name, **({"concurrency": 10} | config))

    async def inspect(self, call: str, **arguments: Any) -> Any:
        """A method of the inspector, by its name in Python."""
        if "payload" in arguments:
            arguments["payload"] = base64.b64encode(arguments["payload"]).decode()
        return await self.call("inspect", call=call, **arguments)

    async def event(self, event: str, task: Seen | None = None, **fields: Any) -> Seen:
        """Wait for an event of a task, or for one with these fields."""
        wanted = {"event": event, **fields} | ({"id": task["id"]} if task else {})
        found: Seen = await until(lambda: self.find(wanted), f"{self.language} tells {wanted}")
        return found

    def find(self, wanted: Seen) -> Seen | None:
        """The first event so far with these fields."""
        return next((event for event in list(self.events) if wanted.items() <= event.items()), None)

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End it and let go of its pipes."""
        self.kill()
        self._reader.join()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            if "event" in said:
                self.events.append(said)
            elif "error" in said:
                self._replies[said["n"]].set_exception(CallError(said["error"]))
            else:
                self._replies[said["n"]].set_result(said["value"])
        for reply in self._replies.values():
            if not reply.done():
                reply.set_exception(CallError(f"the {self.language} side is gone:\n{self.log}"))


def new_task(
    type: str,
    payload: bytes | None = None,
    headers: dict[str, str] | None = None,
    **options: Any,
) -> Seen:
    """A task to enqueue, as both sides read it."""
    task: Seen = {"type": type, "options": options}
    if payload is not None:
        task["payload"] = base64.b64encode(payload).decode()
    return task if headers is None else task | {"headers": headers}


async def find(peer: Peer, task: Seen) -> Seen | None:
    """The task as one inspector sees it; None when it is gone."""
    try:
        found: Seen = await peer.inspect("task_info", queue=task["queue"], task_id=task["id"])
    except CallError as error:
        if str(error) not in ("task not found", "queue not found"):
            raise
        return None
    return found


async def is_gone(peer: Peer, task: Seen) -> bool:
    return await find(peer, task) is None


async def seen_by_all(peers: Iterable[Peer], task: Seen) -> Seen:
    """The task as every inspector sees it: they agree. (A pending one is always due just now.)"""
    found = [await find(peer, task) for peer in peers]
    seen = [one for one in found if one is not None]
    assert len(seen) == len(found), f"{task} is not seen by all"
    if seen[0]["state"] == "pending":
        seen = [one | {"next_process_at": None} for one in seen]
    assert all(one == seen[0] for one in seen), seen
    return seen[0]
