"""One connection to one Redis process, for a coroutine (`Line`) or a thread (`BlockingLine`).

All that asyncq needs of redis-py's connections is here: they connect, authenticate and
select the database; time-outs, errors and what is sent are ours. A line is used once: it
is connected, and after any loss it is dropped and never connected again.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, Iterator
from os import strerror
from os.path import exists
from typing import Any, TypeAlias

import hiredis
import redis.asyncio.connection as async_driver
import redis.connection as blocking_driver
import redis.exceptions
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from ..errors import RedisError, RedisReplyError, RedisUnavailableError
from .address import Endpoint

Reply: TypeAlias = Any
"""`bytes`, `int`, `None`, a list of these, or the `RedisError` that a call ended with."""


def demoted(replies: Iterable[Reply]) -> bool:
    """Whether they come from what is no master any more: a new connection may find the new one."""
    return any(type(reply) is RedisReplyError and is_demotion(reply) for reply in replies)


def is_demotion(error: RedisReplyError) -> bool:
    """Whether it says that the one who answers is no master, or just stopped being one."""
    return error.code in ("READONLY", "MASTERDOWN", "UNBLOCKED") or (
        error.code == "ERR" and "cannot be used with replica instances" in error.text  # WAIT
    )


def pack(*parts: str | bytes | int | float) -> bytes:
    """One command as bytes."""
    packed: bytes = hiredis.pack_command(parts)  # type: ignore[arg-type]  # it says 1-tuple
    return packed


class _PlainErrors:
    """Mixed into redis-py's parsers: an error reply becomes a `RedisReplyError`, as a value.

    redis-py raises errors, strips their codes, and counts some replies (LOADING, NOAUTH) as
    lost connections. Until the connection is made its own way is kept, since its handshake
    needs it; `refusal` then remembers the whole text of the last error.
    """

    greeted = False
    refusal: tuple[BaseException, str] | None = None

    def parse_error(self, response: str) -> Exception:
        if self.greeted:
            return RedisReplyError(response)
        error: Exception = super().parse_error(response)  # type: ignore[misc]  # redis-py's parser comes next
        self.refusal = (error, response)
        return error


def _plain(parser: Any) -> Any:
    return type(f"Plain{parser.__name__}", (_PlainErrors, parser), {})


_AsyncParser = _plain(async_driver.DefaultParser)
_BlockingParser = _plain(blocking_driver.DefaultParser)

_ASYNC = (
    async_driver.Connection,
    async_driver.SSLConnection,
    async_driver.UnixDomainSocketConnection,
)
_BLOCKING = (
    blocking_driver.Connection,
    blocking_driver.SSLConnection,
    blocking_driver.UnixDomainSocketConnection,
)


class Line:
    """A connection for one coroutine at a time."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.closed = False
        self._parser: Any = None
        self._driver: Any = _make(
            endpoint,
            _ASYNC,
            parser_class=self._new_parser,
            retry=AsyncRetry(NoBackoff(), 0),
            # Ours, one for a whole exchange, instead of redis-py's for every single read.
            socket_timeout=None,
            socket_connect_timeout=None,
        )
        # Its name before redis-py 8.
        self._can_read = getattr(self._driver, "can_read", None) or (
            self._driver.can_read_destructive
        )

    def _new_parser(self, **kwargs: Any) -> Any:
        self._parser = _AsyncParser(**kwargs)
        return self._parser

    async def connect(self) -> None:
        """Raises `RedisUnavailableError`, or `RedisReplyError` when Redis does not let us in."""
        limit = self.endpoint.connect_timeout
        try:
            async with asyncio.timeout(limit):
                await self._driver.connect()
        except Exception as error:
            await self.drop()
            failure = _not_connected(self.endpoint, self._parser, error, limit)
            if isinstance(failure, RedisReplyError):
                raise failure from None  # see there: what is behind it may have a password
            raise failure from error
        except BaseException:
            await self.drop()
            raise
        self._parser.greeted = True

    async def exchange(
        self, packed: list[bytes], count: int, timeout: float | None = None
    ) -> list[Reply]:
        """Send commands with one write and read `count` replies.

        Raises `RedisUnavailableError` (sent) when the connection or `timeout` seconds were lost.
        """
        limit = self.endpoint.read_timeout if timeout is None else timeout
        try:
            async with asyncio.timeout(limit):
                await self._driver.send_packed_command(packed, check_health=False)
                read = self._driver.read_response
                return [await read(disconnect_on_error=False) for _ in range(count)]
        except Exception as error:
            await self.drop()
            raise _lost(self.endpoint, error, limit) from error
        except BaseException:
            # Cancelled between the question and its answer: the next user of this
            # connection would read an answer that is not his.
            await self.drop()
            raise

    async def send(self, packed: bytes) -> None:
        """Send without waiting for a reply. Raises as `exchange` does."""
        await self.exchange([packed], 0)

    async def receive(self, timeout: float) -> Reply:
        """The next reply, or `TimeoutError` after `timeout` seconds, with nothing lost.

        Raises `RedisUnavailableError` (sent) when the connection is lost. A cancelled
        `receive` loses nothing either.
        """
        try:
            async with asyncio.timeout(timeout):
                return await self._driver.read_response(disconnect_on_error=False)
        except TimeoutError:
            raise
        except Exception as error:
            await self.drop()
            raise _lost(self.endpoint, error, timeout) from error

    async def usable(self) -> bool:
        """Whether nothing came while nobody was listening: the end of the connection, mostly."""
        if self.closed:
            return False
        try:
            return not await self._can_read()
        except (redis.exceptions.RedisError, OSError):
            return False
        except BaseException:
            await self.drop()
            raise

    async def drop(self) -> None:
        """Close at once, without waiting for the other side."""
        self.closed = True
        await self._driver.disconnect(nowait=True)

    async def aclose(self) -> None:
        """Close, and wait a moment for it: an event loop may end right after this."""
        self.closed = True
        try:
            async with asyncio.timeout(1):
                await self._driver.disconnect()
        except TimeoutError:
            await self.drop()


