"""`asyncq task runall|archiveall|deleteall` at work."""

from __future__ import annotations

from typing import Literal

from .confirming import accounted, confirm, progress
from .listing import Listing
from .session import Desk

Action = Literal["run", "archive", "delete"]

_DONE = {"run": "made pending", "archive": "archived", "delete": "deleted"}
_DOING = {"run": "making pending", "archive": "archiving", "delete": "deleting"}


async def act_on_all(
    desk: Desk, action: Action, listing: Listing, *, dry_run: bool, yes: bool
) -> None:
    """Acts on the tasks that are meant, and tells how many there were."""
    await listing.check(desk)
    if dry_run:
        _report(desk, listing, "would be " + _DONE[action], await _count(desk, listing), dry_run)
        return
    total = await listing.count(desk) if listing.filter is None else None
    if action == "delete":
        in_all = "" if total is None else f", {total:,} in all"
        await confirm(f"delete the {listing}{in_all}", yes=yes)
    act = {
        "run": desk.inspector.run_all,
        "archive": desk.inspector.archive_all,
        "delete": desk.inspector.delete_all,
    }[action]
    with accounted(
        _DOING[action], total, lambda count: f"{listing}: {count} {_DONE[action]}"
    ) as told:
        count = await act(
            listing.queue,
            listing.state,
            group=listing.group,
            filter=listing.filter,
            on_progress=told,
        )
    _report(desk, listing, _DONE[action], count, dry_run)


async def _count(desk: Desk, listing: Listing) -> int:
    if listing.filter is None:
        return await listing.count(desk)
    count = 0
    with progress("looking", await listing.count(desk)) as told:
        async for _ in listing.tasks(desk, told):
            count += 1
    return count


def _report(desk: Desk, listing: Listing, what: str, count: int, dry_run: bool) -> None:
    if not desk.out.json:
        desk.out.prose(f"{listing}: {count:,} {what}")
        return
    desk.out.record({
        "queue": listing.queue,
        "state": listing.state,
        "group": listing.group,
        "count": count,
        "dry_run": dry_run,
    })  # fmt: skip
