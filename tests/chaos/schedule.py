"""What a seed says: where the queues are, who works on them, and which faults befall them when.

The same seed gives the same schedule, and each fault the same choices. What comes of them depends
on how real processes happen to run, which no seed can say.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from redis_servers import VARIANTS

from .faults import KINDS
from .fleet import Sizes

_WEIGHTS = {"single": 10, "mixed": 3, "sentinel": 3, "cluster": 4}
_OWN = {
    "sentinel": ("sentinel fails over", "master dies", "master frozen until replaced"),
    "cluster": (
        "cluster fails over",
        "cluster master dies",
        "cluster master frozen until replaced",
        "cluster slot moves",
    ),
    "mixed": ("go worker killed",),
}
"""What a place of this kind is there for: one of them at least."""
_APART_S = 0.8
_CLOCK_STEPS_S = (-7200.0, -600.0, -30.0, 30.0, 600.0, 7200.0)


@dataclass(frozen=True, slots=True)
class Planned:
    """One fault. Its choices follow from `seed`."""

    at_s: float
    kind: str
    seed: str


@dataclass(frozen=True, slots=True)
class Schedule:
    """All that a seed says."""

    seed: int
    topology: str
    variant: str
    """Of Redis; where it is not installed, another is taken."""
    sizes: Sizes
    clock_steps_s: float
    length_s: float
    faults: tuple[Planned, ...]

    @classmethod
    def of(cls, seed: int, *, length_s: float = 6.0, topology: str | None = None) -> Schedule:
        chance = random.Random(f"schedule {seed}")
        drawn = chance.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
        topology = topology or drawn
        return cls(
            seed=seed,
            topology=topology,
            variant=chance.choice(VARIANTS),
            sizes=Sizes(
                workers=chance.randint(2, 4),
                go_workers=2 if topology == "mixed" else 0,
                producers=chance.randint(1, 3),
                schedulers=chance.randint(1, 2),
            ),
            clock_steps_s=chance.choice(_CLOCK_STEPS_S),
            length_s=length_s,
            faults=tuple(_faults(seed, topology, length_s, chance)),
        )

    def __str__(self) -> str:
        lines = [f"  {fault.at_s:5.2f} s  {fault.kind}" for fault in self.faults]
        sizes = self.sizes
        head = (
            f"seed {self.seed}: {self.topology} ({self.variant}), {sizes.workers} workers,"
            f" {sizes.go_workers} of Go, {sizes.producers} producers,"
            f" {sizes.schedulers} schedulers; clocks step by {self.clock_steps_s:g} s"
        )
        return "\n".join([head, *lines])


def _faults(seed: int, topology: str, length_s: float, chance: random.Random) -> list[Planned]:
    """In the order of time; no kind twice before all were there."""
    kinds = sorted(name for name, kind in KINDS.items() if topology in kind.topologies)
    count = max(1, round(length_s / _APART_S))
    own = chance.choice(_OWN.get(topology, kinds))
    chance.shuffle(kinds)
    kinds.remove(own)
    drawn = [own, *kinds] * (count // (len(kinds) + 1) + 1)
    times = sorted(chance.uniform(0, length_s) for _ in range(count))
    chosen = drawn[:count]
    chance.shuffle(chosen)
    return [
        Planned(at_s, kind, f"{seed} {n} {kind}")
        for n, (at_s, kind) in enumerate(zip(times, chosen, strict=True))
    ]
