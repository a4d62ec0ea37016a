"""Reaching Redis when a command starts: calmly, for a stated time, saying what would help."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
import sys
from collections.abc import Generator
from contextlib import contextmanager

from asyncq import Client, RedisNotConfiguredError, RedisReplyError, RedisUnavailableError
from asyncq.devredis import DevRedisError
from asyncq.safe_text import safe

from .failure import CommandError, Exit
from .wrapping import wrapped

_log = logging.getLogger("asyncq")

_RETRY_EVERY_S = 0.5
_SAY_EVERY_S = 5.0


_REMEDY = "; --redis or ASYNCQ_REDIS_URL says where it is"
_DISTRUST = "certificate verify failed"
"""What OpenSSL says; no later attempt would be any better."""

_FORBIDDEN = re.compile("NOPERM|ERR The user executing the script can't|ERR ACL failure in script")
"""What Redis says of what its user may not do; in scripts 7.0 says it in another way than 7.2."""

_NOBODY_SAID = (
    "nobody said where Redis is: pass --redis redis://localhost:6379/0, or set ASYNCQ_REDIS_URL"
    " (or REDIS_URL)"
)


@contextmanager
def wrong_address_explained() -> Generator[None]:
    """What opening a client raises becomes a `CommandError`."""
    try:
        yield
    except RedisNotConfiguredError:
        raise CommandError(_NOBODY_SAID) from None
    except (TypeError, ValueError) as error:
        raise CommandError(str(error)) from None


def use_redis(url: str | None) -> None:
    """From now on a target's own `Server()`, `Scheduler()` and `Client()` mean this Redis, if it
    is given. A URL that cannot be read is told here: in the target it would look like its fault.

    Raises `CommandError`.
    """
    if url:
        with wrong_address_explained():
            Client(url)
        os.environ["ASYNCQ_REDIS_URL"] = url


async def wait_for_redis(client: Client, patience: float, *, told: bool = True) -> None:
    """Returns when Redis answers, after `patience` seconds at most.

    `told`: the wait is logged, with what would help; else it is said in one line, and only on a
    terminal, where somebody waits, too.

    Raises `CommandError` when it has not, or when waiting is of no use: a wrong password, a
    certificate that cannot be trusted, no development server to start.
    """
    clock = asyncio.get_running_loop().time
    start = clock()
    said: float | None = None
    while True:
        reason = await _try(client, max(0.1, patience - (clock() - start)))
        waited = clock() - start
        if reason is None:
            if said is not None:
                _log.info("Redis answers at %s", client.where)
            return
        if waited >= patience:
            remedies = _remedies(said is not None) if told else _REMEDY
            raise CommandError(
                f"no Redis within {patience:g} s: {reason}{remedies}", status=Exit.NO_REDIS
            )
        if not told:
            if said is None and sys.stderr.isatty():
                text = f"{reason}; trying for {patience:g} s"
                print(wrapped(text, shutil.get_terminal_size().columns), file=sys.stderr)
            said = waited
        elif said is None:
            _log.warning("%s%s\ntrying for %g s", reason, _remedies(False), patience)
            said = waited
        elif waited - said >= _SAY_EVERY_S:
            _log.warning("still no Redis after %.0f s of %g: %s", waited, patience, reason)
            said = waited
        await asyncio.sleep(min(_RETRY_EVERY_S, patience - waited))


async def _try(client: Client, timeout: float) -> str | None:
    """Why Redis does not answer; None if it does."""
    try:
        async with asyncio.timeout(timeout):
            await client.ping()
    except TimeoutError:
        return f"cannot reach Redis at {client.where}: no answer"
    except RedisUnavailableError as error:
        if isinstance(error.__cause__, DevRedisError):
            raise CommandError(str(error.__cause__), status=Exit.NO_REDIS) from None
        if _DISTRUST in error.reason:
            raise CommandError(str(error), status=Exit.NO_REDIS) from None
        return str(error)
    except RedisReplyError as error:
        if not error.passing:
            raise CommandError(
                f"Redis at {client.where} refuses: {error.text.rstrip('.')}; check user, password"
                " and database of its URL",
                status=Exit.NO_REDIS,
            ) from None
        return f"Redis at {client.where} is not ready: {error.text}"
    return None


def refusal(where: str, error: RedisReplyError, role: str = "inspector") -> CommandError:
    """What Redis said when asked to do something, and, if the user may not have that done, how to
    find out who may; `role` is one of `asyncq doctor --acl`."""
    text = f"Redis at {where} refuses: {safe(error.text)}"
    if _FORBIDDEN.match(error.text):
        text += f"; asyncq doctor --acl {role} prints the rights that it takes"
    return CommandError(text, status=Exit.FAILED)


def _remedies(told: bool) -> str:
    if told:
        return ""
    return (
        "; do one of these:"
        "\n  start a Redis there: redis-server, or docker run -p 6379:6379 redis"
        "\n  say where it is: --redis redis://host:6379/0, or ASYNCQ_REDIS_URL"
        '\n  do without, for development: --dev (pip install "asyncq[embedded]")'
    )
