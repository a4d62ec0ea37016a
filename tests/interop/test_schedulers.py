"""What one side's scheduler enqueues, the other handles, and what it has planned, both show."""

from __future__ import annotations

import time
from typing import Any

import pytest
from waiting import until

from .conftest import StartPeer
from .peers import Peer, Seen, new_task

AT_NEW_YEAR = "TZ=Asia/Tokyo 0 0 1 jan *"
NEVER = "0 0 30 2 *"
EVERY_OPTION: dict[str, Any] = {
    "queue": "q",
    "max_retry": 3,
    "timeout": 90.0,
    "unique": 90_000.0,
    "retention": 0.0,
    "deadline": 1_700_000_000,
    "process_in": 120.5,
}


@pytest.mark.parametrize(("scheduling", "working"), [("go", "python"), ("python", "go")])
@pytest.mark.parametrize("how", ["start_scheduler", "start_manager"])
async def test_scheduled_entries_are_shown_enqueued_and_handled(
    how: str,
    scheduling: str,
    working: str,
    start_peer: StartPeer,
    go: Peer,
    python: Peer,
    queue: str,
) -> None:
    scheduler, worker = start_peer(scheduling), start_peer(working)
    await worker.start_worker(queues={queue: 1})
    often = new_task("echo", b"often", queue=queue, max_retry=4)
    others = [
        {"spec": spec, "task": new_task("echo", b"later", queue=queue)}
        for spec in (AT_NEW_YEAR, NEVER)
    ]
    zone = {"location": "Europe/Berlin"} if how == "start_scheduler" else {}
    await scheduler.call(
        how, name="s", entries=[{"spec": "@every 1s", "task": often}, *others], **zone
    )

    first = await worker.event("done", queue=queue, payload="often", max_retry=4)

    async def shown() -> dict[str, Seen] | None:
        """By spec, as both sides see them, once the scheduler says that it has enqueued."""
        seen = [
            {e["spec"]: e for e in await peer.inspect("scheduler_entries") if is_ours(e, queue)}
            for peer in (go, python)
        ]
        ran = len(seen[0]) == 3 and seen[0]["@every 1s"]["prev"]
        return seen[0] if ran and seen[0] == seen[1] else None

    entries = await until(shown, "entries shown by both sides")
    assert entries["@every 1s"]["options"] == [f'Queue("{queue}")', "MaxRetry(4)"]
    assert entries["@every 1s"]["next"] - entries["@every 1s"]["prev"] == 1
    assert (entries[NEVER]["next"], entries[NEVER]["prev"]) == (None, None)
    assert time.gmtime(entries[AT_NEW_YEAR]["next"])[1:5] == (12, 31, 15, 0)
    entry_id = entries["@every 1s"]["id"]
    for peer in (go, python):
        events = await peer.inspect("enqueue_events", entry_id=entry_id)
        assert events[-1]["task_id"] == first["id"]
        assert events == sorted(events, key=lambda event: -event["enqueued_at"])

    await scheduler.call("stop_scheduler", name="s")
    for peer in (go, python):
        assert not [e for e in await peer.inspect("scheduler_entries") if is_ours(e, queue)]
        assert await peer.inspect("enqueue_events", entry_id=entry_id) == []


@pytest.mark.parametrize("name", EVERY_OPTION)
async def test_an_option_is_written_as_go_writes_it(name: str, go: Peer, python: Peer) -> None:
    options = {name: EVERY_OPTION[name]}
    assert await python.call("option_strings", options=options) == await go.call(
        "option_strings", options=options
    )


@pytest.mark.parametrize(
    "text",
    ["x", "a b", 'qu"ote', "back\\slash", "new\nline", "tab\t\x01", "grün", "\u200b", "😀)("],
)
async def test_text_in_options_is_quoted_as_go_quotes_it(text: str, go: Peer, python: Peer) -> None:
    options = {"queue": text, "task_id": text, "group": text}
    assert sorted(await python.call("option_strings", options=options)) == sorted(
        await go.call("option_strings", options=options)
    )


def is_ours(entry: Seen, queue: str) -> bool:
    return f'Queue("{queue}")' in entry["options"]
