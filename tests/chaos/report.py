"""What a campaign prints: a table of all seeds, and all that is known of one that went wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

Result = dict[str, Any]
"""A `run.Result`, as it comes from the process that ran the seed."""


def print_problems(result: Result, only: str | None, *, long: bool) -> None:
    """What went wrong with a seed, and how to run it again."""
    if not result["problems"]:
        return
    again = f"--seed {result['seed']}" + (" --long" if long else "")
    again += f" --only {only}" if only else ""
    lines = [
        "",
        *(f"  {problem}" for problem in result["problems"][:20]),
        result["story"],
        f"again: python -m nox -s chaos -- {again}",
        "",
    ]
    print("\n".join(lines), flush=True)  # noqa: T201 - as in __main__


def print_summary(results: Sequence[Result], left_out: Sequence[int]) -> None:
    print("\n" + summary(results, left_out), flush=True)  # noqa: T201 - as in __main__


def summary(results: Sequence[Result], left_out: Sequence[int] = ()) -> str:
    """Tables: seeds and tasks by kind of Redis, repeated tasks by reason, faults by kind. No seed
    is passed over: those without a result are counted, and so are those that were left out."""
    told = [result for result in results if result["account"] is not None]
    parts = [_by_topology(results), _reasons(told), _faults(told)]
    silent = [result["seed"] for result in results if result["account"] is None]
    wrong = [result["seed"] for result in results if result["problems"]]
    if left_out:
        parts.append(f"left out for want of Go: {_list(left_out)}")
    if silent:
        parts.append(f"no result: {_list(silent)}")
    parts.append(f"wrong: {_list(wrong)}" if wrong else "nothing went wrong")
    return "\n\n".join(parts)


def _list(seeds: Iterable[int]) -> str:
    return ", ".join(str(seed) for seed in sorted(seeds))


def _by_topology(results: Sequence[Result]) -> str:
    head = "faults acknowledged refused unknown attempts archived lost stuck repeated"
    rows = [["", "seeds", "no result", *head.split()]]
    names = list(dict.fromkeys(sorted(result["topology"] for result in results)))
    for name in names:
        rows.append([name, *_sums([r for r in results if r["topology"] == name])])
    rows.append(["all", *_sums(results)])
    return table(rows)


def _sums(all_results: Sequence[Result]) -> list[str]:
    results = [result for result in all_results if result["account"] is not None]
    accounts = [result["account"] for result in results]
    tasks = _total(account["tasks"] for account in accounts)
    unknown = tasks["unknown"] + tasks["unanswered"] + tasks["unreplicated"]
    numbers = [
        len(all_results),
        len(all_results) - len(results),
        _total(result["faults"] for result in results).total(),
        tasks["acked"],
        tasks["refused"],
        unknown,
        sum(account["attempts"] for account in accounts),
        sum(account["archived"] for account in accounts),
        sum(len(account["lost"]) for account in accounts),
        sum(len(result["stuck"]) for result in results),
        sum(account["repeated_tasks"] for account in accounts),
    ]
    return [f"{number}" for number in numbers]


def _reasons(results: Sequence[Result]) -> str:
    reasons = _total(result["account"]["repeated"] for result in results)
    by_go = sum(result["account"]["by_go"] for result in results)
    rows = [["ran more than once because", "times"]]
    rows += [[reason, str(count)] for reason, count in reasons.most_common()]
    return table(rows) + f"\n\ntasks done by workers of Go: {by_go}"


def _faults(results: Sequence[Result]) -> str:
    faults = _total(result["faults"] for result in results)
    rows = [["fault", "times"], *([name, str(count)] for name, count in sorted(faults.items()))]
    return table(rows)


def _total(counts: Iterable[dict[str, int]]) -> Counter[str]:
    total = Counter[str]()
    for each in counts:
        total.update(each)
    return total


def table(rows: Sequence[Sequence[str]]) -> str:
    """In Markdown, with columns in line."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    lines = [
        "| "
        + " | ".join(
            cell.rjust(width) if n else cell.ljust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        + " |"
        for row in rows
    ]
    rule = "|" + "|".join("-" * (width + 1) + (":" if n else "-") for n, width in enumerate(widths))
    return "\n".join([lines[0], rule + "|", *lines[1:]])
