"""Reaching Redis when a command starts: calmly, for a stated time, saying what would help."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Generator
from contextlib import contextmanager

from asyncq import Client, RedisNotConfiguredError, RedisReplyError, RedisUnavailableError
from asyncq.devredis import DevRedisError

from .failure import CommandError, Exit

_log = logging.getLogger("asyncq")

_RETRY_EVERY_S = 0.5
_SAY_EVERY_S = 5.0


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


async def wait_for_redis(client: Client, patience: float) -> None:
    """Returns when Redis answers, after `patience` seconds at most.

    Raises `CommandError` when it has not, or when waiting is of no use: a wrong password, no
    development server to start.
    """
    clock = asyncio.get_running_loop().time
    start = clock()
    said = None
    while True:
        reason = await _try(client, max(0.1, patience - (clock() - start)))
        waited = clock() - start
        if reason is None:
            if said is not None:
                _log.info("Redis answers at %s", client.where)
            return
        if waited >= patience:
            raise CommandError(
                f"no Redis within {patience:g} s: {reason}" + _remedies(said is not None),
                status=Exit.NO_REDIS,
            )
        if said is None:
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
        return str(error)
    except RedisReplyError as error:
        if not error.passing:
            raise CommandError(
                f"Redis at {client.where} refuses: {error.text}; check user, password and"
                " database of its URL",
                status=Exit.NO_REDIS,
            ) from None
        return f"Redis at {client.where} is not ready: {error.text}"
    return None


def _remedies(told: bool) -> str:
    if told:
        return ""
    return (
        "; do one of these:"
        "\n  start a Redis there: redis-server, or docker run -p 6379:6379 redis"
        "\n  say where it is: --redis redis://host:6379/0, or ASYNCQ_REDIS_URL"
        '\n  do without, for development: --dev (pip install "asyncq[embedded]")'
    )
