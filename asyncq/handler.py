"""What a handler is, and how any of its forms becomes the one that the worker calls.

The forms are `async def h(task: Task)`, `async def h(payload: Model)` and both with a plain
`def`; functions, methods, partials and objects with `__call__` alike. A mistake is an error when
the handler is given, with a message that shows the right form.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from types import NoneType, SimpleNamespace, UnionType
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

from . import _threads, payload
from .errors import InvalidPayloadError, SkipRetry
from .task import Task

Handler = Callable[[Task], Awaitable[object]]
"""What the worker calls: handles one task; the value is its result."""

TaskFunction = Callable[[Task], object]
"""What a user may give in its place: `async def h(task: Task)`, or a plain `def`, which runs in a
thread."""

Middleware = Callable[[Task, Handler], Awaitable[object]]
"""`async def middleware(task, call_next)`: wraps the handling of every task."""

Decode = Callable[[Task], Any]
"""Makes the handler's argument out of the task."""

_FORMS = (
    "write async def handler(task: Task), or async def handler(payload: Model) with the payload's"
    " type (plain def works too, in a thread)"
)


def compile_handler(
    function: object, *, payload_type: Any = inspect.Parameter.empty, archive_invalid: bool = False
) -> Handler:
    """The handler that the worker calls, out of any form a user may write.

    `payload_type` is what a `TaskType` says the payload is; without it the parameter's
    annotation says so. `archive_invalid` chooses what a payload that does not parse does:
    archive the task, or fail like any other error.

    Raises `TypeError` for anything that cannot be called with one task or payload.
    """
    called = _check_callable(function)
    annotation = _annotation(called, function)
    if annotation is Task:
        if archive_invalid:
            raise ValueError(
                f'invalid_payload="archive" needs a handler of a payload; {name_of(function)} takes'
                " the raw Task and parses it itself: annotate its parameter with the payload's type"
            )
        return called if _is_async(called) else _in_thread(called, None)
    if payload_type is not inspect.Parameter.empty:
        _check_fits(payload_type, annotation, function)
        wanted = payload_type
    else:
        wanted = _payload_annotation(annotation, function)
    decode = _decoder(wanted, archive_invalid)
    return _async_typed(called, decode) if _is_async(called) else _in_thread(called, decode)


def raw_handler(function: object) -> Handler:
    """The handler of a raw task out of a `ServeMux` or a function.

    Raises `TypeError` for anything else, such as a handler of a payload, whose type of task
    nobody has said.
    """
    called = _check_callable(function)
    if _annotation(called, function) is not Task:
        raise TypeError(
            f"a server calls its handler with every task, which {name_of(function)} does not take:"
            " give it a ServeMux, or async def handler(task: Task). A handler of one payload type"
            ' belongs in a mux: mux.handle("some:type", handler)'
        )
    return called if _is_async(called) else _in_thread(called, None)


def check_middleware(function: Any) -> Middleware:
    """`function`, if it is `async` and takes a task and the next handler. Raises `TypeError`."""
    form = "write async def middleware(task, call_next): return await call_next(task)"
    if inspect.isclass(function) or not callable(function):
        raise TypeError(f"a middleware is a function, got {function!r}; {form}")
    if not _is_async(function):
        raise TypeError(f"a middleware is async, {name_of(function)} is not; {form}")
    try:
        inspect.signature(function).bind(None, None)
    except TypeError as error:
        raise TypeError(
            f"a middleware is called with a task and the next handler, which {name_of(function)}"
            f" does not take ({error}); {form}"
        ) from None
    return cast(Middleware, function)


def name_of(function: object) -> str:
    """How people know a handler: module and name."""
    named = _innermost(function)
    module = getattr(named, "__module__", None)
    name = getattr(named, "__qualname__", None) or repr(function)
    return f"{module}.{name}" if module else name


def _check_callable(function: object) -> Callable[[Any], Any]:
    if inspect.isawaitable(function):
        if inspect.iscoroutine(function):
            function.close()  # it will never be awaited, and need not be warned about
        raise TypeError(f"a handler was called instead of given, got {function!r}; {_FORMS}")
    if inspect.isclass(function):
        raise TypeError(
            f"the class {name_of(function)} is no handler; give an object of it that has"
            f" async def __call__(self, task: Task), or a function: {_FORMS}"
        )
    if not callable(function):
        raise TypeError(f"a handler must be callable, got {function!r}; {_FORMS}")
    for code in (function, _call_method(function)):
        if inspect.isasyncgenfunction(code) or inspect.isgeneratorfunction(code):
            raise TypeError(
                f"{name_of(function)} yields, so calling it would run nothing; return the result,"
                f" or store parts of it with asyncq.current().write_result(). {_FORMS}"
            )
    return function


def _call_method(function: object) -> object:
    return getattr(function, "__call__", None)  # noqa: B004 - the method is wanted, not yes or no


def _is_async(function: object) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        _call_method(function)
    )


