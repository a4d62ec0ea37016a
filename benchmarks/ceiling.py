"""The ceiling and the floor of asyncq: its own conversation with Redis, said without asyncq."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cached_property
from typing import Any

from benchmarks.place import Figures, Place, until
from benchmarks.programs import ROOT, Contestant, ContestantError
from benchmarks.recording import Recording, recorded
from benchmarks.waking import APART_MS, summary

PENDING, ACTIVE = "asynq:{default}:pending", "asynq:{default}:active"


class Ceiling:
    """Records once, replays as often as asked."""

    def __init__(self, place: Place, asyncq: Contestant) -> None:
        self._place = place
        self._asyncq = asyncq
        self._produced: dict[str, tuple[Recording, int]] = {}

    def produce(self, action: str) -> Figures:
        """The script calls of an enqueue action, replayed."""
        recording, count = self._recorded(action)
        self._place.fresh()
        seconds = recording.replay(self._place.server.port)
        self._check(PENDING, count)
        return {"rate": count / seconds, "tasks": count, **_calls(recording, count)}

    def drain(self) -> Figures:
        """All that a worker says while it drains a backlog, replayed upon the same backlog."""
        filled, drained, count = self._drained
        self._place.fresh()
        filled.replay(self._place.server.port)
        self._check(PENDING, count)
        seconds = drained.replay(self._place.server.port)
        self._check(PENDING, 0)
        self._check(ACTIVE, 0)
        return {"rate": count / seconds, "tasks": count, **_calls(drained, count)}

    def evalsha(self, client: str) -> Figures:
        """The calls of `enqueue-serial`, each awaited, by a client that does nothing else."""
        recording, _ = self._recorded("enqueue-serial")
        self._place.fresh()
        calls = self._place.board_path.with_name("calls.json")
        calls.write_text(json.dumps([call.hex() for call in recording.scripts()]))
        answer = bare("evalsha", redis=self._place.server.url, calls=calls, client=client)
        return {"rate": answer["count"] / answer["seconds"], "tasks": answer["count"]}

    def ping(self, client: str) -> Figures:
        """Single round trips, long apart."""
        sizes = self._place.sizes
        url = self._place.server.url
        return summary(
            bare("ping", redis=url, count=sizes.latencies, interval_ms=APART_MS, client=client)[
                "latencies_ns"
            ]
        )

    def coroutines(self) -> Figures:
        """The handlers of the sleeping tasks, without a queue."""
        count = max(500, int(self._place.sizes.seconds * 8000))
        answer = bare("coroutines", count=count, concurrency=100)
        return {"rate": answer["count"] / answer["seconds"], "tasks": answer["count"]}

    def _recorded(self, action: str) -> tuple[Recording, int]:
        if action not in self._produced:
            server = self._place.server
            self._place.fresh()
            with recorded(server.port) as (port, recording):
                self._asyncq.ask(
                    action,
                    redis=f"redis://127.0.0.1:{port}/0",
                    count=self._place.sizes.backlog,
                    in_flight=100,
                )
            self._produced[action] = recording, server.redis.llen(PENDING)
        return self._produced[action]

    @cached_property
    def _drained(self) -> tuple[Recording, Recording, int]:
        place, count = self._place, self._place.sizes.backlog
        seen = place.fresh()
        with recorded(place.server.port) as (port, filled):
            url = f"redis://127.0.0.1:{port}/0"
            self._asyncq.ask("fill", redis=url, count=count, workload="noop")
        with (
            recorded(place.server.port) as (port, drained),
            self._asyncq.working(
                1,
                redis=f"redis://127.0.0.1:{port}/0",
                concurrency=100,
                workload="noop",
                board=place.board_path,
            ) as workers,
        ):
            until(seen, count, workers)
        return filled, drained, count

    def _check(self, key: str, expected: int) -> None:
        # A replay that does less than the original would be a ceiling too high.
        found = self._place.server.redis.llen(key)
        if found != expected:
            raise ContestantError(f"{found} tasks in {key} after a replay, not {expected}")


def bare(what: str, **options: Any) -> dict[str, Any]:
    """The answer of `benchmarks.bare`."""
    flags = [text for name, value in options.items() for text in (_flag(name), str(value))]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.bare", what, *flags],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise ContestantError(f"{what} ended with {done.returncode}: {done.stderr.decode()[-300:]}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _calls(recording: Recording, count: int) -> Figures:
    return {"script_calls_per_1000": len(recording.scripts()) / count * 1000}
