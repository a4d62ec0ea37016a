"""Metrics for Prometheus: of queues, which Redis knows, and of workers, which only they know.

    REGISTRY.register(QueueMetrics(url))                                     # anywhere, once
    Server(url, mux, ServerConfig(statistics=WorkerMetrics()))              # in each worker

On the command line: `asyncq metrics --port 9876` and `asyncq worker --metrics-port 9100`. It needs
prometheus_client: `pip install "asyncq[metrics]"`.
"""

try:
    import prometheus_client as _  # noqa: F401 - so that what is missing is said well
except ImportError as _missing:
    raise ImportError(
        'asyncq.metrics needs prometheus_client: pip install "asyncq[metrics]"'
    ) from _missing

from .queues import QueueMetrics
from .worker import SnapshotCollector, WorkerMetrics

__all__ = ["QueueMetrics", "SnapshotCollector", "WorkerMetrics"]
