"""What a worker says of a trouble that lasts: at once, then less and less often, and its end."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace

import pytest

from asyncq import RedisUnavailableError
from asyncq._worker import loop
from asyncq._worker.loop import Complaints, run_every

GONE = RedisUnavailableError("redis://here", "Connection refused", sent=False)


class Time:
    """Stands in for the module."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=time.monotonic))
    return time


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    texts = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return texts


def complain(complaints: Complaints, time: Time, seconds: float) -> None:
    """Once a second."""
    until = time.now + seconds
    while time.now < until:
        complaints.log("janitor", GONE)
        time.now += 1


def test_outage_is_told_less_and_less_often(time: Time, caplog: pytest.LogCaptureFixture) -> None:
    complaints = Complaints()
    complain(complaints, time, 1)
    assert told(caplog) == ["janitor: cannot reach Redis at redis://here: Connection refused"]
    complain(complaints, time, 99)  # after 3, 9, 21, 45 and 93 seconds
    assert len(told(caplog)) == 5
    complain(complaints, time, 3600)
    assert len(told(caplog)) == 60


def test_trouble_after_a_pause_is_told_as_a_new_one(
    time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    complaints = Complaints()
    complain(complaints, time, 100)
    told(caplog)
    time.now += 20
    complain(complaints, time, 10)
    assert len(told(caplog)) == 3


def test_troubles_of_different_kinds_are_told_each(
    time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    complaints = Complaints()
    complain(complaints, time, 60)
    told(caplog)
    complaints.log("sweep", GONE)
    assert len(told(caplog)) == 1


async def test_end_of_an_outage_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "asyncq")
    stop = asyncio.Event()
    ends = [None, None, GONE, GONE, None]

    async def step() -> None:
        end = ends.pop()
        if not ends:
            stop.set()
        if end is not None:
            raise end

    await run_every("janitor", step, 0.001, stop=stop)
    first, last = told(caplog)
    assert first == "janitor: cannot reach Redis at redis://here: Connection refused"
    assert last.startswith("janitor: works again after ")
