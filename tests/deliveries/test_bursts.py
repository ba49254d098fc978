"""Bursts: hundreds of deliveries at once keep no other repository waiting, and take hardly any memory."""

from __future__ import annotations

import gc
import json
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from bassloop.deliveries.inbox import Inbox, Outcome, Slot
from bassloop.github import sign
from bassloop.store import Delivery, open_store
from tests.github.made import REPOSITORY, payload, pull_request

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MANY = 250
FIRST = 20
AT_ONCE = 1
"""With more, the order in which handlers are called would also depend on how fast the store's threads are."""

SECRET = b"secret"
DESCRIPTION = "x" * 20_000
"""Makes a payload as large as GitHub's."""

MOST_EACH = 2000
"""The most bytes that a delivery may take in memory while it waits, a tenth of its body."""


def push(number: int, repository: int = 2, name: str = "octocat/hello") -> dict[str, Any]:
    """A push of a bot's to a branch of its own."""
    return {
        **payload(ref=f"refs/heads/bot-{number}", before="0" * 40, after=f"{number:040x}"),
        "repository": {**REPOSITORY, "id": repository, "full_name": name},
        "description": DESCRIPTION,
    }


def comment(number: int) -> dict[str, Any]:
    """A comment on the one pull request."""
    return {
        **payload(action="created"),
        "issue": {"number": 42, "pull_request": {}},
        "comment": {"id": number, "body": DESCRIPTION},
    }


def label(number: int) -> dict[str, Any]:
    """A label for the one pull request."""
    return {
        **pull_request(fork=False),
        "action": "labeled",
        "label": {"id": number, "description": DESCRIPTION},
    }


async def deliver(box: Inbox, event: str, guid: str, content: dict[str, Any]) -> None:
    body = json.dumps(content).encode()
    headers = {
        "content-type": "application/json",
        "x-github-event": event,
        "x-github-delivery": guid,
        "x-hub-signature-256": sign(SECRET, body),
    }
    assert (await box.accept(headers, body)).status == 202


async def deliver_many(box: Inbox, event: str, make: Callable[[int], dict[str, Any]]) -> int:
    """Deliver hundreds, and return by how many bytes that made the process larger for each."""
    # What is made once, whatever is delivered, isn't counted.
    for number in range(FIRST):
        await deliver(box, event, f"first-{number}", make(number))
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(MANY):
            await deliver(box, event, f"g{number}", make(FIRST + number))
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return (after - before) // MANY


class Handler:
    """Handles deliveries as soon as it may, and notes their order."""

    def __init__(self, expected: int = 0) -> None:
        self.may_go, self.handled_all = trio.Event(), trio.Event()
        self.handled: list[str] = []
        self.expected = expected

    async def __call__(self, delivery: Delivery, slot: Slot) -> Outcome:
        await self.may_go.wait()
        self.handled.append(delivery.guid)
        if len(self.handled) == self.expected:
            self.handled_all.set()
        return Outcome("done")


async def test_a_bot_that_pushes_hundreds_of_branches_does_not_delay_other_repositories(
    tmp_path: Path,
) -> None:
    handler = Handler(FIRST + MANY + 3)
    async with open_store(tmp_path / "loop.db", tmp_path / "blobs", synchronous="OFF") as store:
        box = Inbox(store, handler, SECRET, at_once=AT_ONCE)
        async with trio.open_nursery() as nursery:
            await nursery.start(box.run)
            each = await deliver_many(box, "push", push)
            for number in range(3):
                await deliver(box, "push", f"other-{number}", push(number, 5, "ada/engine"))
            handler.may_go.set()
            await handler.handled_all.wait()
            box.drain()
    others = [handler.handled.index(f"other-{number}") for number in range(3)]
    # Those that had begun before go first; from then on the two repositories take turns.
    assert others[0] <= 2 * AT_ONCE
    assert others[2] <= 2 * (AT_ONCE + 3)
    assert each <= MOST_EACH


@pytest.mark.parametrize(
    ("event", "make", "in_order"),
    [("issue_comment", comment, False), ("pull_request", label, True)],
)
async def test_hundreds_of_events_about_one_pull_request_are_handled(
    tmp_path: Path, event: str, make: Callable[[int], dict[str, Any]], in_order: bool
) -> None:
    """Events about a head keep their order. Comments name no head."""
    handler = Handler(FIRST + MANY + 1)
    async with open_store(tmp_path / "loop.db", tmp_path / "blobs", synchronous="OFF") as store:
        box = Inbox(store, handler, SECRET, at_once=AT_ONCE)
        async with trio.open_nursery() as nursery:
            await nursery.start(box.run)
            each = await deliver_many(box, event, make)
            await deliver(box, "push", "other", push(1, 5, "ada/engine"))
            handler.may_go.set()
            await handler.handled_all.wait()
            box.drain()
    handled = [guid for guid in handler.handled if guid.startswith("g")]
    given = [f"g{number}" for number in range(MANY)]
    assert (handled if in_order else sorted(handled)) == (given if in_order else sorted(given))
    assert handler.handled.index("other") <= 2 * AT_ONCE
    assert each <= MOST_EACH


async def test_a_restart_with_hundreds_of_waiting_deliveries_does_not_read_their_bodies(
    tmp_path: Path,
) -> None:
    handler = Handler()
    async with open_store(tmp_path / "loop.db", tmp_path / "blobs", synchronous="OFF") as store:
        box = Inbox(store, handler, SECRET)
        for number in range(MANY):
            await deliver(box, "push", f"g{number}", push(number))
    async with open_store(tmp_path / "loop.db", tmp_path / "blobs", synchronous="OFF") as store:
        gc.collect()
        tracemalloc.start()
        try:
            async with trio.open_nursery() as nursery:
                box = Inbox(store, handler, SECRET, at_once=1)
                await nursery.start(box.run)
                await trio.testing.wait_all_tasks_blocked()
                _, peak = tracemalloc.get_traced_memory()
                nursery.cancel_scope.cancel()
        finally:
            tracemalloc.stop()
        assert box.statistics() == {"handling": 0, "waiting": MANY - 1}
    assert peak <= MANY * MOST_EACH * 2
