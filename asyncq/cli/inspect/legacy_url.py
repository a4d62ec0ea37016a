"""Where Redis is, by the flags of asynq's command line."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from ..failure import CommandError

_DEFAULT = "127.0.0.1:6379"
_DEFAULT_NODES = ",".join(f"127.0.0.1:{port}" for port in range(7000, 7006))


@dataclass(frozen=True, slots=True, kw_only=True)
class AsynqFlags:
    """`--uri` and its companions; None or False where one was not given."""

    uri: str | None
    db: int | None
    username: str | None
    password: str | None
    cluster: bool
    cluster_addrs: str | None
    tls: bool
    insecure: bool

    def url(self) -> str | None:
        """The URL that says the same; None if none of them was given. Raises `CommandError`."""
        if not any((self.uri, self.db is not None, self.username, self.password)) and not (
            self.cluster or self.cluster_addrs or self.tls or self.insecure
        ):
            return None
        if self.insecure and not self.tls:
            raise CommandError("--insecure goes with --tls")
        if self.uri and "://" in self.uri:
            raise CommandError("--uri takes HOST:PORT, as asynq's does; a URL goes with --redis")
        cluster = self.cluster or self.cluster_addrs is not None
        scheme = ("rediss" if self.tls else "redis") + ("-cluster" if cluster else "")
        if cluster and (self.db or self.uri):
            raise CommandError("a cluster is said by --cluster_addrs, and has no --db")
        hosts = (self.cluster_addrs or _DEFAULT_NODES) if cluster else (self.uri or _DEFAULT)
        database = f"/{self.db}" if self.db and not cluster else ""
        query = "?ssl_cert_reqs=none" if self.insecure else ""
        return f"{scheme}://{self._credentials()}{hosts}{database}{query}"

    def _credentials(self) -> str:
        if not (self.username or self.password):
            return ""
        return f"{quote(self.username or '', safe='')}:{quote(self.password or '', safe='')}@"
