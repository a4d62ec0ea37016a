"""How long a failed task waits before it is tried again."""

from __future__ import annotations

import random
from collections.abc import Callable

from .options import Duration
from .task import Task

RetryDelay = Callable[[int, BaseException, Task], Duration]
"""`retry_delay(retried, error, task)`: how long to wait before the next attempt.

`retried` is how often the task was retried before this failure: 0 at the first one. A plain
function, called for every failure that will be retried, also for an attempt whose worker died;
the result is a `timedelta` or seconds.
"""


def default_retry_delay(retried: int, error: BaseException, task: Task) -> float:
    """asynq's backoff in seconds: 15 to 44 after the first failure, days after the twentieth.

    The random part grows with the number of retries, so that tasks which failed together do not
    come back together.
    """
    return float(retried**4 + 15 + random.randrange(30) * (retried + 1))
