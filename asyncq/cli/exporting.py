"""`asyncq metrics` at work."""

from __future__ import annotations

import signal
import threading

from . import logs
from .monitoring import Address, check_installed, serving
from .reach import wrong_address_explained


def run_metrics(
    redis: str | None,
    address: Address,
    *,
    timeout: float,
    log_format: logs.LogFormat,
    log_level: logs.LogLevel | None,
) -> None:
    """Serve the metrics of all queues until TERM or INT.

    Redis need not answer: that it does not is what the metrics say. Raises `CommandError`.
    """
    logs.configure(log_format, log_level or logs.LogLevel.INFO)
    check_installed()
    from prometheus_client import (  # noqa: PLC0415 - of the extra
        GC_COLLECTOR,
        PLATFORM_COLLECTOR,
        PROCESS_COLLECTOR,
        CollectorRegistry,
    )

    from asyncq.metrics import QueueMetrics  # noqa: PLC0415 - likewise
    from asyncq.metrics.http import View, exposition, verdict  # noqa: PLC0415 - likewise

    stop = threading.Event()

    def on_signal(number: int, frame: object) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    with wrong_address_explained():
        queues = QueueMetrics(redis, timeout=timeout)
    registry = CollectorRegistry()
    for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR, queues):
        registry.register(collector)
    views: dict[str, View] = {
        "/metrics": exposition(registry),
        "/healthz": lambda _: verdict(""),
    }
    try:
        with serving(address, views):
            stop.wait()
    finally:
        queues.close()