def _annotation(called: Callable[..., Any], function: object) -> Any:
    """The resolved annotation of the one parameter; `Parameter.empty` if there is none."""
    try:
        signature = inspect.signature(called)
    except ValueError as error:
        raise TypeError(
            f"{name_of(function)} has no signature to go by: {error}; {_FORMS}"
        ) from error
    except NameError as error:  # annotations are evaluated here since Python 3.14
        raise _unresolved(function, str(error)) from error
    parameters = list(signature.parameters.values())
    positional = [
        p
        for p in parameters
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL)
    ]
    if not positional:
        raise TypeError(f"{name_of(function)}{signature} takes no task or payload; {_FORMS}")
    surplus = [p.name for p in parameters if p is not positional[0] and _is_required(p)]
    if surplus:
        raise TypeError(
            f"{name_of(function)}{signature} is called with one argument, and needs"
            f" {', '.join(surplus)} as well; bind it with functools.partial, or {_FORMS}"
        )
    return _resolve(positional[0].annotation, function)


def _is_required(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty and parameter.kind not in (
        parameter.VAR_POSITIONAL,
        parameter.VAR_KEYWORD,
    )


def _resolve(annotation: Any, function: object) -> Any:
    """The annotation as a type: under `from __future__ import annotations` it is a string.

    Only the one that matters is evaluated, so that a return annotation whose import is hidden
    under TYPE_CHECKING does no harm.
    """
    if annotation is inspect.Parameter.empty:
        return annotation
    only = SimpleNamespace(__annotations__={"it": annotation})
    namespace = getattr(_innermost(function), "__globals__", {})
    try:
        return get_type_hints(only, namespace, include_extras=True)["it"]
    except Exception as error:  # whatever the user's annotation raises
        raise _unresolved(function, f"{annotation!r}: {error}") from error


def _unresolved(function: object, what: str) -> TypeError:
    return TypeError(
        f"the annotation of {name_of(function)} cannot be resolved ({what}). It is needed at run"
        " time: import or define its type at the top of the handler's module, not under"
        " TYPE_CHECKING nor inside a function"
    )


def _innermost(function: Any) -> Any:
    """The function that the user wrote, beneath partials, methods, objects and wrappers."""
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif inspect.ismethod(function):
            function = function.__func__
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        elif (
            callable(function) and not inspect.isroutine(function) and not inspect.isclass(function)
        ):
            function = type(function).__call__
        else:
            return function


def _payload_annotation(annotation: Any, function: object) -> Any:
    if annotation is inspect.Parameter.empty:
        raise TypeError(
            f"the parameter of {name_of(function)} has no annotation, so it is unknown whether it"
            f" takes the task or its payload; {_FORMS}"
        )
    try:
        payload.check_annotation(annotation)
    except Exception as error:  # pydantic lets many kinds of errors out of a broken type
        raise TypeError(
            f"the parameter of {name_of(function)} is annotated with {annotation!r}, which no"
            f" payload can be read as ({payload.first_line(error)}); {_FORMS}"
        ) from error
    return annotation


def _check_fits(payload_type: Any, annotation: Any, function: object) -> None:
    if not _may_take(annotation, payload_type):
        raise TypeError(
            f"{name_of(function)} takes {payload.type_name(annotation)}, but the payload of this"
            f" task type is {payload.type_name(payload_type)}: annotate the parameter with that,"
            " or with Task"
        )


def _may_take(annotation: Any, payload_type: Any) -> bool:
    """False only where it is sure: type checkers know more of types than is worth doing here."""
    if annotation in (inspect.Parameter.empty, Any, payload_type):
        return True
    if get_origin(annotation) in (Union, UnionType):
        return any(_may_take(member, payload_type) for member in get_args(annotation))
    takes, given = (get_origin(wanted) or wanted for wanted in (annotation, payload_type))
    takes, given = (NoneType if wanted is None else wanted for wanted in (takes, given))
    if not isinstance(takes, type) or not isinstance(given, type):
        return True
    try:
        return issubclass(given, takes)
    except TypeError:  # a TypedDict or a protocol
        return not hasattr(takes, "__total__")


def _decoder(wanted: Any, archive_invalid: bool) -> Decode:
    read = payload.reader(wanted)
    if not archive_invalid:
        return lambda task: read(task.payload)

    def decode_or_archive(task: Task) -> Any:
        try:
            return read(task.payload)
        except InvalidPayloadError as error:
            raise SkipRetry(str(error)) from error

    return decode_or_archive


def _async_typed(function: Callable[[Any], Awaitable[object]], decode: Decode) -> Handler:
    async def handle(task: Task) -> object:
        return await function(decode(task))

    return handle


def _in_thread(function: Callable[[Any], object], decode: Decode | None) -> Handler:
    async def handle(task: Task) -> object:
        argument = decode(task) if decode else task
        result = await _threads.run(task.type, function, argument)
        if inspect.isawaitable(result):
            if inspect.iscoroutine(result):
                result.close()
            raise TypeError(
                f"{name_of(function)} is a plain def and returned {result!r}, which nobody awaits;"
                " make it async def, and so any decorator around it"
            )
        return result

    return handle
