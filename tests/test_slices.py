"""How lists are cut into script calls."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from asyncq._broker.slices import BYTES, BYTES_PER_ROUND, ITEMS, PER_ROUND, rounds

# A queue and a size.
Item = tuple[str, int]


def cut(items: list[Item]) -> list[list[list[int]]]:
    """The places of `items`, by round and slice."""
    return [
        [[place for place, _ in slice_.items] for slice_ in round_]
        for round_ in rounds(items, lambda item: item[0], lambda item: item[1])
    ]


def test_nothing_makes_no_rounds() -> None:
    assert cut([]) == []


def test_queues_have_slices_of_their_own() -> None:
    assert cut([("a", 1), ("b", 1), ("a", 1)]) == [[[0, 2], [1]]]


def test_a_slice_and_a_round_hold_so_many_items() -> None:
    sizes = [[len(part) for part in round_] for round_ in cut([("a", 1)] * (6 * ITEMS + 1))]
    assert sizes == [[ITEMS] * 5, [ITEMS, 1]]


def test_slices_of_many_queues_travel_together() -> None:
    assert len(cut([(f"q{n}", 1) for n in range(PER_ROUND)])) == 1


def test_large_items_travel_in_smaller_slices_and_one_too_large_alone() -> None:
    half = BYTES // 2
    assert cut([("a", half), ("a", half), ("a", half)]) == [[[0, 1], [2]]]
    assert cut([("a", 1), ("a", 2 * BYTES), ("a", 1)]) == [[[0], [1], [2]]]


def test_a_round_is_not_too_large_either() -> None:
    rounds_ = cut([("a", BYTES)] * 12)
    assert [len(round_) for round_ in rounds_] == [5, 5, 2]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, BYTES)), max_size=300))
def test_every_item_travels_once_in_the_order_of_its_queue(items: list[Item]) -> None:
    places: dict[str, list[int]] = {}
    for round_ in cut(items):
        travelling = [items[place][1] for part in round_ for place in part]
        assert len(travelling) <= PER_ROUND
        assert len(round_) == 1 or sum(travelling) <= BYTES_PER_ROUND
    for slice_ in (part for round_ in cut(items) for part in round_):
        (queue,) = {items[place][0] for place in slice_}
        places.setdefault(queue, []).extend(slice_)
        assert len(slice_) <= ITEMS
        assert len(slice_) == 1 or sum(items[place][1] for place in slice_) <= BYTES
    for queue, order in places.items():
        assert order == [n for n, item in enumerate(items) if item[0] == queue]
    assert sum(map(len, places.values())) == len(items)
