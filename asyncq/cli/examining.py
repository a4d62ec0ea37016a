"""One visit of the doctor: from the flags to what is printed and the exit status."""

from __future__ import annotations

import asyncio
import json
import shlex
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from asyncq import (
    Client,
    RedisReplyError,
    RedisUnavailableError,
)
from asyncq.doctor import Diagnosis, Doctor, Finding, Role, Severity, rule

from .failure import CommandError, Exit
from .process import loop_factory
from .reach import refusal, wait_for_redis, wrong_address_explained

_WIDEST = 100
_MARGIN = 9
_SAY_EVERY = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ExaminationSettings:
    """The flags of `asyncq doctor`."""

    redis: str | None
    fix: bool
    json: bool
    connect_timeout: float


def print_rule(role: str, queues: Sequence[str]) -> None:
    """The command that makes a user with the rights of a role, for redis-cli."""
    words = rule(Role(role), queues)
    print("ACL SETUSER " + " ".join(_quoted(word) for word in words))


def run_doctor(settings: ExaminationSettings) -> int:
    """Examines, prints, and returns the exit status. Raises `CommandError`."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        try:
            diagnosis = runner.run(_examine(settings))
        except KeyboardInterrupt:
            return 128 + 2
    if settings.json:
        print(json.dumps(_as_json(diagnosis), indent=2))
    else:
        print("\n".join(_report(diagnosis, fix=settings.fix)))
    return Exit.OK if diagnosis.is_healthy else Exit.UNHEALTHY


async def _examine(settings: ExaminationSettings) -> Diagnosis:
    with wrong_address_explained():
        client = Client(settings.redis)
    async with client:
        await wait_for_redis(client, settings.connect_timeout, told=False)
        async with Doctor(client) as doctor:
            try:
                return await doctor.examine(fix=settings.fix, on_progress=_progress())
            except RedisReplyError as error:
                raise refusal(client.where, error, "doctor") from None
            except RedisUnavailableError as error:
                raise CommandError(str(error), status=Exit.NO_REDIS) from None


class _progress:  # noqa: N801 - used as a function that remembers what it said
    """Says now and then how far it is, on a terminal."""

    def __init__(self) -> None:
        self._next = _SAY_EVERY

    def __call__(self, count: int) -> None:
        if count >= self._next:
            self._next = count + _SAY_EVERY
            if sys.stderr.isatty():
                print(f"looked at {count} keys", file=sys.stderr)


def _as_json(diagnosis: Diagnosis) -> dict[str, object]:
    return {
        "redis": diagnosis.where,
        "healthy": diagnosis.is_healthy,
        "keys": diagnosis.keys,
        "seconds": round(diagnosis.seconds, 3),
        "findings": [asdict(finding) | {"open": finding.is_open} for finding in diagnosis.findings],
    }


def _report(diagnosis: Diagnosis, *, fix: bool) -> Iterator[str]:
    for finding in diagnosis.findings:
        yield from _lines(finding, fix=fix)
        yield ""
    counts = [
        f"{sum(f.severity is severity for f in diagnosis.findings)} {severity.value}"
        for severity in Severity
    ]
    yield (
        f"{'healthy' if diagnosis.is_healthy else 'not healthy'}: {', '.join(counts)}"
        f" ({diagnosis.keys} keys of {diagnosis.where} in {diagnosis.seconds:.1f} s)"
    )
    if not fix and any(f.is_open and f.fix for f in diagnosis.findings):
        yield "asyncq doctor --fix repairs what says 'fix'"


def _lines(finding: Finding, *, fix: bool) -> Iterator[str]:
    where = f"{finding.where}: " if finding.where else ""
    count = f" [{finding.count}]" if finding.count else ""
    yield from _wrapped(finding.severity.value.upper(), f"{where}{finding.what}{count}")
    for example in finding.examples:
        yield from _wrapped("", f"- {example}")
    if finding.count > len(finding.examples) > 0:
        yield from _wrapped("", f"- and {finding.count - len(finding.examples)} more")
    if finding.remedy:
        yield from _wrapped("do", finding.remedy)
    if finding.fix and fix:
        yield from _wrapped("fixed", f"{finding.fixed} of {finding.count}. {finding.fix}")
    elif finding.fix:
        yield from _wrapped("fix", finding.fix)


def _wrapped(head: str, text: str) -> list[str]:
    width = min(_WIDEST, shutil.get_terminal_size().columns)
    return textwrap.wrap(
        text,
        max(40, width),
        initial_indent=f"{head:{_MARGIN}}",
        subsequent_indent=" " * _MARGIN,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _quoted(word: str) -> str:
    """As redis-cli reads it."""
    plain = all(c.isprintable() and not c.isspace() and c not in "\"'\\" for c in word)
    return word if plain else shlex.quote(word)
