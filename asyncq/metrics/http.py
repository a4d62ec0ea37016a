"""A small HTTP server for pages that machines ask for, in threads: it answers while the event
loop is blocked."""

from __future__ import annotations

import errno
import logging
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler
from typing import NamedTuple, cast

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

_log = logging.getLogger("asyncq")

TEXT = "text/plain; charset=utf-8"
_PATIENCE_S = 10.0
_LOOK_EVERY_S = 0.1
"""How often it looks whether to stop: no worker ends later by more."""


class Page(NamedTuple):
    """An answer."""

    status: int
    content_type: str
    body: bytes


View = Callable[[str], Page]
"""Makes a page, given the request's Accept header. Called in any thread."""


def exposition(registry: CollectorRegistry) -> View:
    """All metrics of a registry, in the form that the scraper prefers."""

    def view(accept: str) -> Page:
        encode, content_type = choose_encoder(accept)
        return Page(200, content_type, encode(registry))

    return view


def verdict(problem: str) -> Page:
    """200 `ok`, or 503 with what is wrong."""
    if problem:
        return Page(503, TEXT, f"{problem}\n".encode())
    return Page(200, TEXT, b"ok\n")


class PageServer:
    """Serves pages by their paths from threads of its own, from `start` until `close`.

    `host` is empty for all addresses of the machine. Raises `OSError` if the port is taken.
    """

    def __init__(self, host: str, port: int, pages: Mapping[str, View]) -> None:
        self._server = _Server(_listener(host, port), pages)
        self.port: int = self._server.server_address[1]
        """Where it listens: what was asked for, or what the system chose for 0."""
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            args=(_LOOK_EVERY_S,),
            name="asyncq-http",
            daemon=True,
        )

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Stop listening. Answers under way are not waited for."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    # Not http.server's, which looks up the name of its own host, for as long as that takes.
    daemon_threads = True
    block_on_close = False

    def __init__(self, listener: socket.socket, pages: Mapping[str, View]) -> None:
        super().__init__(listener.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.server_address = listener.getsockname()
        self.pages = pages

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection broke: nobody hears the answer."""
        _log.debug("a request of %s failed", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    timeout = _PATIENCE_S
    server_version = "asyncq"

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        page = self._page()
        self.send_response(page.status)
        self.send_header("Content-Type", page.content_type)
        self.send_header("Content-Length", str(len(page.body)))
        self.end_headers()
        if with_body:
            self.wfile.write(page.body)

    def _page(self) -> Page:
        pages = cast(_Server, self.server).pages
        view = pages.get(self.path.partition("?")[0])
        if view is None:
            return Page(404, TEXT, f"one of {', '.join(pages)}\n".encode())
        try:
            return view(self.headers.get("Accept", ""))
        except Exception:  # noqa: BLE001 - one bad page, such as a collector of the user's
            _log.exception("the page %s could not be made", self.path)
            return Page(500, TEXT, b"see the log\n")

    def log_message(self, format: str, *args: object) -> None:
        _log.debug(format, *args)


def _listener(host: str, port: int) -> socket.socket:
    if host:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    if socket.has_dualstack_ipv6():
        try:
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:  # IPv6 is there and switched off
                raise
    return socket.create_server(("", port))
