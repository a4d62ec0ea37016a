"""`ServeMux`: which handler a task goes to, by its type, and what wraps them all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol, TypeVar, get_args, overload

from .errors import HandlerNotFoundError
from .handler import (
    Handler,
    Middleware,
    TaskFunction,
    check_middleware,
    compile_handler,
    name_of,
    raw_handler,
)
from .options import text
from .task import Task
from .task_type import TaskType

__all__ = ["Handler", "Middleware", "ServeMux", "TaskFunction", "as_handler"]

F = TypeVar("F", bound=Callable[[Any], object])
M = TypeVar("M", bound=Middleware)
PayloadT = TypeVar("PayloadT")
ResultT = TypeVar("ResultT")

InvalidPayload = Literal["retry", "archive"]
"""What a payload that does not parse does: fail like any other error, or archive at once."""

_NOT_GIVEN = object()


# A function that takes any object fits the overload for payloads and the one for tasks, so mypy
# warns that they overlap. Either answer is right: what is returned is that function.


class _HandleType(Protocol[PayloadT, ResultT]):
    """The decorator for a `TaskType`: takes what handles its payload and returns its result."""

    @overload
    def __call__(
        self, handler: Callable[[PayloadT], Coroutine[Any, Any, ResultT]], /
    ) -> Callable[[PayloadT], Coroutine[Any, Any, ResultT]]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]  # see above
        self, handler: Callable[[Task], Coroutine[Any, Any, ResultT]], /
    ) -> Callable[[Task], Coroutine[Any, Any, ResultT]]: ...
    @overload
    def __call__(
        self, handler: Callable[[PayloadT], ResultT], /
    ) -> Callable[[PayloadT], ResultT]: ...
    @overload
    def __call__(self, handler: Callable[[Task], ResultT], /) -> Callable[[Task], ResultT]: ...


class ServeMux:
    """Sends each task to the handler of its type, through middleware.

    The handler is the one whose pattern is the task's type, else the one with the longest
    pattern that the type starts with: "image:" handles "image:resize". No match raises
    `HandlerNotFoundError`, which fails the task like any other error.

    A mux is itself a handler: `mux.handle("image:", image_mux)` nests one, with its middleware.
    """

    def __init__(self) -> None:
        self._routes: dict[str, _Route] = {}
        self._lengths: list[int] = []  # of the patterns, longest first
        self._middlewares: list[Middleware] = []
        self._chain: Handler | None = None

    async def __call__(self, task: Task) -> object:
        """Handle one task; the value is its result. Raises what the handler raises, and
        `HandlerNotFoundError` if there is none."""
        return await (self._chain or self._build_chain())(task)

    @property
    def patterns(self) -> tuple[str, ...]:
        """The patterns in the order in which they were registered."""
        return tuple(self._routes)

    @overload
    def handle(
        self,
        pattern: TaskType[..., PayloadT, ResultT],
        /,
        *,
        invalid_payload: InvalidPayload = "retry",
    ) -> _HandleType[PayloadT, ResultT]: ...
    @overload
    def handle(
        self,
        pattern: TaskType[..., PayloadT, ResultT],
        handler: Callable[[PayloadT], Coroutine[Any, Any, ResultT]],
        /,
        *,
        invalid_payload: InvalidPayload = "retry",
    ) -> Callable[[PayloadT], Coroutine[Any, Any, ResultT]]: ...
    @overload
    def handle(  # type: ignore[overload-overlap]  # see above `_HandleType`
        self,
        pattern: TaskType[..., PayloadT, ResultT],
        handler: Callable[[Task], Coroutine[Any, Any, ResultT]],
        /,
        *,
        invalid_payload: InvalidPayload = "retry",
    ) -> Callable[[Task], Coroutine[Any, Any, ResultT]]: ...
    @overload
    def handle(
        self,
        pattern: TaskType[..., PayloadT, ResultT],
        handler: Callable[[PayloadT], ResultT],
        /,
        *,
        invalid_payload: InvalidPayload = "retry",
    ) -> Callable[[PayloadT], ResultT]: ...
    @overload
    def handle(
        self,
        pattern: TaskType[..., PayloadT, ResultT],
        handler: Callable[[Task], ResultT],
        /,
        *,
        invalid_payload: InvalidPayload = "retry",
    ) -> Callable[[Task], ResultT]: ...
    @overload
    def handle(
        self, pattern: str, /, *, invalid_payload: InvalidPayload = "retry"
    ) -> Callable[[F], F]: ...
    @overload
    def handle(
        self, pattern: str, handler: F, /, *, invalid_payload: InvalidPayload = "retry"
    ) -> F: ...
    def handle(
        self,
        pattern: str | TaskType[..., Any, Any],
        handler: Any = _NOT_GIVEN,
        /,
        *,
        invalid_payload: InvalidPayload = "retry",
    ) -> Any:
        """Register the handler of a pattern or a `TaskType`; as a decorator, or with the handler.

        Returns the handler unchanged. It is `async def handler(task: Task)` or
        `async def handler(payload: Model)`; a plain `def` runs in a worker thread. A payload that
        does not parse fails the attempt with `InvalidPayloadError`, to be retried;
        `invalid_payload="archive"` archives the task at once.

        Raises `ValueError` for a blank or repeated pattern, and `TypeError` for a handler that
        cannot be called with a task or payload.
        """
        if handler is _NOT_GIVEN:
            _check_pattern(pattern)
            return partial(self._register, pattern, invalid_payload)
        return self._register(pattern, invalid_payload, handler)

    def use(self, *middlewares: Middleware) -> None:
        """Wrap the handling of every task, matched or not; the first one added is the outermost.

        Raises `TypeError` for anything but an async function of `(task, call_next)`, and
        `RuntimeError` after the first task was handled, when the chain has been built.
        """
        if self._chain is not None:
            raise RuntimeError("add middleware before the first task is handled, not after")
        self._middlewares += [check_middleware(middleware) for middleware in middlewares]

    def middleware(self, function: M) -> M:
        """`use` as a decorator."""
        self.use(function)
        return function

    def _register(self, pattern: Any, invalid_payload: InvalidPayload, handler: Any) -> Any:
        name = _check_pattern(pattern)
        if name in self._routes:
            raise ValueError(
                f"pattern {name!r} is handled by {name_of(self._routes[name].source)} already,"
                f" so {name_of(handler)} cannot handle it too"
            )
        if invalid_payload not in get_args(InvalidPayload):
            raise ValueError(
                f'invalid_payload= takes "retry" or "archive", got {invalid_payload!r}'
            )
        if isinstance(handler, ServeMux) and handler._contains(self):
            raise ValueError(
                f"a ServeMux cannot handle {name!r} by itself: its tasks would go round"
            )
        self._routes[name] = _Route(handler, _compile(pattern, handler, invalid_payload))
        self._lengths = sorted({len(known) for known in self._routes}, reverse=True)
        return handler

    def _contains(self, mux: ServeMux) -> bool:
        return self is mux or any(
            isinstance(route.source, ServeMux) and route.source._contains(mux)
            for route in self._routes.values()
        )

    def _build_chain(self) -> Handler:
        if not self._middlewares:
            self._chain = self._straight_on
            return self._chain
        chain: Handler = self._dispatch
        for middleware in reversed(self._middlewares):
            chain = _wrap(middleware, chain)
        self._chain = chain
        return chain

    def _enter(self, task: Task) -> Awaitable[object]:
        # What a server calls: without a coroutine around the one that does the work.
        return (self._chain or self._build_chain())(task)

    def _straight_on(self, task: Task) -> Awaitable[object]:
        return self._find(task.type)(task)

    async def _dispatch(self, task: Task) -> object:
        return await self._find(task.type)(task)

    def _find(self, task_type: str) -> Handler:
        # One look-up for every length that a pattern has, however many patterns there are. The
        # longest prefix of all is the type itself.
        for length in self._lengths:
            route = self._routes.get(task_type[:length])
            if route is not None:
                return route.handler
        raise HandlerNotFoundError(task_type)


@dataclass(frozen=True, slots=True)
class _Route:
    source: object
    """What the user gave."""
    handler: Handler


def as_handler(handler: object) -> Handler:
    """What a server calls for each task, out of a `ServeMux` or a function of a raw `Task`.

    Raises `TypeError`, with the right form, for anything else.
    """
    return handler._enter if isinstance(handler, ServeMux) else raw_handler(handler)


def _wrap(middleware: Middleware, call_next: Handler) -> Handler:
    def handle(task: Task) -> Awaitable[object]:
        return middleware(task, call_next)  # a coroutine, without another one around it

    return handle


def _check_pattern(pattern: object) -> str:
    if isinstance(pattern, TaskType):
        return pattern.type
    if callable(pattern):
        raise TypeError(
            f'the pattern is missing: write @mux.handle("some:type") above {name_of(pattern)}'
        )
    return text("pattern", pattern)


def _compile(pattern: object, handler: object, invalid_payload: InvalidPayload) -> Handler:
    archive = invalid_payload == "archive"
    if isinstance(pattern, TaskType):
        return compile_handler(handler, payload_type=pattern.payload_type, archive_invalid=archive)
    return compile_handler(handler, archive_invalid=archive)
