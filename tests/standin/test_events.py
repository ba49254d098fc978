"""The stand-in's payloads, signed deliveries, and the list of them."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import hypercorn.trio
import pytest
import trio
from hypercorn.config import Config
from quart import request
from quart_trio import QuartTrio

from bassloop.github import CheckOutput, missing_deliveries, verify_signature
from bassloop.standin import StandInError
from bassloop.standin.payloads import EVENTS, NO_COMMIT
from tests.github.made import event_of
from tests.github.world import World, git, open_world
from tests.standin.conftest import open_standin
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path


@pytest.mark.parametrize("event", [event for event in EVENTS if event != "check_run"])
async def test_every_payload_can_be_read(repository: Path, event: str) -> None:
    async with open_standin(repository) as served:
        payload = await served.standin.payload(event)
        read = event_of(event, json.loads(json.dumps(payload)))
        if event not in ("ping", "installation"):
            # An event that names no commit is evaluated at the default branch's head, if at all.
            found = None if event == "repository_dispatch" else served.head
            assert (read.head and read.head.sha) == found
            assert read.sender is not None
            assert read.sender.login == "octocat"
            assert read.repository is not None
            assert read.repository.clone_url == f"{served.standin.url}/octocat/hello.git"


async def test_a_check_suite_is_for_the_branch_that_is_checked_out(repository: Path) -> None:
    async with open_standin(repository) as served:
        suite = (await served.standin.payload("check_suite"))["check_suite"]
        assert (suite["head_branch"], suite["before"]) == (
            "main",
            git(repository, "rev-parse", "HEAD~1"),
        )
        other = await served.standin.payload("check_suite", ref="feature/x", branch="feature/x")
        head = event_of("check_suite", other).head
        assert head is not None
        assert head.branch == "feature/x"
        assert other["check_suite"]["before"] == NO_COMMIT


async def test_a_forks_check_names_neither_fork_nor_author(repository: Path) -> None:
    async with open_standin(repository) as served:
        served.standin.add_user("stranger")
        payload = await served.standin.payload("check_suite", fork="stranger", sender="octocat")
        suite = payload["check_suite"]
        assert (suite["head_branch"], suite["pull_requests"]) == (None, [])
        assert "stranger" not in json.dumps(payload)
        head = event_of("check_suite", payload).head
        assert head is not None
        assert (head.fork, head.author) == (None, None)


async def test_a_forks_pull_request_names_both(repository: Path) -> None:
    async with open_standin(repository) as served:
        stranger = served.standin.add_user("stranger")
        payload = await served.standin.payload("pull_request", fork="stranger", number=3)
        event = event_of("pull_request", payload)
        assert event.head is not None
        assert event.head.author is not None
        assert (event.head.fork, event.head.author.id) == (True, stranger.id)
        assert event.head.repository == "stranger/hello"
        assert event.sender is not None
        assert event.sender.login == "stranger"
        assert [pull["number"] for pull in (await served.get("/pulls")).json()] == [3]
        await served.standin.payload("pull_request", "closed", fork="stranger", number=3)
        assert (await served.get("/pulls")).json() == []


async def test_a_pull_requests_head_can_be_requested_by_its_ref(repository: Path) -> None:
    async with open_standin(repository) as served:
        await served.standin.payload("pull_request", ref="feature/x", number=4)
        told = await served.get("/contents/a", params={"ref": "refs/pull/4/head"})
        assert told.json()["sha"] == git(repository, "rev-parse", "feature/x:a")


async def test_an_event_of_a_check_run_needs_an_existing_one(repository: Path) -> None:
    async with open_standin(repository) as served:
        with pytest.raises(StandInError, match="has none yet"):
            await served.standin.payload("check_run")
        made = (await served.create(name="unit")).json()
        pressed = await served.standin.payload(
            "check_run", "requested_action", requested_action="cancel"
        )
        assert pressed["check_run"]["id"] == made["id"]
        assert pressed["requested_action"] == {"identifier": "cancel"}
        assert pressed["check_run"]["check_suite"]["head_branch"] == "main"


async def test_the_push_of_a_deleted_branch_has_no_commit(repository: Path) -> None:
    async with open_standin(repository) as served:
        payload = await served.standin.payload("push", deleted=True)
        assert (payload["after"], payload["head_commit"]) == (NO_COMMIT, None)
        assert event_of("push", payload).head is None


@pytest.mark.parametrize(
    ("event", "options", "reason"),
    [
        ("star", {}, "no payload can be made for star"),
        ("push", {"ref": "nothing"}, "no commit nothing"),
        ("push", {"sender": "ghost"}, "nobody here has the login ghost"),
    ],
)
async def test_impossible_payloads_are_refused_with_the_reason(
    repository: Path, event: str, options: dict[str, Any], reason: str
) -> None:
    async with open_standin(repository) as served:
        with pytest.raises(StandInError, match=reason):
            await served.standin.payload(event, **options)


class Received(list[tuple[dict[str, str], bytes]]):
    """A loop that notes what it is sent, and answers."""

    def __init__(self) -> None:
        super().__init__()
        self.status = 202
        self.another = trio.Event()

    async def wait_for(self, count: int) -> None:
        """Wait until so many were sent."""
        while len(self) < count:
            self.another = trio.Event()
            await self.another.wait()


@asynccontextmanager
async def loop() -> AsyncGenerator[tuple[str, Received]]:
    received = Received()
    web = QuartTrio("loop")

    @web.post("/integrations/github/events")
    async def take() -> tuple[str, int]:
        headers = {name.lower(): value for name, value in request.headers.items()}
        received.append((headers, await request.get_data(as_text=False)))
        received.another.set()
        return "taken", received.status

    config = Config()
    config.bind, config.accesslog, config.errorlog = ["127.0.0.1:0"], None, None
    async with trio.open_nursery() as nursery:
        [url] = await nursery.start(hypercorn.trio.serve, web, config)
        yield url.rstrip("/"), received
        nursery.cancel_scope.cancel()


async def test_a_delivery_is_signed_and_has_githubs_headers(repository: Path) -> None:
    async with open_standin(repository) as served, loop() as (url, received):
        payload = await served.standin.payload("push")
        delivered = await served.standin.deliver(url, "push", payload)
        [(headers, body)] = received
        assert json.loads(body) == payload
        assert verify_signature(b"s3cret", body, headers["x-hub-signature-256"])
        assert headers["x-github-event"] == "push"
        assert headers["x-github-delivery"] == delivered.guid
        assert headers["content-type"] == "application/json"
        assert (delivered.status, delivered.message) == (202, "taken")


async def test_a_missing_loop_is_reported_and_the_others_are_listed(repository: Path) -> None:
    async with open_world(repository) as world:
        payload = await world.standin.payload("push")
        with pytest.raises(StandInError, match="did not answer"):
            await world.standin.deliver("http://127.0.0.1:9", "push", payload)
        [attempt] = await world.github.webhook.attempts(0)
        assert (attempt.event, attempt.status, attempt.arrived) == ("push", 0, False)


async def test_missed_deliveries_are_found_and_fetched(repository: Path) -> None:
    async with open_world(repository) as world, loop() as (url, received):
        payload = await world.standin.payload("check_suite")
        known = [(await world.standin.deliver(url, "check_suite", payload)).guid]
        lost = [world.standin.lose("check_suite", payload) for _ in range(130)]
        attempts = await world.github.webhook.attempts(0)
        assert len(attempts) == 131
        found = missing_deliveries(attempts, known)
        assert [attempt.guid for attempt in found] == lost
        assert json.loads(await world.github.webhook.body(found[0])) == payload
        assert await world.github.webhook.attempts(9e9) == []
        assert len(received) == 1


async def test_a_delivery_is_sent_again_with_the_same_guid(repository: Path) -> None:
    async with open_world(repository) as world, loop() as (url, received):
        received.status = 500
        payload = await world.standin.payload("push")
        first = await world.standin.deliver(url, "push", payload)
        received.status = 202
        [attempt] = await world.github.webhook.attempts(0)
        await world.github.webhook.redeliver(attempt)
        await until(lambda: len(world.standin.attempts) == 2)
        attempts = await world.github.webhook.attempts(0)
        assert {each.guid for each in attempts} == {first.guid}
        assert [each.arrived for each in attempts] == [True, False]
        assert [each.redelivery for each in attempts] == [True, False]
        assert missing_deliveries(attempts, [first.guid]) == []


async def test_check_runs_come_back_as_events_to_a_loop_that_listens(repository: Path) -> None:
    async with loop() as (url, received), open_world(repository, hook_url=url) as world:
        made = await world.repo.create_check_run(world.draft())
        await _concluded(world, made.id)
        await received.wait_for(2)
        told = [json.loads(body) for _, body in received]
        states = {each["action"]: each["check_run"]["status"] for each in told}
        assert states == {"created": "in_progress", "completed": "completed"}
        assert {each["check_run"]["id"] for each in told} == {made.id}


async def _concluded(world: World, number: int) -> None:
    await world.repo.update_check_run(
        number, CheckOutput("t", "s"), status="completed", conclusion="success"
    )


async def test_the_app_and_its_webhook_are_described(repository: Path) -> None:
    async with open_world(repository, hook_url="http://loop.test") as world:
        info = await world.github.webhook.info()
        assert (info.id, info.slug, info.installations) == (1, "bass-loop", 1)
        assert info.permissions["checks"] == "write"
        config = await world.github.webhook.config()
        assert (config.content_type, config.has_secret) == ("json", True)
        assert config.url == "http://loop.test/integrations/github/events"
