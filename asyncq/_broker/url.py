"""Redis URLs. What is wrong with one is said without showing the secrets in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from .address import (
    CONNECT_TIMEOUT,
    READ_TIMEOUT,
    REDIS_PORT,
    SENTINEL_PORT,
    Address,
    Cluster,
    Embedded,
    Endpoint,
    Sentinels,
    Single,
)

_FORMS = """\
  redis://[user:password@]host[:port][/db]             rediss:// for TLS
  unix://[user:password@]/path/to/socket[?db=0]        or asynq's redis-socket://
  redis-sentinel://[:password@]host[:port],host.../[db][?master=mymaster]
  redis-cluster://[user:password@]host[:port],host...  rediss-cluster:// for TLS
  embedded://[directory]                               a private development server"""

_MASK = "***"


def masked(url: str) -> str:
    """`url` with everything that may be a secret replaced."""
    hidden = re.sub(r"(password=)[^&#]*", rf"\1{_MASK}", url, flags=re.IGNORECASE)
    scheme, separator, rest = _without_scheme(hidden)
    # The last @ counts, as a password may hold one that nobody encoded; one after the
    # question mark too, since a password may hold that as well.
    credentials, at, host = rest.rpartition("@")
    user = credentials.split(":", 1)[0] + ":" if ":" in credentials else ""
    return f"{scheme}{separator}" + (f"{user}{_MASK}@{host}" if at else rest)


def _without_scheme(url: str) -> tuple[str, str, str]:
    """Scheme, `://` and the rest. What cannot be a scheme may be a password: it is rest."""
    scheme, separator, rest = url.partition("://")
    if separator and re.fullmatch(r"[A-Za-z0-9+._-]*", scheme):
        return scheme, separator, rest
    return "", "", url


def _wrong(url: str, why: str) -> ValueError:
    return ValueError(f"{masked(url)!r} is not a Redis URL: {why}\naccepted are:\n{_FORMS}")


def read_url(url: str) -> Address:
    """Raises `ValueError` for anything that is not one of the accepted forms."""
    scheme, separator, _ = _without_scheme(url)
    scheme = scheme.lower()
    if not separator:
        raise _wrong(url, f"it has no scheme; did you mean {masked('redis://' + url)!r}?")
    reader = _READERS.get(scheme)
    if reader is None:
        near = get_close_matches(scheme, _READERS, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]}://?" if near else ""
        raise _wrong(url, f"asyncq does not know {scheme}://{hint}")
    try:
        return reader(_Url(url, scheme))
    except _UrlError as error:
        raise _wrong(url, str(error)) from None


# For an @ behind what looked like the host: that is a part of a password, so it is not quoted.
_ENCODE = "a '/' or '?' in a password has to be written as %2F or %3F"
_UNSPLIT = (
    "its host cannot be told from the rest: an IPv6 address needs brackets ([::1]:6379), and"
    " special characters in a password have to be percent-encoded"
)


class _UrlError(Exception):
    """What is wrong with a URL, without the URL."""


class _Url:
    """The parts that the schemes share."""

    def __init__(self, url: str, scheme: str) -> None:
        try:
            parts: SplitResult = urlsplit(url)
        except ValueError:
            # Its own words quote what stands before the @ too.
            raise _UrlError(_UNSPLIT) from None
        self.scheme = scheme
        self.tls = scheme.startswith("rediss")
        credentials, at, self.hosts = parts.netloc.rpartition("@")
        user, _, password = credentials.partition(":")
        self.username = unquote(user) if at else ""
        self.password = unquote(password) if at else ""
        self.path = unquote(parts.path)
        if parts.fragment:
            raise _UrlError("it has a '#': write %23 if it belongs to a password or a path")
        self.query = dict(parse_qsl(parts.query, keep_blank_values=True))
        unencoded = bool(parts.netloc) and not at and scheme != "embedded"
        if unencoded and "@" in self.path:
            raise _UrlError(_ENCODE)

    def take(self, name: str) -> str | None:
        return self.query.pop(name, None) or None

    def nodes(self, default_port: int) -> list[tuple[str, int]]:
        return [_host(part, default_port) for part in self.hosts.split(",")]

    def db(self) -> int:
        """From the path or, as redis-py has it and it wins there, from `?db=`."""
        text = self.take("db") or self.path.strip("/").split("/", 1)[0]
        return _database(text)

    def endpoint(self, db: int) -> Endpoint:
        """Credentials and settings; the address is added with `at`. Takes the whole query."""
        username = self.take("username") or self.username
        password = self.take("password") or self.password
        options: dict[str, Any] = {"db": db}
        if username:
            options["username"] = username
        if password:
            options["password"] = password
        connect_timeout = _seconds(self, "socket_connect_timeout", CONNECT_TIMEOUT)
        read_timeout = _seconds(self, "socket_timeout", READ_TIMEOUT)
        options |= _tls_options(self) if self.tls else {}
        self.finish()
        return Endpoint(
            tls=self.tls,
            options=MappingProxyType(options),
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
        )

    def finish(self) -> None:
        for name, value in self.query.items():
            if "@" in name + value:
                raise _UrlError(_ENCODE)
            known = ["db", "username", "password", "socket_timeout", "socket_connect_timeout"]
            known += ["master"] if "sentinel" in self.scheme else []
            known += list(_TLS) if self.tls else []
            near = get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}=?" if near else f"; known are {', '.join(known)}"
            tls = " without TLS (rediss://)" if name in _TLS else ""
            raise _UrlError(f"{name}= means nothing here{tls}{'' if tls else hint}")


