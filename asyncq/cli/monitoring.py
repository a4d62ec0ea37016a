"""`--metrics-port`: what a worker shows of itself over HTTP, for Prometheus and for probes.

One process answers for itself. Of several the supervisor answers: each worker process sends it its
numbers over a private Unix socket twice a second, from a thread that works while the event loop is
blocked. So there is one port, the sums are of one moment, and what a process had counted remains
when it is gone (but for the last half second of one that was killed).
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import os
import shutil
import socket
import socketserver
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from asyncq.statistics import ENDED, Snapshot, Statistics, lasting, merged

from .failure import CommandError, Exit

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from asyncq.metrics.http import Page, View

_log = logging.getLogger("asyncq")

VARIABLE = "ASYNCQ_METRICS_SOCKET"
"""Tells a worker process where the supervisor listens."""

_REPORT_EVERY_S = 0.5
_SILENT_S = 5.0
"""A process that has reported nothing for so long hangs as a whole."""


class Address(NamedTuple):
    """Where to listen; an empty host is every address of the machine."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """`PORT`, `HOST:PORT` or `[IPv6]:PORT`. Raises `ValueError`."""
        if "://" in text:
            raise ValueError(
                f"expected PORT or HOST:PORT, got the URL {text!r}; if nobody here set it:"
                " Kubernetes sets such variables for every Service (enableServiceLinks: false)"
            )
        host, _, port = text.rpartition(":")
        if not (port.isascii() and port.isdigit() and int(port) < 1 << 16):
            raise ValueError(f"a port is a number from 0 to 65535, got {text!r}")
        return cls(host.removeprefix("[").removesuffix("]"), int(port))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" if host else f"port {self.port}"


class Monitor(Protocol):
    """Shows a worker process."""

    def watch(self, statistics: Statistics) -> None:
        """From now on, the numbers of this server."""
        ...


@contextlib.contextmanager
def monitoring(address: Address | None, number: int) -> Generator[Monitor | None]:
    """Show this worker process while entered: at `address`, or to the supervisor, if it asks.

    `number` is its place among several. Raises `CommandError` if nobody can listen there.
    """
    told = os.environ.pop(VARIABLE, None)
    if told is not None:
        with _Reporter(Path(told), number) as reporter:
            yield reporter
    elif address is not None:
        own = _OwnPages()
        with serving(address, own.views()):
            yield own
    else:
        yield None


@contextlib.contextmanager
def gathering(address: Address | None) -> Generator[None]:
    """Show the worker processes of this supervisor while entered, if there is an address.

    Raises `CommandError` if nobody can listen there.
    """
    if address is None:
        yield
        return
    gathered = Gathered()
    with serving(address, gathered.views()), _listening(gathered) as path:
        os.environ[VARIABLE] = str(path)
        try:
            yield
        finally:
            os.environ.pop(VARIABLE, None)


def check_installed() -> None:
    """Raises `CommandError`, with what to install."""
    if importlib.util.find_spec("prometheus_client") is None:
        raise CommandError('metrics need prometheus_client: pip install "asyncq[metrics]"')


@contextlib.contextmanager
def serving(address: Address, views: Mapping[str, View]) -> Generator[None]:
    """Answer requests while entered. Raises `CommandError` if nobody can listen there."""
    check_installed()
    from asyncq.metrics.http import PageServer  # noqa: PLC0415 - of the extra

    try:
        server = PageServer(address.host, address.port, views)
    except OSError as error:
        raise CommandError(
            f"cannot listen on {address} for metrics: {_reason(error)}",
            status=Exit.FAILED,
        ) from None
    server.start()
    _log.info("%s at %s", ", ".join(views), Address(address.host, server.port))
    try:
        yield
    finally:
        server.close()


def _reason(error: OSError) -> str:
    # Python adds to the system's words the address, which has been said.
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error)


class _OwnPages:
    """Of the only worker process. The default registry is shown too: the process, Python, and
    what handlers register themselves."""

    def __init__(self) -> None:
        self._statistics = Statistics()  # of nothing yet: it is starting
        self._registry: CollectorRegistry | None = None

    def views(self) -> Mapping[str, View]:
        from asyncq.metrics.http import verdict  # noqa: PLC0415 - of the extra

        return {
            "/metrics": self._metrics,
            "/healthz": lambda _: verdict(self._statistics.health().alive),
            "/readyz": lambda _: verdict(self._statistics.health().ready),
        }

    def _metrics(self, accept: str) -> Page:
        from prometheus_client import REGISTRY  # noqa: PLC0415 - of the extra

        from asyncq.metrics.http import exposition  # noqa: PLC0415 - likewise

        return exposition(self._registry or REGISTRY)(accept)

    def watch(self, statistics: Statistics) -> None:
        from prometheus_client import REGISTRY  # noqa: PLC0415 - of the extra

        from asyncq.metrics import SnapshotCollector, WorkerMetrics  # noqa: PLC0415 - likewise

        self._statistics = statistics
        if isinstance(statistics, WorkerMetrics):
            self._registry = statistics.registry  # the user's own, where it stands already
        else:
            REGISTRY.register(SnapshotCollector(statistics.snapshot))


class _Reporter:
    """Of one worker process among several."""

    def __init__(self, path: Path, number: int) -> None:
        self._path = path
        self._number = number
        self._statistics = Statistics()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._report, name="asyncq-reports", daemon=True)

    def watch(self, statistics: Statistics) -> None:
        self._statistics = statistics

    def __enter__(self) -> _Reporter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()  # once more, so that nothing that was counted is missing
        self._thread.join()

    def _report(self) -> None:
        try:
            with socket.socket(socket.AF_UNIX) as line:
                line.connect(str(self._path))
                last = False
                while not last:
                    last = self._ended.wait(_REPORT_EVERY_S)
                    line.sendall(self._line())
        except OSError as error:
            _log.debug("the supervisor hears no metrics any more: %s", error)

    def _line(self) -> bytes:
        statistics = self._statistics
        health = statistics.health()
        told = {
            "process": f"process {self._number} (pid {os.getpid()})",
            "alive": health.alive,
            "ready": health.ready,
            "snapshot": statistics.snapshot(),
        }
        return json.dumps(told).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class _Report:
    process: str
    alive: str
    ready: str
    snapshot: Snapshot
    at: float

    @property
    def hangs(self) -> str:
        silent_s = time.monotonic() - self.at
        return f"has reported nothing for {silent_s:.0f} s" if silent_s > _SILENT_S else ""


class Gathered:
    """What worker processes reported. Any thread may call any of it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._departed: Snapshot = {}
        self._reports: dict[object, _Report] = {}

    def heard(self, line: object, text: bytes) -> None:
        """A report came on this line."""
        told = json.loads(text)
        report = _Report(**told, at=time.monotonic())
        with self._lock:
            self._reports[line] = report

    def gone(self, line: object) -> None:
        """The process at the end of this line is no more; what it had counted stays."""
        with self._lock:
            report = self._reports.pop(line, None)
            counted = {} if report is None else lasting(report.snapshot)
            self._departed = merged([self._departed, counted, {ENDED.name: [((), 1)]}])

    def snapshot(self) -> Snapshot:
        """The sums."""
        with self._lock:
            snapshots = [self._departed, *(report.snapshot for report in self._reports.values())]
        return merged(snapshots)

    def alive(self) -> str:
        """What is wrong, if no process is alive; empty too while there is none."""
        return self._problems(lambda report: report.hangs or report.alive, "")

    def ready(self) -> str:
        """Why no process takes tasks; empty if one does."""
        none = "no worker process has started"
        return self._problems(lambda report: report.hangs or report.ready, none)

    def views(self) -> Mapping[str, View]:
        """The pages that show it."""
        from prometheus_client import (  # noqa: PLC0415 - of the extra
            GC_COLLECTOR,
            PLATFORM_COLLECTOR,
            PROCESS_COLLECTOR,
            CollectorRegistry,
        )

        from asyncq.metrics import SnapshotCollector  # noqa: PLC0415 - likewise
        from asyncq.metrics.http import exposition, verdict  # noqa: PLC0415 - likewise

        registry = CollectorRegistry()
        for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
            registry.register(collector)  # of the supervisor
        registry.register(SnapshotCollector(self.snapshot))
        return {
            "/metrics": exposition(registry),
            "/healthz": lambda _: verdict(self.alive()),
            "/readyz": lambda _: verdict(self.ready()),
        }

    def _problems(self, problem: Callable[[_Report], str], none: str) -> str:
        with self._lock:
            reports = list(self._reports.values())
        problems = [(report.process, problem(report)) for report in reports]
        if not problems:
            return none
        if not all(what for _, what in problems):
            return ""
        return "\n".join(f"{process}: {what}" for process, what in sorted(problems))


