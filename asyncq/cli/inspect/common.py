"""The flags that all of these commands share, and how a command gets them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, NoReturn, ParamSpec

import typer

from ..failure import CommandError
from ..worker import ConnectTimeout, Dev
from .legacy_url import AsynqFlags

if TYPE_CHECKING:
    from .session import Desk

P = ParamSpec("P")

_REDIS = "Redis"

Redis = Annotated[
    str | None,
    typer.Option(
        "--redis",
        "-r",
        metavar="URL",
        rich_help_panel=_REDIS,
        help="Where it is: redis://, rediss://, unix://, redis-sentinel://, redis-cluster://,"
        " embedded://. Without it: ASYNCQ_REDIS_URL, then REDIS_URL.",
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print JSON, for programs; its form is documented.")
]

# Those of asynq, for the sake of habits and scripts; in the documentation, not in the help.
Uri = Annotated[str | None, typer.Option("--uri", "-u", metavar="HOST:PORT", hidden=True)]
Db = Annotated[int | None, typer.Option("--db", "-n", min=0, hidden=True)]
Username = Annotated[str | None, typer.Option("--username", "-U", hidden=True)]
Password = Annotated[str | None, typer.Option("--password", "-p", hidden=True)]
Cluster = Annotated[bool, typer.Option("--cluster", hidden=True)]
ClusterAddrs = Annotated[str | None, typer.Option("--cluster_addrs", hidden=True)]
Tls = Annotated[bool, typer.Option("--tls", hidden=True)]
Insecure = Annotated[bool, typer.Option("--insecure", hidden=True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """The shared flags as they were given."""

    redis: str | None
    connect_timeout: float
    json: bool

    def run(
        self,
        work: Callable[Concatenate[Desk, P], Coroutine[Any, Any, int | None]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> NoReturn:
        """Does the work and ends the command with the status it returns (None: 0)."""
        from .session import run  # noqa: PLC0415 - `asyncq --help` does without

        status = run(
            lambda desk: work(desk, *args, **kwargs),
            redis=self.redis,
            connect_timeout=self.connect_timeout,
            json=self.json,
        )
        raise typer.Exit(status)


def operator_command(
    function: Callable[Concatenate[Common, ...], None], *, json: bool = True
) -> Callable[..., None]:
    """A command of typer with the flags of `function` and the shared ones (`--json` only with
    `json`), which it gets as its first argument."""
    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    shared = [
        parameter
        for parameter in inspect.signature(_common, eval_str=True).parameters.values()
        if json or parameter.name != "json"
    ]

    @functools.wraps(function)
    def command(**given: Any) -> None:
        common = _common(**{parameter.name: given.pop(parameter.name) for parameter in shared})
        function(common, **given)

    # By keyword, so that what has a default may stand before what has none.
    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*own, *shared)]
    described: Any = command
    described.__signature__ = inspect.Signature(parameters)
    described.__annotations__ = {p.name: p.annotation for p in parameters}
    return command


def _common(
    redis: Redis = None,
    dev: Dev = False,
    connect_timeout: ConnectTimeout = 5,
    json: Json = False,
    uri: Uri = None,
    db: Db = None,
    username: Username = None,
    password: Password = None,
    cluster: Cluster = False,
    cluster_addrs: ClusterAddrs = None,
    tls: Tls = False,
    insecure: Insecure = False,
) -> Common:
    flags = AsynqFlags(
        uri=uri,
        db=db,
        username=username,
        password=password,
        cluster=cluster,
        cluster_addrs=cluster_addrs,
        tls=tls,
        insecure=insecure,
    )
    given = [url for url in (redis, "embedded://" if dev else None, flags.url()) if url]
    if len(given) > 1:
        raise CommandError("--redis, --dev and asynq's flags all say where Redis is; use one way")
    return Common(redis=given[0] if given else None, connect_timeout=connect_timeout, json=json)
