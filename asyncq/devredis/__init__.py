"""A private Redis for development: found, started, shared, and stopped when nobody uses it.

Knows nothing of tasks, and imports nothing else of asyncq.
"""

from .programs import (
    SERVER_VARIABLE,
    DevRedisError,
    ServerProgram,
    embedded_executable,
    examine,
    find_server,
    on_path,
)
from .sharing import DevRedis, default_home, ensure

__all__ = [
    "SERVER_VARIABLE",
    "DevRedis",
    "DevRedisError",
    "ServerProgram",
    "default_home",
    "embedded_executable",
    "ensure",
    "examine",
    "find_server",
    "on_path",
]
