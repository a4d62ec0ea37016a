"""A little of the fuzzing that `tests/fuzz_run.py` does at length: inputs made by hypothesis, and
mutations of what is right."""

from __future__ import annotations

import pytest
from fuzz_targets import SEEDS, TARGETS, Mutator
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

# A search of five years of dates, or a parser of arguments, takes a millisecond.
_SLOW = {"cron", "arguments", "url"}
_ALPHABET = "".join(sorted({chr(c) for c in range(32, 127)} | set("\n\x00\ud800ü€😀")))


@pytest.mark.parametrize("name", TARGETS)
def test_only_documented_errors_come_out_for_any_bytes(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    @settings(
        max_examples=150,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
    @given(st.one_of(st.binary(max_size=300), st.text(_ALPHABET, max_size=60).map(_bytes)))
    def examine(data: bytes) -> None:
        TARGETS[name](data)

    examine()


@pytest.mark.parametrize("name", TARGETS)
def test_only_documented_errors_come_out_for_what_is_nearly_right(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    mutator = Mutator(SEEDS[name], 42)
    for seed in SEEDS[name]:
        TARGETS[name](seed)
    for _ in range(200 if name in _SLOW else 3000):
        TARGETS[name](mutator.next())


@pytest.mark.parametrize(
    ("name", "data"),
    [("quoted", rb'"\U8001f600"'), ("options", rb'Queue("\Uffffffff")')],
)
def test_what_once_broke_does_not_any_more(name: str, data: bytes) -> None:
    TARGETS[name](data)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