class BlockingLine:
    """The same for a thread."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.closed = False
        self._parser: Any = None
        self._driver: Any = _make(
            endpoint,
            _BLOCKING,
            parser_class=self._new_parser,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=endpoint.read_timeout,
            socket_connect_timeout=endpoint.connect_timeout,
        )

    def _new_parser(self, **kwargs: Any) -> Any:
        self._parser = _BlockingParser(**kwargs)
        return self._parser

    def connect(self) -> None:
        """Raises `RedisUnavailableError`, or `RedisReplyError` when Redis does not let us in."""
        try:
            self._driver.connect()
        except Exception as error:
            self.drop()
            limit = self.endpoint.connect_timeout
            failure = _not_connected(self.endpoint, self._parser, error, limit)
            if isinstance(failure, RedisReplyError):
                raise failure from None
            raise failure from error
        self._parser.greeted = True

    def exchange(self, packed: list[bytes], count: int) -> list[Reply]:
        """Send commands and read `count` replies. Raises `RedisUnavailableError` (sent)."""
        try:
            self._driver.send_packed_command(packed, check_health=False)
            read = self._driver.read_response
            return [read(disconnect_on_error=False) for _ in range(count)]
        except Exception as error:
            self.drop()
            raise _lost(self.endpoint, error, self.endpoint.read_timeout) from error
        except BaseException:
            self.drop()
            raise

    def usable(self) -> bool:
        """Whether nothing came while nobody was listening: the end of the connection, mostly."""
        if self.closed:
            return False
        try:
            return not self._driver.can_read(timeout=0)
        except (redis.exceptions.RedisError, OSError):
            return False

    def drop(self) -> None:
        self.closed = True
        self._driver.disconnect()


def _make(endpoint: Endpoint, classes: tuple[Any, Any, Any], **ours: Any) -> Any:
    tcp, tls, unix = classes
    # RESP2: the replies that scripts were written for, and no greeting round trip.
    ours |= {"protocol": 2, "decode_responses": False, **endpoint.options}
    if endpoint.path:
        return unix(path=endpoint.path, **ours)
    return (tls if endpoint.tls else tcp)(
        host=endpoint.host, port=endpoint.port, socket_keepalive=True, **ours
    )


def _not_connected(
    endpoint: Endpoint, parser: _PlainErrors | None, error: Exception, limit: float
) -> RedisError:
    chain = list(_causes(error))
    if parser is not None and parser.refusal is not None and parser.refusal[0] in chain:
        # Where AUTH has another name its arguments are quoted: the password.
        refused = RedisReplyError(parser.refusal[1].partition(", with args beginning with")[0])
        if not (refused.passing or "max number of clients" in refused.text):
            return refused
        return RedisUnavailableError(endpoint.where, refused.text, sent=False)
    reason = _reason(chain, limit)
    if any(isinstance(e, ConnectionResetError | BrokenPipeError) for e in chain) or (
        "closed by server" in reason
    ):
        # Its last words, if it had any, are often lost with the connection.
        reason += " (it hung up at once: too many clients, or TLS on one side only?)"
    reason += "".join(_advice(e) for e in chain if isinstance(e, ssl.SSLCertVerificationError))
    if endpoint.tls and any(isinstance(e, FileNotFoundError) for e in chain):
        reason += f" ({_absent(endpoint)})"
    return RedisUnavailableError(endpoint.where, reason, sent=False)


_OTHER_NAME = (62, 64)
"""What OpenSSL says where the certificate is good, but for another host name or address."""
_OTHER_AUTHORITY = (2, 7, 18, 19, 20, 21, 30)
"""What it says where nobody who is trusted signed it."""


def _advice(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code in _OTHER_NAME:
        return " (connect by a name that the certificate has)"
    if error.verify_code in _OTHER_AUTHORITY:
        return " (name the file of the authority that signed it: ?ssl_ca_certs=/path/to/ca.pem)"
    return ""


def _absent(endpoint: Endpoint) -> str:
    """The files of the TLS settings that are not there, which OpenSSL does not name."""
    files = {name: endpoint.options.get(name) for name in _FILES}
    return ", ".join(f"{name}={file}" for name, file in files.items() if file and not exists(file))


_FILES = ("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile")


def _lost(endpoint: Endpoint, error: Exception, limit: float) -> RedisUnavailableError:
    return RedisUnavailableError(endpoint.where, _reason(list(_causes(error)), limit), sent=True)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _reason(chain: list[BaseException], limit: float) -> str:
    """The system's own words, which say more than redis-py's around them."""
    for error in chain:
        if isinstance(error, TimeoutError):
            return f"no answer within {limit:g} s"
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"certificate verify failed: {error.verify_message.rstrip('.')}"
        if isinstance(error, ConnectionError) and error.errno:
            return strerror(error.errno)  # asyncio has words of its own, uvloop has not
        if isinstance(error, OSError):
            return error.strerror or str(error)
    return str(chain[0]) or type(chain[0]).__name__
