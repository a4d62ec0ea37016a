"""The default backoff is asynq's."""

from __future__ import annotations

import pytest

from asyncq.retry import default_retry_delay
from asyncq.task import Task


@pytest.mark.parametrize("retried", [0, 1, 2, 10, 24])
def test_the_delay_grows_with_the_fourth_power_and_a_growing_random_part(retried: int) -> None:
    least = retried**4 + 15
    steps = {least + n * (retried + 1) for n in range(30)}
    seen = {default_retry_delay(retried, ValueError(), Task("t")) for _ in range(3000)}
    # Each of 30 values is missed by 3000 draws with a probability of 1e-44.
    assert seen == steps


def test_the_first_delay_is_15_to_44_seconds() -> None:
    delays = [default_retry_delay(0, ValueError(), Task("t")) for _ in range(500)]
    assert 15 <= min(delays) <= max(delays) <= 44
