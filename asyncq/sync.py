"""`SyncClient`: what `Client` does, for code without an event loop (Django, Flask, scripts)."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import selectors
import threading
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import CancelledError, Future
from functools import partial
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, overload

from typing_extensions import Unpack

from .client import MAX_PAYLOAD_SIZE, Client, RedisSource
from .info import TaskInfo
from .options import Duration, EnqueueOptions, Replicas
from .task import Task

T = TypeVar("T")


class SyncClient:
    """Enqueues tasks from synchronous code; safe for any number of threads.

    The methods are those of `Client`, blocking; they run in one thread with an event loop,
    started at the first call. In a forked child the first call starts a thread and connections
    of the child's own. In code that has an event loop use `Client`.

    `redis` is a URL or a `redis.asyncio` client (read for its address), not a `Client`, whose
    connections belong to another event loop (`TypeError`). The other arguments are those of
    `Client`.
    """

    def __init__(
        self,
        redis: RedisSource | None = None,
        *,
        wait_replicas: int | Replicas | None = None,
        max_payload_size: int = MAX_PAYLOAD_SIZE,
    ) -> None:
        if isinstance(redis, Client):
            raise TypeError(
                "a SyncClient cannot share the connections of a Client: give it the same URL"
            )
        self._new_client = partial(
            Client, redis, wait_replicas=wait_replicas, max_payload_size=max_payload_size
        )
        # One for each process: in a forked child the parent's may be held by a thread that is
        # not there.
        self._locks: dict[int, threading.Lock] = {}
        self._running: _Running | None = None
        self._of_parents: list[_Running] = []
        self._where = self._new_client().where  # what is wrong is said now
        # As redis-py does for every connection, so that its imports are done: a child that is
        # forked while a thread is at them would wait for their end for ever.
        importlib.metadata.version("redis")

    @property
    def where(self) -> str:
        """The address of Redis, without secrets."""
        return self._where

    def enqueue(
        self,
        task: Task,
        *,
        wait_replicas: int | Replicas | None = None,
        **options: Unpack[EnqueueOptions],
    ) -> TaskInfo:
        """As `Client.enqueue`."""
        return self._call(
            lambda client: client.enqueue(task, wait_replicas=wait_replicas, **options)
        )

    @overload
    def enqueue_many(
        self,
        tasks: Iterable[Task],
        *,
        return_exceptions: Literal[False] = False,
        wait_replicas: int | Replicas | None = None,
        **options: Unpack[EnqueueOptions],
    ) -> list[TaskInfo]: ...
    @overload
    def enqueue_many(
        self,
        tasks: Iterable[Task],
        *,
        return_exceptions: bool,
        wait_replicas: int | Replicas | None = None,
        **options: Unpack[EnqueueOptions],
    ) -> list[TaskInfo | Exception]: ...
    def enqueue_many(
        self,
        tasks: Iterable[Task],
        *,
        return_exceptions: bool = False,
        wait_replicas: int | Replicas | None = None,
        **options: Unpack[EnqueueOptions],
    ) -> list[TaskInfo] | list[TaskInfo | Exception]:
        """As `Client.enqueue_many`; `tasks` is read in the calling thread."""
        given = list(tasks)
        return self._call(
            lambda client: client.enqueue_many(
                given,
                return_exceptions=return_exceptions,
                wait_replicas=wait_replicas,
                **options,
            )
        )

    def wait(self, info: TaskInfo, *, timeout: Duration | None = None) -> TaskInfo:
        """As `Client.wait`."""
        return self._call(lambda client: client.wait(info, timeout=timeout))

    @overload
    def result(self, info: TaskInfo, model: type[T], *, timeout: Duration | None = None) -> T: ...
    @overload
    def result(self, info: TaskInfo, model: Any, *, timeout: Duration | None = None) -> Any: ...
    def result(self, info: TaskInfo, model: Any, *, timeout: Duration | None = None) -> Any:
        """As `Client.result`."""
        return self._call(lambda client: client.result(info, model, timeout=timeout))

    def ping(self) -> None:
        """As `Client.ping`."""
        self._call(lambda client: client.ping())

    def close(self) -> None:
        """Close the connections and end the thread. Calls of other threads that are under way
        end with `RuntimeError`. Safe to call again; a later call of another method starts anew."""
        with self._lock():
            running, self._running = self._running, None
        if running is not None and running.pid == os.getpid():
            running.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<SyncClient of {self.where}>"

    def _call(self, method: Callable[[Client], Coroutine[Any, Any, T]]) -> T:
        with self._lock():
            future = self._started().begin(method)
        try:
            return future.result()
        except CancelledError:
            raise RuntimeError("the SyncClient was closed while this call was under way") from None
        except BaseException:
            future.cancel()  # Ctrl-C ends the waiting, so it ends the call
            raise

    def _lock(self) -> threading.Lock:
        return self._locks.setdefault(os.getpid(), threading.Lock())

    def _started(self) -> _Running:
        running = self._running
        if running is None or running.pid != os.getpid():
            if running is not None:
                # After a fork: its thread is not here, and its connections are the parent's.
                # Kept, so that nothing tries to close them.
                self._of_parents.append(running)
            running = self._running = _Running(self._new_client())
        return running


class _Running:
    """The thread, its event loop and the client of one process."""

    def __init__(self, client: Client) -> None:
        self.pid = os.getpid()
        self._client = client
        self._loop = asyncio.SelectorEventLoop(_Selector())
        # A daemon, and nothing that has to be closed: a program may just end, and in a forked
        # child, where this thread does not exist, it is simply forgotten.
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="asyncq-sync-client", daemon=True
        )
        self._thread.start()

    def begin(self, method: Callable[[Client], Coroutine[Any, Any, T]]) -> Future[T]:
        """Start a call in the thread."""
        return asyncio.run_coroutine_threadsafe(method(self._client), self._loop)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        calls = asyncio.all_tasks() - {asyncio.current_task()}
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await self._client.aclose()


class _Selector(selectors.DefaultSelector):
    """One that a forked child leaves alone.

    What epoll watches belongs to parent and child together. When a child ends, Python closes the
    connections that it inherited, and without this the parent would not hear of its own any more.
    """

    def __init__(self) -> None:
        super().__init__()
        self._pid = os.getpid()

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        if os.getpid() != self._pid:
            return self.get_key(fileobj)
        return super().unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        if os.getpid() != self._pid:
            return self.get_key(fileobj)
        return super().modify(fileobj, events, data)
