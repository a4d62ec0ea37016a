"""The campaign: seed after seed, and what all of them showed.

python -m nox -s chaos                      # 20 seeds, minutes
python -m nox -s chaos -- --seeds 1..200
python -m nox -s chaos -- --seed 17         # one of them again
python -m nox -s chaos -- --long            # seeds of a minute each, for two hours
python -m nox -s chaos -- --measure soak    # or recovery, or failover
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from interop.build import NoGoError

from .go import program
from .report import print_problems, print_summary
from .schedule import Schedule

_LENGTH_S, _LONG_S = 6.0, 60.0
_LONG_HOURS = 2.0
_HUNG_S = 600.0
_NO_GO = "mixed"


def main() -> int:
    """The exit status: 0 if all seeds gave a result, and nothing was lost or stuck, or repeated
    for an unknown reason."""
    asked = _arguments()
    if asked.measure is not None:
        return subprocess.run(
            [sys.executable, "-m", f"chaos.{asked.measure}"], check=False
        ).returncode
    seeds = _seeds(asked)
    results, left_out = asyncio.run(_campaign(seeds, asked, _without_go()))
    print_summary(results, left_out)
    return 1 if any(result["problems"] for result in results) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos")
    parser.add_argument("--seed", type=int, help="run one seed")
    parser.add_argument("--seeds", default="1..20", metavar="A..B", help="run these seeds")
    parser.add_argument("--long", action="store_true", help="long seeds, for hours")
    parser.add_argument("--hours", type=float, default=_LONG_HOURS, help="how long --long takes")
    parser.add_argument("--jobs", type=int, default=1, help="how many seeds run at a time")
    parser.add_argument(
        "--only", choices=["single", "mixed", "sentinel", "cluster"], help="one kind of Redis"
    )
    parser.add_argument(
        "--measure", choices=["recovery", "failover", "soak"], help="take figures instead"
    )
    return parser.parse_args()


def _seeds(asked: argparse.Namespace) -> Iterator[int]:
    if asked.seed is not None:
        return iter([asked.seed])
    if asked.long:
        until = time.monotonic() + asked.hours * 3600
        return itertools.takewhile(lambda _: time.monotonic() < until, itertools.count(1))
    first, _, last = asked.seeds.partition("..")
    return iter(range(int(first), int(last or first) + 1))


def _without_go() -> str:
    """Why there are no workers of Go; empty if there are."""
    try:
        program()
    except NoGoError as error:
        return str(error)
    return ""


async def _campaign(
    seeds: Iterator[int], asked: argparse.Namespace, without_go: str
) -> tuple[list[dict[str, Any]], list[int]]:
    """What each seed showed, and which were left out."""
    length_s = _LONG_S if asked.long else _LENGTH_S
    results: list[dict[str, Any]] = []
    left_out: list[int] = []

    async def work() -> None:
        for seed in seeds:
            topology = asked.only or Schedule.of(seed, length_s=length_s).topology
            if topology == _NO_GO and without_go:
                left_out.append(seed)
                _say(f"seed {seed}: left out, as there is no Go here: {without_go}")
                continue
            result = await _run(seed, length_s, topology)
            results.append(result)
            _say(_line(result))
            print_problems(result, asked.only, long=asked.long)

    await asyncio.gather(*(work() for _ in range(asked.jobs)))
    return results, left_out


async def _run(seed: int, length_s: float, topology: str) -> dict[str, Any]:
    """In a process of its own: what one seed leaves behind is gone with it."""
    start = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "chaos.run", str(seed), str(length_s), topology),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    errors = b""
    try:
        async with asyncio.timeout(_HUNG_S + length_s):
            out, errors = await process.communicate()
        result: dict[str, Any] = json.loads(out)
    except (TimeoutError, json.JSONDecodeError) as error:
        if process.returncode is None:
            process.kill()
            errors = b"it hung"
        said = errors.decode(errors="replace")[-4000:]
        return _failed(seed, length_s, topology, f"no result ({error}):\n{said}")
    result["seconds"] = time.monotonic() - start
    return result


def _failed(seed: int, length_s: float, topology: str, why: str) -> dict[str, Any]:
    return {
        "seed": seed,
        "topology": topology,
        "seconds": 0.0,
        "account": None,
        "faults": {},
        "stuck": [],
        "problems": [why],
        "story": str(Schedule.of(seed, length_s=length_s, topology=topology)),
    }


def _line(result: dict[str, Any]) -> str:
    account = result["account"]
    if account is None:
        return f"seed {result['seed']:5}  {result['topology']:9} NO RESULT"
    verdict = "WRONG" if result["problems"] else "ok"
    repeated = Counter(account["repeated"]).total()
    return (
        f"seed {result['seed']:5}  {result['topology']:9} {result['seconds']:5.1f} s"
        f"  {sum(result['faults'].values()):3} faults  {account['tasks'].get('acked', 0):6} tasks"
        f"  lost {len(account['lost'])}  stuck {len(result['stuck'])}"
        f"  repeated {repeated:4}  {verdict}"
    )


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - what the campaign is run for


if __name__ == "__main__":
    sys.exit(main())
