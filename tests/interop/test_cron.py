"""Random specs mean the same to our parser and to the one that asynq uses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from random import Random
from zoneinfo import ZoneInfo

import pytest

from asyncq import cron

from .peers import Peer

SPECS = 10_000
HOMES = ("UTC", "America/New_York", "Europe/Dublin", "Pacific/Auckland")
"""The scheduler's own zone; a fifth of the specs name another one."""
COUNT = 4
FIRST, LAST = 1_577_836_800, 1_893_456_000  # 2020 to 2030

# Zones with rules that have not changed for years (the two sides may read different editions),
# and with clocks that are changed on the hour and not at midnight: elsewhere (Lord Howe, Chatham,
# Havana, Santiago) asynq's parser leaves out some due times that its own rules ask for, and asyncq
# does not.
ZONES = (
    "UTC",
    "America/New_York",
    "America/Sao_Paulo",  # gave up daylight saving
    "America/St_Johns",  # half an hour off
    "Asia/Kathmandu",
    "Asia/Tokyo",
    "Australia/Adelaide",
    "Europe/Berlin",
    "Europe/Dublin",  # its winter time is the daylight saving
    "Pacific/Apia",
    "Pacific/Auckland",
)
FIELDS: tuple[tuple[int, int, Sequence[str]], ...] = (
    (0, 59, ()),
    (0, 23, ()),
    (1, 31, ()),
    (1, 12, "jan feb mar apr may jun jul aug sep oct nov dec".split()),
    (0, 6, "sun mon tue wed thu fri sat".split()),
)
DESCRIPTORS = (
    "@yearly @annually @monthly @weekly @daily @midnight @hourly @Daily @reboot @every @ @dayly"
).split()
DURATIONS = (
    "90s 1h30m 1500ms 0.5s 999999999ns 1m0.9s 26h 0 3 s 1d 1h-3m .5m 2562047h 1e3s +5m 1µs 1us"
).split()


@pytest.mark.parametrize("zone", HOMES)
async def test_random_specs_are_due_when_go_says(
    zone: str, go: Peer, record_property: Callable[[str, object], None]
) -> None:
    random = Random(f"cron {zone}")
    specs = [a_spec(random) for _ in range(SPECS // len(HOMES))]
    after = [random.randrange(FIRST, LAST) for _ in specs]
    by_go = await go.call("cron", specs=specs, after=after, location=zone, count=COUNT)
    ours = [due_times(spec, at, zone) for spec, at in zip(specs, after, strict=True)]
    differing = [
        (spec, at, zone, go_says, we_say)
        for spec, at, go_says, we_say in zip(specs, after, by_go, ours, strict=True)
        if go_says != we_say
    ]
    assert differing == []
    refused = sum(times is None for times in ours)
    never = sum(times == [] for times in ours)
    assert 0 < refused < len(specs) // 5
    record_property(
        "summary",
        f"cron, {zone}: {len(specs)} specs mean the same to Go; {refused} of them are refused"
        f" and {never} are never due",
    )


async def test_a_negative_period_is_an_error_where_go_makes_it_a_second(go: Peer) -> None:
    (by_go,) = await go.call("cron", specs=["@every -3s"], after=[0], location="UTC", count=2)
    assert by_go == [1, 2]
    with pytest.raises(ValueError, match="negative"):
        cron.parse("@every -3s")


def due_times(spec: str, after_s: int, zone: str) -> list[int] | None:
    """None for a spec that does not parse."""
    try:
        schedule = cron.parse(spec, ZoneInfo(zone))
    except ValueError:
        return None
    times: list[int] = []
    at: datetime | None = datetime.fromtimestamp(after_s, UTC)
    while at is not None and len(times) < COUNT:
        at = schedule.next(at)
        if at is not None:
            times.append(int(at.timestamp()))
    return times


def a_spec(random: Random) -> str:
    """Mostly a good one."""
    spec = " ".join(a_field(random, *field) for field in FIELDS)
    match random.randrange(40):
        case 0:
            spec = random.choice(DESCRIPTORS)
        case 1 | 2:
            spec = f"@every {random.choice(DURATIONS)}"
        case 3:
            spec = f"@every {random.randrange(100_000)}{random.choice(['s', 'm', 'ms', 'µs'])}"
        case 4:
            spec += random.choice([" *", " 2024", "  ", "\t", " x"])
        case 5:
            spec = spec.rpartition(" ")[0]
        case _:
            pass
    match random.randrange(10):
        case 0 | 1:
            prefix = random.choice(["TZ=", "CRON_TZ="])
            return f"{prefix}{random.choice(ZONES)} {spec}"
        case 2 if random.random() < 0.2:
            return random.choice(["TZ=", "TZ=Nowhere/At_All ", "TZ=UTC", "CRON_TZ= "]) + spec
        case _:
            return spec


def a_field(random: Random, least: int, most: int, names: Sequence[str]) -> str:
    parts = random.choices([1, 2, 3], [8, 2, 1])[0]
    return ",".join(a_part(random, least, most, names) for _ in range(parts))


def a_part(random: Random, least: int, most: int, names: Sequence[str]) -> str:
    value = a_value(random, least, most, names)
    low = random.randint(least, most)
    span = f"{low}-{random.randint(low, most)}"
    if random.random() < 0.01:
        span = f"{span}-{value}" if random.random() < 0.5 else f"{value}-{low}"
    step = str(random.randint(1, max(2, most // 2)))
    if random.random() < 0.01:
        step = random.choice(["0", "", "x", "-2", "1/2", str(most * 2)])
    part = random.choice(["*", "*", "*", "?", value, value, span, "*/", f"{value}/", f"{span}/"])
    return part + step if part.endswith("/") else part


def a_value(random: Random, least: int, most: int, names: Sequence[str]) -> str:
    if random.random() < 0.005:
        return random.choice(["x", "", "-1", str(most + 1), str(least - 1), "L", "1#2", "007"])
    number = random.randint(least, most)
    if names and random.random() < 0.4:
        name = names[number - least]
        return random.choice([name, name.upper(), name.title()])
    return str(number)
