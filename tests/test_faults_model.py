"""The life cycle of tasks against its model (`model/`), whatever befalls calls and callers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from model.machine import Life
from model.wire import Wire
from redis_servers import RedisServer

Summary = Callable[[str, object], None]
SEEDS, LIVES, STEPS = 10, 500, 60


@pytest.fixture
def wire(redis_server: RedisServer) -> Iterator[Wire]:
    """To a database that no other test uses."""
    wire = Wire(redis_server.url.replace("db=0", "db=9"))
    yield wire
    wire.close()


def play(wire_: Wire, seed: int | None, lives: int, steps: int) -> str:
    """Live so many lives on the wire; without a seed always the same. What was done."""

    class Here(Life):
        wire = wire_

    at_any_pace = settings(
        max_examples=lives,
        stateful_step_count=steps,
        derandomize=seed is None,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        # To find the shortest life that fails takes minutes.
        phases=[Phase.generate] if seed is None else [Phase.generate, Phase.shrink],
    )
    machine = Here if seed is None else hypothesis.seed(seed)(Here)
    run_state_machine_as_test(machine, settings=at_any_pace)
    return f"{Here.lives} lives, {Here.steps} steps"


def test_redis_is_as_the_model_says_after_every_step(wire: Wire, record_property: Summary) -> None:
    record_property("summary", f"model: {play(wire, None, lives=100, steps=30)}")


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(SEEDS))
def test_redis_is_as_the_model_says_at_length(
    wire: Wire, seed: int, record_property: Summary
) -> None:
    record_property("summary", f"model: seed {seed}: {play(wire, seed, LIVES, STEPS)}")
