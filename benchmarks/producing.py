"""How fast tasks are put into the queue."""

from __future__ import annotations

from benchmarks.place import Figures, Place
from benchmarks.programs import Contestant

MOST = 200_000
"""Of one run: Redis holds them all."""


def produce(place: Place, contestant: Contestant, action: str, in_flight: int = 1) -> Figures:
    """Enqueues for a few seconds. `action` is `enqueue-serial` or its like."""
    count = place.count(
        contestant,
        f"{action} {in_flight}",
        MOST,
        lambda probe: _produce(place, contestant, action, in_flight, probe)["rate"],
        probe=1000 if action == "enqueue-bulk" else 300,
    )
    return _produce(place, contestant, action, in_flight, count)


def _produce(
    place: Place, contestant: Contestant, action: str, in_flight: int, count: int
) -> Figures:
    place.fresh()
    answer = contestant.ask(action, redis=place.server.url, count=count, in_flight=in_flight)
    figures = {"rate": answer["count"] / answer["seconds"], "tasks": float(answer["count"])}
    if "cpu_seconds" in answer:
        figures["cpu_s_per_10000"] = answer["cpu_seconds"] / answer["count"] * 10_000
    return figures
