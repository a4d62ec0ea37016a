"""How free slots are split over queues by weight."""

from __future__ import annotations

from collections.abc import Collection, Mapping


class Shares:
    """Splits by weight to the slot, over time: what is rounded off is carried over.

    A queue that has nothing to give saves nothing up for later.
    """

    def __init__(self, weights: Mapping[str, int]) -> None:
        self._weights = weights
        self._credit = dict.fromkeys(weights, 0.0)

    def split(self, slots: int, queues: Collection[str]) -> dict[str, int]:
        """Slots for each of `queues`, in all exactly `slots`; those with none are left out."""
        total = sum(self._weights[queue] for queue in queues)
        exact = {
            queue: self._credit[queue] + slots * self._weights[queue] / total for queue in queues
        }
        split = {queue: max(0, int(share)) for queue, share in exact.items()}
        while (rest := slots - sum(split.values())) != 0:
            # Whoever is furthest from the exact share gives or takes; a handful at the most.
            step = 1 if rest > 0 else -1
            open_to = queues if step > 0 else [queue for queue in queues if split[queue]]
            split[max(open_to, key=lambda queue: step * (exact[queue] - split[queue]))] += step
        for queue in queues:
            self._credit[queue] = min(1.0, max(-1.0, exact[queue] - split[queue]))
        return {queue: count for queue, count in split.items() if count > 0}

    def forget(self, queue: str) -> None:
        """The queue gave less than its share."""
        self._credit[queue] = 0.0
