"""Commands of the command line, run inside the test's process, which takes half a second less than
a process of their own; `terminal.py` has those that need one."""

from __future__ import annotations

import asyncio
import io
import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

from redis_servers import RedisServer

from asyncq.cli.main import main


@dataclass(frozen=True)
class Said:
    """What a command printed, into pipes, and its exit status."""

    status: int
    raw: bytes
    err: str

    @property
    def out(self) -> str:
        return self.raw.decode()

    @property
    def rows(self) -> list[list[str]]:
        """The cells of a table, its titles first."""
        return [line.split("\t") for line in self.out.splitlines()]

    @property
    def json(self) -> Any:
        return json.loads(self.raw)


async def operate(redis: RedisServer | str, *arguments: str) -> Said:
    """`asyncq ARGUMENTS --redis URL`."""
    url = redis if isinstance(redis, str) else redis.url
    return await asyncio.to_thread(call, *arguments, "--redis", url)


async def operated(redis: RedisServer | str, *arguments: str) -> Said:
    """The same, and it must succeed without a complaint."""
    said = await operate(redis, *arguments)
    assert (said.status, said.err) == (0, ""), said
    return said


def call(*arguments: str) -> Said:
    """`asyncq ARGUMENTS`. Not from a running event loop."""
    out, err = io.BytesIO(), io.BytesIO()
    with (
        io.TextIOWrapper(out, "utf-8", write_through=True) as stdout,
        io.TextIOWrapper(err, "utf-8", write_through=True) as stderr,
        redirect_stdout(stdout),
        redirect_stderr(stderr),
    ):
        try:
            main(arguments)
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
        stdout.flush()
        return Said(status, out.getvalue(), err.getvalue().decode())
