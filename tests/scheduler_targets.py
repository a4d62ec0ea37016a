"""What the fault tests let `asyncq scheduler` run: the same entries in every process.

`CLOCK_OFF` is by how many seconds the clock of the machine is wrong, as far as Python sees it.
"""

from __future__ import annotations

import os
import time

from asyncq import Scheduler, Task

OFF_S = float(os.environ.get("CLOCK_OFF", "0"))
if OFF_S:
    _right = time.time
    time.time = lambda: _right() + OFF_S


def make() -> Scheduler:
    queue = os.environ["QUEUE"]
    scheduler = Scheduler()
    scheduler.register("@every 1s", Task("tick"), name="tick", queue=f"{queue}:tick")
    scheduler.register("@every 1s", Task("tock", "p"), queue=f"{queue}:tock")
    scheduler.register("* * * * *", Task("cron"), name="cron", queue=f"{queue}:cron")
    return scheduler