@contextlib.contextmanager
def _listening(gathered: Gathered) -> Generator[Path]:
    """The socket on which worker processes report, in a directory that only this user can read.

    Raises `CommandError` where there is no such directory, as with a read-only root.
    """
    try:
        directory = tempfile.mkdtemp(prefix="asyncq-")
    except OSError as error:
        raise CommandError(
            "metrics of several processes need a private socket in the directory for temporary"
            f" files: {error}; make /tmp writable, or name another directory in TMPDIR",
            status=Exit.FAILED,
        ) from None
    path = Path(directory, "metrics")
    server = _ReportServer(str(path), gathered)
    thread = threading.Thread(
        target=server.serve_forever, args=(0.1,), name="asyncq-gather", daemon=True
    )
    thread.start()
    try:
        yield path
    finally:
        server.shutdown()
        server.server_close()
        shutil.rmtree(directory, ignore_errors=True)


class _Line(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        gathered = cast(_ReportServer, self.server).gathered
        try:
            for text in self.rfile:
                if text.endswith(b"\n"):  # else its process was killed while it wrote
                    gathered.heard(self, text)
        except OSError as error:
            _log.debug("a line to a worker process broke: %s", error)
        finally:
            gathered.gone(self)


class _ReportServer(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, path: str, gathered: Gathered) -> None:
        super().__init__(path, _Line)
        self.gathered = gathered
