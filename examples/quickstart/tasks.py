"""The quick start, first half: the tasks, and the worker that runs them.

From this directory, in one terminal:

    asyncq worker tasks:make_server --dev

and in a second one, which gives it work (`enqueue.py` is the other half):

    python enqueue.py --redis embedded:// ..

`--dev` and `embedded://` are a private Redis for development: pip install "asyncq[embedded]".
With a Redis of your own, say `--redis redis://localhost:6379/0` in both.

`asyncq demo` runs these two files, unchanged, and shows what came of it.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from pydantic import BaseModel

from asyncq import Client, GroupConfig, ServeMux, Server, ServerConfig, SkipRetry, Task, TaskType
from asyncq import current as current_attempt

mux = ServeMux()

KEPT_S = 600
"""How long finished tasks and their results stay in Redis; without retention they go at once."""


# 1. A task with a payload and a result.
#
# A task type is the contract between those who enqueue and those who handle: the name that stands
# in Redis, the payload, the result, default options. Both ends import it, and a type checker
# holds both to it.


class FileToRead(BaseModel):
    root: Path
    name: str
    """Relative to `root`."""


class Fingerprint(BaseModel):
    name: str
    bytes: int
    sha256: str


read_file = TaskType("file:read", FileToRead, result=Fingerprint, queue="files", retention=KEPT_S)


@mux.handle(read_file)
async def on_read_file(payload: FileToRead) -> Fingerprint:
    path = payload.root / payload.name
    try:
        # Reading blocks, so it happens in a thread; the event loop goes on with other tasks.
        found = await asyncio.to_thread(fingerprint, path, payload.name)
    except OSError as error:
        # No retry makes it readable: to the archive, where a person can see it and why.
        raise SkipRetry(f"cannot read {path}: {error.strerror}") from error
    await report(found)
    return found  # kept as the task's result


def fingerprint(path: Path, name: str) -> Fingerprint:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return Fingerprint(name=name, bytes=file.tell(), sha256=sha256)


# 2. Groups: many small tasks become one.
#
# Each file that was read joins the group of its directory. When nothing has joined a group for its
# grace period, or it is large enough, the worker hands it to `summarise`, and the one task that
# comes out takes the place of all of them.


class Directory(BaseModel):
    name: str
    files: list[Fingerprint]


class Summary(BaseModel):
    name: str
    files: int
    bytes: int
    sha256: str


file_was_read = TaskType("file:was-read", Fingerprint)
summarise_directory = TaskType("directory:summarise", Directory, result=Summary, retention=KEPT_S)


async def report(found: Fingerprint) -> None:
    client: Client | None = current_attempt().state  # what `lifespan` below yields
    if client is None:
        return  # `asyncq worker tasks:mux` has no lifespan, and nobody to aggregate groups
    await client.enqueue(
        file_was_read.task(found),
        queue=current_attempt().queue.removesuffix("files") + "summaries",
        group=str(Path(found.name).parent),
    )


def summarise(group: str, tasks: list[Task]) -> Task:
    return summarise_directory(name=group, files=[task.parse(Fingerprint) for task in tasks])


@mux.handle(summarise_directory)
async def on_summarise_directory(payload: Directory) -> Summary:
    files = sorted(payload.files, key=lambda file: file.name)
    return Summary(
        name=payload.name,
        files=len(files),
        bytes=sum(file.bytes for file in files),
        sha256=hashlib.sha256("".join(file.sha256 for file in files).encode()).hexdigest(),
    )


# 3. What else happens to tasks: late, twice, failing, hanging.


class Reminder(BaseModel):
    text: str
    due: float
    """Unix time at which it should run."""


class Lateness(BaseModel):
    seconds: float


remind = TaskType("reminder", Reminder, result=Lateness, retention=KEPT_S)


@mux.handle(remind)
async def on_remind(payload: Reminder) -> Lateness:
    return Lateness(seconds=time.time() - payload.due)


import_feed = TaskType("feed:import", str, unique=60, retention=KEPT_S)


@mux.handle(import_feed)
async def on_import_feed(url: str) -> str:
    await asyncio.sleep(1.5)  # while it waits or runs, no second one for the same feed
    return f"imported {url}"


class Attempts(BaseModel):
    made: int


call_broken_service = TaskType("service:call", max_retry=2)


@mux.handle(call_broken_service)
async def on_call_broken_service(task: Task) -> None:
    attempt = current_attempt()
    await attempt.write_result(Attempts(made=attempt.retry_count + 1))  # outlives the failure
    raise ConnectionError("the service is down, as always")  # retried, in the end archived


crunch = TaskType("crunch", timeout=1, max_retry=0)


@mux.handle(crunch)
async def on_crunch(task: Task) -> None:
    await asyncio.sleep(3600)  # cancelled by the time-out of one second


# 4. How long a worker with nothing to do takes to pick a task up.


class Tick(BaseModel):
    sent: float
    """Unix time just before it was enqueued."""


tick = TaskType("tick", Tick, result=Lateness, retention=KEPT_S)


@mux.handle(tick)
async def on_tick(payload: Tick) -> Lateness:
    return Lateness(seconds=time.time() - payload.sent)


# 5. The worker. A bare mux is enough for `asyncq worker tasks:mux`; what flags cannot say, such as
# groups, a retry policy or a lifespan, is said in a Server. Flags still override it.


@asynccontextmanager
async def lifespan(server: Server) -> AsyncGenerator[Client]:
    async with Client(server.redis) as client:
        yield client


def retry_delay(retried: int, error: BaseException, task: Task) -> float:
    return 0.5  # seconds; the default waits longer each time, as a service in trouble needs


def make_server() -> Server:
    return Server(
        None,  # --redis, --dev, ASYNCQ_REDIS_URL or REDIS_URL
        mux,
        ServerConfig(
            queues={"default": 3, "files": 2, "summaries": 1},
            group=GroupConfig(summarise, grace_period=1, max_delay=5, max_size=200),
            retry_delay=retry_delay,
            lifespan=lifespan,
        ),
    )
