"""Every published example of an event is read, answered and decided on, and breaks nothing."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio

from bassloop.deliveries.inbox import Inbox
from bassloop.deliveries.routing import Route, route_event
from bassloop.github import sign
from bassloop.store import open_store
from tests.github.made import event_of
from tests.small_loop import small_loop

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.published
Examples = list[tuple[str, dict[str, Any]]]


def test_every_example_is_parsed_and_routed(examples: Examples) -> None:
    assert len(examples) > 300
    routes: Counter[Route] = Counter()
    for name, payload in examples:
        event = event_of(name, payload)
        routes[route_event(event, app_id=1).route] += 1
        head = event.head
        if head is not None:
            assert head.sha in json.dumps(payload)
    assert routes[Route.HOOK] > 20
    assert routes[Route.LOOP] > 10


def test_the_head_of_each_example_is_the_one_that_it_names(examples: Examples) -> None:
    where = {
        "check_suite": lambda payload: payload["check_suite"]["head_sha"],
        "check_run": lambda payload: payload["check_run"]["head_sha"],
        "pull_request": lambda payload: payload["pull_request"]["head"]["sha"],
        "merge_group": lambda payload: payload["merge_group"]["head_sha"],
    }
    for name, payload in examples:
        event = event_of(name, payload)
        if name in where:
            assert event.head is not None
            assert event.head.sha == where[name](payload)
        if name == "push" and set(payload["after"]) == {"0"}:
            assert event.head is None
        if event.repository is not None and payload["repository"]["private"]:
            assert event.repository.private


async def test_every_correctly_signed_example_is_accepted(
    examples: Examples, tmp_path: Path
) -> None:
    async def handle(delivery: object, turn: object) -> Any:
        raise AssertionError(delivery)

    async with open_store(tmp_path / "loop.db", tmp_path / "blobs") as store:
        inbox = Inbox(store, handle, b"secret")
        for number, (name, payload) in enumerate(examples):
            body = json.dumps(payload).encode()
            headers = {
                "X-GitHub-Event": name,
                "X-GitHub-Delivery": f"guid-{number}",
                "X-Hub-Signature-256": sign(b"secret", body),
                "Content-Type": "application/json",
            }
            answer = await inbox.accept(httpx.Headers(headers), body)
            assert answer.status == 202, (name, answer)
            await trio.lowlevel.checkpoint()
        assert inbox.statistics()["waiting"] == len(examples)


async def test_every_example_is_handled_to_its_end(
    examples: Examples, repository: Path, tmp_path: Path
) -> None:
    states: Counter[str] = Counter()
    async with small_loop(repository, tmp_path) as loop:
        loop.inbox.attempts = 1
        for number, (name, payload) in enumerate(examples):
            answer = await loop.deliver(payload, f"guid-{number}", name)
            assert answer == 202, name
        for number in range(len(examples)):
            with trio.fail_after(60):
                states[(await loop.inbox.finished(f"guid-{number}")).state] += 1
    # Their repositories are not the stand-in's: GitHub has no such commit, and says so.
    assert states.keys() <= {"done", "ignored", "held", "set_aside"}
    assert states["ignored"] > 100