def _host(text: str, default_port: int) -> tuple[str, int]:
    match = re.fullmatch(r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<name>[^:\[\]]*))(?::(?P<port>\d*))?", text)
    if match is None:
        # Not quoted: what looks like a port may be a password.
        raise _UrlError("that is not host:port (an IPv6 address needs brackets: [::1]:6379)")
    host = unquote(match["v6"] or match["name"])
    port = int(match["port"] or default_port)
    if not host:
        raise _UrlError("a host is missing")
    if not 0 < port < 65536:
        raise _UrlError(f"port {port} is not between 1 and 65535")
    return host, port


def _database(text: str) -> int:
    if not text:
        return 0
    if "@" in text:
        raise _UrlError(_ENCODE)
    if not (text.isascii() and text.isdigit()):
        raise _UrlError(f"the database {text!r} is not a number")
    return int(text)


def _seconds(url: _Url, name: str, default: float) -> float:
    text = url.take(name)
    if text is None:
        return default
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 < seconds < float("inf"):
        raise _UrlError(f"{name}={text} is not a number of seconds above 0")
    return seconds


def _flag(text: str) -> bool:
    lowered = text.lower()
    if lowered in ("1", "true", "yes", "t", "y"):
        return True
    if lowered in ("0", "false", "no", "f", "n"):
        return False
    raise _UrlError(f"{text!r} is neither true nor false")


def _one_of(*allowed: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if text not in allowed:
            raise _UrlError(f"{text!r} is none of {', '.join(allowed)}")
        return text

    return check


_TLS: Mapping[str, Callable[[str], object]] = {
    "ssl_cert_reqs": _one_of("required", "optional", "none"),
    "ssl_check_hostname": _flag,
    "ssl_ca_certs": str,
    "ssl_ca_path": str,
    "ssl_ca_data": str,
    "ssl_certfile": str,
    "ssl_keyfile": str,
    "ssl_password": str,
    "ssl_ciphers": str,
}


def _tls_options(url: _Url) -> dict[str, Any]:
    # Said here and not left to redis-py, whose defaults have changed between versions.
    options: dict[str, Any] = {"ssl_cert_reqs": "required", "ssl_check_hostname": True}
    for name, read in _TLS.items():
        text = url.take(name)
        if text is not None:
            options[name] = read(text)
    if options["ssl_cert_reqs"] == "none":
        options["ssl_check_hostname"] = False
    return options


def _read_tcp(url: _Url) -> Address:
    if "," in url.hosts:
        raise _UrlError("it names several hosts; that is redis-cluster:// or redis-sentinel://")
    if url.hosts.startswith("/") or not url.hosts:
        raise _UrlError("a host is missing (redis://localhost:6379; a socket is unix:///path)")
    (node,) = url.nodes(REDIS_PORT)
    return Single(url.endpoint(url.db()).at(*node))


def _read_socket(url: _Url) -> Address:
    if url.hosts:
        raise _UrlError(f"a socket's path is absolute: {url.scheme}:///{url.hosts}{url.path}?")
    if url.path in ("", "/"):
        raise _UrlError("the path of the socket is missing")
    return Single(replace(url.endpoint(_database(url.take("db") or "")), path=url.path))


def _read_sentinel(url: _Url) -> Address:
    """As asynq reads it: the password before the @ is the sentinels'."""
    name = url.take("master") or "mymaster"
    of_sentinels = _credentials(url)
    url.username = url.password = ""
    master = url.endpoint(url.db())
    tls = {k: v for k, v in master.options.items() if k.startswith("ssl_")}
    watching = replace(master, options=MappingProxyType({**of_sentinels, **tls}))
    return Sentinels(tuple(watching.at(*n) for n in url.nodes(SENTINEL_PORT)), name, master)


def _credentials(url: _Url) -> dict[str, Any]:
    given = {"username": url.username, "password": url.password}
    return {name: value for name, value in given.items() if value}


def _read_cluster(url: _Url) -> Address:
    if url.db():
        raise _UrlError("a cluster has only database 0")
    endpoint = url.endpoint(0)
    return Cluster(tuple(endpoint.at(*node) for node in url.nodes(REDIS_PORT)))


def _read_embedded(url: _Url) -> Address:
    """`embedded://relative/dir` and `embedded:///absolute/dir`; `~` is the home directory."""
    if url.username or url.password or url.query:
        raise _UrlError("a private server takes a directory and nothing else")
    directory = unquote(url.hosts) + url.path
    return Embedded(Path(directory).expanduser() if directory else None)


_READERS: Mapping[str, Callable[[_Url], Address]] = {
    "redis": _read_tcp,
    "rediss": _read_tcp,
    "unix": _read_socket,
    "redis-socket": _read_socket,
    "redis-sentinel": _read_sentinel,
    "rediss-sentinel": _read_sentinel,
    "redis-cluster": _read_cluster,
    "rediss-cluster": _read_cluster,
    "embedded": _read_embedded,
}
