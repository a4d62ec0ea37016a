"""`ServeMux`: which handler a task goes to, what forms handlers have, what middleware sees."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel

from asyncq.errors import HandlerNotFoundError, InvalidPayloadError, SkipRetry
from asyncq.mux import Handler, ServeMux, as_handler
from asyncq.task import Task
from asyncq.task_type import TaskType

FORMS = r"write async def handler\(task: Task\), or async def handler\(payload: Model\)"


class Email(BaseModel):
    user_id: int


class UrgentEmail(Email):
    siren: bool = True


@dataclass
class Point:
    x: int


email = TaskType("email:deliver", Email)


async def raw(task: Task) -> str:
    return f"raw {task.type}"


async def typed(payload: Email) -> int:
    return payload.user_id


def sync_raw(task: Task) -> tuple[str, int]:
    return task.type, threading.get_ident()


def sync_typed(payload: Email) -> tuple[int, int]:
    return payload.user_id, threading.get_ident()


def answering(answer: object) -> Callable[[Task], Awaitable[object]]:
    async def handler(task: Task) -> object:
        return answer

    return handler


# Matching


@pytest.mark.parametrize(
    ("task_type", "pattern"),
    [
        ("image", "image"),
        ("image:", "image:"),
        ("image:resize", "image:resize"),
        ("image:resize:big", "image:resize"),
        ("image:crop", "image:"),
        ("images", "image"),
        ("image:resiz", "image:"),
    ],
)
async def test_the_exact_type_else_the_longest_prefix(task_type: str, pattern: str) -> None:
    mux = ServeMux()
    for known in ("image:", "image:resize", "image", "video"):
        mux.handle(known, answering(known))
    assert await mux(Task(task_type)) == pattern


@pytest.mark.parametrize("task_type", ["imag", "Image", " image", "x:image"])
async def test_what_no_pattern_begins_is_not_found_with_asynqs_text(task_type: str) -> None:
    mux = ServeMux()
    mux.handle("image", raw)
    with pytest.raises(HandlerNotFoundError) as caught:
        await mux(Task(task_type))
    assert str(caught.value) == f'handler not found for task "{task_type}"'


async def test_a_task_type_is_a_pattern_like_its_text() -> None:
    mux = ServeMux()
    mux.handle(email, typed)
    assert await mux(email(user_id=3)) == 3
    assert await mux(Task("email:deliver:v2", Email(user_id=4))) == 4
    assert mux.patterns == ("email:deliver",)


async def test_patterns_are_listed_in_the_order_of_registration() -> None:
    mux = ServeMux()
    for pattern in ("b", "a", "c"):
        mux.handle(pattern, raw)
    assert mux.patterns == ("b", "a", "c")


async def test_a_handler_may_be_registered_after_tasks_were_handled() -> None:
    mux = ServeMux()
    mux.handle("a", answering("short"))
    assert await mux(Task("ab")) == "short"
    mux.handle("ab", answering("long"))
    assert await mux(Task("ab")) == "long"


# Forms of handlers


class AsyncObject:
    async def __call__(self, payload: Email) -> int:
        return payload.user_id


class SyncObject:
    def __call__(self, payload: Email) -> int:
        return payload.user_id

    async def method(self, payload: Email) -> int:
        return payload.user_id

    def sync_method(self, payload: Email) -> int:
        return payload.user_id

    @staticmethod
    async def static(payload: Email) -> int:
        return payload.user_id

    @classmethod
    async def on_class(cls, payload: Email) -> int:
        return payload.user_id


async def two_arguments(times: int, payload: Email) -> int:
    return times * payload.user_id


def decorated(function: Callable[[Email], Awaitable[int]]) -> Callable[[Email], Awaitable[int]]:
    @functools.wraps(function)
    async def wrapper(payload: Email) -> int:
        return await function(payload)

    return wrapper


async def with_defaults(payload: Email, *rest: int, flag: bool = False, **more: int) -> int:
    return payload.user_id


async def hidden_return(payload: Email) -> NotImportedAtRunTime:  # type: ignore[name-defined]  # noqa: F821  # pyright: ignore[reportUndefinedVariable]  # as under TYPE_CHECKING
    return payload.user_id


@pytest.mark.parametrize(
    "handler",
    [
        typed,
        AsyncObject(),
        SyncObject(),
        SyncObject().method,
        SyncObject().sync_method,
        SyncObject.static,
        SyncObject.on_class,
        functools.partial(two_arguments, 1),
        functools.partial(functools.partial(two_arguments), 1),
        functools.partial(SyncObject.method, SyncObject()),
        decorated(typed),
        with_defaults,
        hidden_return,
    ],
)
@pytest.mark.parametrize("pattern", [email, "email:deliver"])
async def test_any_callable_of_a_payload_handles(handler: Any, pattern: Any) -> None:
    mux = ServeMux()
    assert mux.handle(pattern, handler) is handler
    assert await mux(email(user_id=7)) == 7


async def test_a_decorator_returns_the_function_unchanged() -> None:
    mux = ServeMux()
    assert mux.handle("a")(raw) is raw
    assert mux.handle(email)(typed) is typed


async def test_a_handler_of_a_task_type_may_take_the_raw_task_or_have_no_annotation() -> None:
    mux = ServeMux()
    mux.handle(email)(raw)
    assert await mux(email(user_id=1)) == "raw email:deliver"

    async def unannotated(payload):  # type: ignore[no-untyped-def]  # pyright: ignore  # as users may
        return payload

    other: Any = mux.handle(TaskType("other", Email))
    other(unannotated)
    assert await mux(Task("other", {"user_id": 2})) == Email(user_id=2)


async def test_a_task_type_without_payload_hands_none_or_the_task() -> None:
    mux = ServeMux()
    cleanup, sweep = TaskType("cleanup"), TaskType("sweep")

    @mux.handle(cleanup)
    async def handle_cleanup(payload: None) -> object:
        return (payload,)

    mux.handle(sweep, raw)
    assert await mux(cleanup()) == (None,)
    assert await mux(sweep()) == "raw sweep"


@pytest.mark.parametrize(
    ("annotation", "payload", "value"),
    [
        (str, "text", "text"),
        (bytes, b"\xff", b"\xff"),
        (list[int], [1], [1]),
        (dict[str, Any], {"a": 1}, {"a": 1}),
        (Point, Point(1), Point(1)),
        (list["Email"], [Email(user_id=1)], [Email(user_id=1)]),
        ("list[Email]", [Email(user_id=1)], [Email(user_id=1)]),
        (str | None, None, None),
        (Any, {"a": 1}, {"a": 1}),
    ],
)
async def test_a_payload_is_read_by_its_annotation(
    annotation: Any, payload: object, value: object
) -> None:
    async def handler(payload: object) -> object:
        return payload

    handler.__annotations__["payload"] = annotation
    mux = ServeMux()
    mux.handle("t", handler)
    assert await mux(Task("t", payload)) == value


async def test_a_plain_def_runs_in_a_thread() -> None:
    mux = ServeMux()
    mux.handle("raw", sync_raw)
    mux.handle(email, sync_typed)
    for task, first in ((Task("raw"), "raw"), (email(user_id=5), 5)):
        answer: Any = await mux(task)
        assert answer[0] == first
        assert answer[1] != threading.get_ident()


async def test_a_plain_def_that_returns_an_awaitable_is_told_to_be_async() -> None:
    async def inner(task: Task) -> None:
        raise AssertionError("nobody awaits this")

    def forgetful(task: Task) -> Awaitable[None]:
        return inner(task)

    mux = ServeMux()
    mux.handle("t", forgetful)
    with pytest.raises(TypeError, match=r"forgetful is a plain def and returned .* make it async"):
        await mux(Task("t"))


@pytest.mark.parametrize("error", [ValueError("boom"), SystemExit(3), StopIteration("odd")])
async def test_what_a_thread_raises_arrives(error: BaseException) -> None:
    def failing(task: Task) -> None:
        raise error

    mux = ServeMux()
    mux.handle("t", failing)
    # A coroutine cannot raise StopIteration, so that one comes wrapped.
    expected = RuntimeError if isinstance(error, StopIteration) else type(error)
    with pytest.raises(expected):
        await mux(Task("t"))


# Payloads that do not parse


@pytest.mark.parametrize("handler", [typed, sync_typed])
async def test_a_payload_that_does_not_parse_is_a_failure_like_any_other(handler: Any) -> None:
    mux = ServeMux()
    mux.handle(email, handler)
    mux.handle("text", handler)
    for name in ("email:deliver", "text"):
        with pytest.raises(InvalidPayloadError, match="cannot be read as Email: user_id"):
            await mux(Task(name, {"user_id": "x"}))


@pytest.mark.parametrize("handler", [typed, sync_typed])
async def test_or_archives_the_task_at_once_with_the_same_text(handler: Any) -> None:
    mux = ServeMux()
    mux.handle(email, invalid_payload="archive")(handler)
    with pytest.raises(SkipRetry) as caught:
        await mux(Task("email:deliver", {"user_id": "x"}))
    assert isinstance(caught.value.__cause__, InvalidPayloadError)
    assert str(caught.value) == str(caught.value.__cause__)


async def test_an_invalid_payload_inside_a_handler_is_its_own_affair() -> None:
    mux = ServeMux()

    @mux.handle(email, invalid_payload="archive")
    async def nested(payload: Email) -> None:
        Task("inner", "x").parse(Email)

    with pytest.raises(InvalidPayloadError):
        await mux(email(user_id=1))


def test_archiving_needs_a_handler_of_a_payload() -> None:
    with pytest.raises(ValueError, match="takes the raw Task and parses it itself"):
        ServeMux().handle("t", raw, invalid_payload="archive")


def test_a_word_that_invalid_payload_does_not_know_is_refused() -> None:
    wrong: Any = "drop"
    with pytest.raises(ValueError, match='takes "retry" or "archive", got \'drop\''):
        ServeMux().handle("t", typed, invalid_payload=wrong)


# Mistakes


async def no_argument() -> None: ...
async def needs_two(task: Task, other: int) -> None: ...
async def needs_keyword(task: Task, *, other: int) -> None: ...
async def only_keyword(*, task: Task) -> None: ...
async def unannotated(task): ...  # type: ignore[no-untyped-def]  # pyright: ignore  # the mistake
async def stars(*arguments): ...  # type: ignore[no-untyped-def]  # pyright: ignore  # the mistake
async def unknown(payload: NotThere) -> None: ...  # type: ignore[name-defined]  # noqa: F821  # pyright: ignore  # the mistake
async def unreadable(payload: asyncio.Event) -> None: ...
async def ambiguous(payload: str | int) -> None: ...
async def async_generator(task: Task) -> AsyncIterator[int]:
    yield 1


def generator(task: Task) -> Iterator[int]:
    yield 1


class Generating:
    async def __call__(self, task: Task) -> AsyncIterator[int]:
        yield 1


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        (no_argument, "no_argument.* takes no task or payload.*" + FORMS),
        (only_keyword, "only_keyword.* takes no task or payload.*" + FORMS),
        (needs_two, r"needs other as well; bind it with functools\.partial.*" + FORMS),
        (needs_keyword, "needs other as well.*" + FORMS),
        (SyncObject.method, "needs payload as well.*" + FORMS),
        (functools.partial(two_arguments, times=1), "takes no task or payload.*" + FORMS),
        (unannotated, "unannotated has no annotation.*" + FORMS),
        (stars, "stars has no annotation.*" + FORMS),
        (eval("lambda task: task"), "has no annotation.*" + FORMS),
        (unknown, r"unknown cannot be resolved \('NotThere': name 'NotThere' is not defined\)"),
        (unreadable, "unreadable is annotated with .*Event.*, which no payload can.*" + FORMS),
        (ambiguous, "ambiguous is annotated with .*wrap it in a model.*" + FORMS),
        (async_generator, "async_generator yields, so calling it would run nothing.*" + FORMS),
        (generator, "generator yields, so calling it would run nothing.*" + FORMS),
        (Generating(), "yields, so calling it would run nothing.*" + FORMS),
        (AsyncObject, "the class .*AsyncObject is no handler; give an object of it"),
        (Email, "the class .*Email is no handler"),
        (None, "a handler must be callable, got None; " + FORMS),
        ("handler", "a handler must be callable, got 'handler'; " + FORMS),
        (max, "max has no signature to go by"),
    ],
)
def test_a_handler_that_cannot_work_is_refused_with_the_right_form(
    handler: Any, message: str
) -> None:
    mux = ServeMux()
    with pytest.raises(TypeError, match=message) as caught:
        mux.handle("t", handler)
    with pytest.raises(TypeError, match=message):
        mux.handle("t")(handler)
    assert "\n" not in str(caught.value)
    assert mux.patterns == ()


def test_a_handler_that_was_called_is_refused_and_its_coroutine_closed() -> None:
    coroutine: Any = raw(Task("t"))
    with pytest.raises(TypeError, match="a handler was called instead of given"):
        ServeMux().handle("t", coroutine)


@pytest.mark.parametrize("payload_type", [Email, list[int], dict[str, int], str, None, int | None])
def test_a_handler_of_another_payload_is_refused(payload_type: Any) -> None:
    async def handler(payload: Point) -> None: ...

    mistaken: Any = handler
    with pytest.raises(TypeError, match="handler takes Point, but the payload of this task type"):
        ServeMux().handle(TaskType("t", payload_type), mistaken)


@pytest.mark.parametrize(
    ("payload_type", "annotation"),
    [
        (UrgentEmail, Email),
        (Email, BaseModel),
        (Email, Any),
        (Email, object),
        (Email, Email | None),
        (list[int], list[Any]),
        (list[int], "list[int]"),
        (dict[str, int], dict),
        (int, int | str),
    ],
)
async def test_a_handler_of_a_wider_type_is_welcome(payload_type: Any, annotation: Any) -> None:
    async def handler(payload: object) -> object:
        return payload

    handler.__annotations__["payload"] = annotation
    ServeMux().handle(TaskType("t", payload_type), handler)


@pytest.mark.parametrize("pattern", ["", "  ", "\t"])
def test_a_blank_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="pattern= must not be blank"):
        ServeMux().handle(pattern)


def test_a_pattern_of_no_text_is_refused() -> None:
    wrong: Any = 5
    with pytest.raises(TypeError, match="pattern= takes a str, got 5"):
        ServeMux().handle(wrong, raw)


def test_a_decorator_without_its_pattern_is_refused_with_the_right_form() -> None:
    wrong: Any = raw
    with pytest.raises(TypeError, match=r'write @mux.handle\("some:type"\) above .*\.raw'):
        ServeMux().handle(wrong)


def test_a_pattern_taken_names_the_first_handler() -> None:
    mux = ServeMux()
    mux.handle("email:deliver", raw)
    with pytest.raises(ValueError, match=r"'email:deliver' is handled by .*\.raw already"):
        mux.handle(email, typed)


# Nesting


async def test_a_mux_handles_for_another_with_its_own_middleware() -> None:
    inner, outer = ServeMux(), ServeMux()
    seen: list[str] = []
    inner.use(noting(seen, "inner"))
    outer.use(noting(seen, "outer"))
    inner.handle("image:resize", raw)
    assert outer.handle("image:", inner) is inner
    outer.handle("video:", raw)
    assert await outer(Task("image:resize")) == "raw image:resize"
    assert await outer(Task("video:cut")) == "raw video:cut"
    assert seen == ["outer", "inner", "outer"]
    with pytest.raises(HandlerNotFoundError):
        await outer(Task("image:crop"))


def test_a_mux_cannot_be_inside_itself() -> None:
    inner, outer = ServeMux(), ServeMux()
    outer.handle("a", inner)
    for mux in (inner, outer):
        with pytest.raises(ValueError, match="go round"):
            inner.handle("b", outer)
        with pytest.raises(ValueError, match="go round"):
            mux.handle("b", mux)


# Middleware


def noting(seen: list[str], name: str) -> Any:
    async def middleware(task: Task, call_next: Handler) -> object:
        seen.append(name)
        return await call_next(task)

    return middleware


async def test_the_first_middleware_is_the_outermost() -> None:
    mux = ServeMux()
    steps: list[str] = []
    mux.handle("t", raw)

    @mux.middleware
    async def first(task: Task, call_next: Handler) -> object:
        steps.append("first in")
        result = await call_next(task)
        steps.append("first out")
        return f"({result})"

    @mux.middleware
    async def second(task: Task, call_next: Handler) -> object:
        steps.append("second in")
        result = await call_next(task)
        steps.append("second out")
        return f"[{result}]"

    assert await mux(Task("t")) == "([raw t])"
    assert steps == ["first in", "second in", "second out", "first out"]


async def test_middleware_given_together_keeps_its_order_and_may_be_an_object() -> None:
    seen: list[str] = []

    class Noting:
        async def __call__(self, task: Task, call_next: Handler) -> object:
            seen.append("object")
            return await call_next(task)

    mux = ServeMux()
    mux.handle("t", raw)
    mux.use(noting(seen, "a"), Noting(), functools.partial(noting(seen, "b")))
    await mux(Task("t"))
    assert seen == ["a", "object", "b"]


async def test_middleware_sees_tasks_without_handler_and_errors() -> None:
    mux = ServeMux()
    caught: list[str] = []

    @mux.middleware
    async def catching(task: Task, call_next: Handler) -> object:
        try:
            return await call_next(task)
        except Exception as error:
            caught.append(type(error).__name__)
            raise

    mux.handle(email, typed)
    for task in (Task("nowhere"), Task("email:deliver", "x")):
        with pytest.raises((HandlerNotFoundError, InvalidPayloadError)):
            await mux(task)
    assert caught == ["HandlerNotFoundError", "InvalidPayloadError"]


async def test_middleware_may_answer_itself_or_hand_on_another_task() -> None:
    mux = ServeMux()
    mux.handle("new", raw)

    @mux.middleware
    async def renaming(task: Task, call_next: Handler) -> object:
        if task.type == "known":
            return "answered"
        return await call_next(Task("new"))

    assert await mux(Task("known")) == "answered"
    assert await mux(Task("old")) == "raw new"


async def test_the_chain_is_built_once() -> None:
    mux = ServeMux()
    handed: list[Handler] = []

    @mux.middleware
    async def keeping(task: Task, call_next: Handler) -> object:
        handed.append(call_next)
        return await call_next(task)

    mux.handle("t", raw)
    mux.handle("u", raw)
    await mux(Task("t"))
    await mux(Task("u"))
    assert handed[0] is handed[1]


async def test_middleware_after_the_first_task_is_refused() -> None:
    mux = ServeMux()
    mux.handle("t", raw)
    await mux(Task("t"))
    with pytest.raises(RuntimeError, match="before the first task"):
        mux.use(noting([], "late"))


def plain_middleware(task: Task, call_next: Handler) -> Awaitable[object]:
    return call_next(task)


async def short_middleware(task: Task) -> object: ...
async def long_middleware(task: Task, call_next: Handler, more: int) -> object: ...


@pytest.mark.parametrize(
    ("middleware", "message"),
    [
        (plain_middleware, "a middleware is async, .*plain_middleware is not"),
        (short_middleware, "short_middleware does not take"),
        (long_middleware, "long_middleware does not take"),
        (AsyncObject, "a middleware is a function, got <class"),
        (5, "a middleware is a function, got 5"),
    ],
)
def test_middleware_that_cannot_work_is_refused_with_the_right_form(
    middleware: Any, message: str
) -> None:
    mux = ServeMux()
    form = r".*write async def middleware\(task, call_next\)"
    for add in (mux.use, mux.middleware):
        with pytest.raises(TypeError, match=message + form):
            add(middleware)


# What a server takes


async def test_a_server_takes_a_mux_or_a_function_of_a_raw_task() -> None:
    mux = ServeMux()
    mux.handle("t", raw)
    for handler in (mux, raw, functools.partial(raw)):
        assert await as_handler(handler)(Task("t")) == "raw t"
    answer: Any = await as_handler(sync_raw)(Task("t"))
    assert answer[1] != threading.get_ident()


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        (typed, r"give it a ServeMux, or async def handler\(task: Task\)"),
        (unannotated, r"give it a ServeMux, or async def handler\(task: Task\)"),
        (ServeMux, "the class asyncq.mux.ServeMux is no handler; give an object"),
        ("tasks:mux", "a handler must be callable, got 'tasks:mux'"),
        (None, "a handler must be callable, got None"),
    ],
)
def test_a_server_refuses_anything_else(handler: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        as_handler(handler)
