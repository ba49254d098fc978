"""Readiness of the loop, part by part. A stranger who asks learns nothing more."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import structlog
import trio
import trio.testing

from bassloop.concurrency import Backoff
from bassloop.daemon.readiness import Readiness
from bassloop.deliveries.inbox import Inbox
from bassloop.evaluator.evaluators import Evaluators
from bassloop.github import GitHubConfig, RetryPolicy, Unauthorized, open_github
from bassloop.store import (
    BucketError,
    BucketUnreachable,
    StoreError,
    StoreFull,
    StoreLocked,
    StoreUnreachable,
    open_store,
)
from tests.github.world import KEY
from tests.store.buckets import MemoryBucket
from tests.store.made import step

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from bassloop.store import Blobs


def well(request: httpx.Request) -> httpx.Response:
    """GitHub as it should be."""
    return httpx.Response(200, json={})


def cut(request: httpx.Request) -> httpx.Response:
    """No way to GitHub."""
    raise httpx.ConnectError("Name or service not known")


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no part count as one that doesn't answer because the machine is busy."""
    for name in ("PROBE_SECONDS", "STORE_PROBE_SECONDS"):
        monkeypatch.setattr(f"bassloop.daemon.readiness.{name}", 600.0)


@asynccontextmanager
async def open_parts(
    tmp_path: Path,
    respond: Callable[[httpx.Request], httpx.Response],
    app_id: int | None = 1,
    blobs: Blobs | None = None,
) -> AsyncGenerator[Readiness]:
    """Open the parts that are checked: a store, an inbox that runs, a GitHub whose responses are set."""
    config = GitHubConfig(app_id=app_id, private_key=KEY.private, retries=RetryPolicy(attempts=1))
    transport = httpx.MockTransport(respond)
    async with (
        open_store(tmp_path / "loop.db", blobs or tmp_path / "blobs") as store,
        open_github(config, transport=transport) as github,
        trio.open_nursery() as nursery,
    ):
        inbox = Inbox(store, handle=_never, secret=b"s")
        await nursery.start(inbox.run)
        yield Readiness(store, inbox, github, Evaluators())
        nursery.cancel_scope.cancel()


async def _never(delivery: Any, turn: Any) -> Any:
    raise AssertionError


async def not_ready(readiness: Readiness) -> dict[str, str]:
    """The parts that are not, and why."""
    return {each.part: each.why for each in await readiness.findings() if not each.ready}


async def test_a_working_loop_is_ready(tmp_path: Path) -> None:
    async with open_parts(tmp_path, well) as readiness:
        assert [each.part for each in await readiness.findings()] == [
            "store",
            "gateway",
            "inbox",
            "github",
        ]
        assert await not_ready(readiness) == {}


async def test_a_loop_that_shuts_down_is_not_ready(tmp_path: Path) -> None:
    async with open_parts(tmp_path, well) as readiness:
        readiness.inbox.drain()
        assert list(await not_ready(readiness)) == ["inbox"]


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (StoreFull("database /srv/loop.db: the disk is full"), "the disk is full"),
        (
            StoreError("database /srv/loop.db: read-only"),
            "it can't be written; the loop's log says why",
        ),
        (
            StoreLocked("database /srv/loop.db is locked"),
            "another process keeps the database locked",
        ),
        (StoreUnreachable("database db/loop can't be reached"), "the database can't be reached"),
    ],
)
async def test_an_unwritable_store_is_reported_without_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: StoreError, why: str
) -> None:
    async with open_parts(tmp_path, well) as readiness:

        async def probe() -> None:
            raise error

        monkeypatch.setattr(readiness.store, "probe", probe)
        assert await not_ready(readiness) == {"store": why}


async def test_unwritable_blobs_count_as_an_unwritable_store(tmp_path: Path) -> None:
    async with open_parts(tmp_path, well) as readiness:
        (tmp_path / "blobs").write_text("in the way")
        assert list(await not_ready(readiness)) == ["store"]


async def test_a_lost_bucket_is_reported_and_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bassloop.daemon.readiness.KEPT_SECONDS", 0.0)
    monkeypatch.setattr("bassloop.daemon.readiness.FAILING_SECONDS", 0.0)
    bucket = MemoryBucket(tmp_path / "blobs")
    async with open_parts(tmp_path, well, blobs=bucket) as readiness:
        assert await not_ready(readiness) == {}
        bucket.down = True
        where = await step(readiness.store)
        log = await readiness.store.logs.open(*where)
        await log.append(b"one\n", None, 1, 1.0)
        await log.close()
        assert await trio.to_thread.run_sync(bucket.failed.wait, 120.0)
        why = await not_ready(readiness)
        assert list(why) == ["bucket"]
        while "of logs wait on this machine's disk" not in why["bucket"]:
            await trio.testing.wait_all_tasks_blocked()  # until the shipper has noticed
            why = await not_ready(readiness)
        bucket.down = False
        assert await trio.to_thread.run_sync(bucket.created.wait, 120.0)
        while await not_ready(readiness):  # until the shipper has noticed, too
            await trio.testing.wait_all_tasks_blocked()
    assert len(bucket.objects) == 1


async def test_a_bucket_is_checked_even_if_no_logs_are_shipped_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bassloop.daemon.readiness.KEPT_SECONDS", 0.0)
    bucket = MemoryBucket(tmp_path / "blobs")
    async with open_parts(tmp_path, well, blobs=bucket) as readiness:
        assert await not_ready(readiness) == {}
        bucket.down = True
        why = {"bucket": "it can't be reached; the loop's log says why"}
        assert await not_ready(readiness) == why
        bucket.down = False
        assert await not_ready(readiness) == {}


async def test_a_bucket_that_was_away_at_the_start_has_to_accept_what_the_loop_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bassloop.daemon.readiness.START_BACKOFF", Backoff(0.01, 0.01))
    monkeypatch.setattr("bassloop.daemon.readiness.KEPT_SECONDS", 0.0)
    found: list[Exception | None] = [
        BucketUnreachable("bucket memory: it is down"),
        BucketError("bucket memory: conditional puts are ignored"),
        None,
    ]
    bucket = MemoryBucket(tmp_path / "blobs")

    def probe() -> None:
        if error := found.pop(0):
            raise error

    monkeypatch.setattr(bucket, "probe", probe)
    with structlog.testing.capture_logs() as logged:
        async with open_parts(tmp_path, well, blobs=bucket) as readiness:
            await readiness.follow_start()
            assert await not_ready(readiness) == {}
    assert not found
    assert [each["event"] for each in logged] == [
        "bucket not reached",
        "not ready",
        "bucket can't be used",
        "ready again",
    ]


async def test_an_unreachable_github_is_reported_and_tried_again(
    tmp_path: Path, mock_clock: trio.testing.MockClock
) -> None:
    respond = [cut]
    async with open_parts(tmp_path, lambda request: respond[0](request)) as readiness:
        why = {"github": "GitHub can't be reached; the loop's log says why"}
        assert await not_ready(readiness) == why
        respond[0] = well
        assert await not_ready(readiness) == why, "the answer is kept for some seconds"
        mock_clock.jump(6)
        assert await not_ready(readiness) == {}


async def test_a_request_for_some_parts_does_not_wait_for_the_others(tmp_path: Path) -> None:
    """A balancer asks every second, and a node isn't lost because GitHub doesn't answer."""

    def never(request: httpx.Request) -> httpx.Response:
        raise AssertionError("nobody asked for GitHub")

    async with open_parts(tmp_path, never) as readiness:
        found = await readiness.findings({"store", "inbox"})
    assert [(each.part, each.ready) for each in found] == [("store", True), ("inbox", True)]


async def test_github_is_not_probed_shortly_after_an_answer(
    tmp_path: Path, mock_clock: trio.testing.MockClock
) -> None:
    asked = []

    def respond(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return well(request)

    async with open_parts(tmp_path, respond) as readiness:
        for _ in range(10):
            await readiness.findings()
            mock_clock.jump(6)
    assert asked == ["/rate_limit"]


async def test_a_wrong_clock_is_reported(
    tmp_path: Path, mock_clock: trio.testing.MockClock
) -> None:
    def yesterday(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={}, headers={"date": "Mon, 01 Jan 2024 00:00:00 GMT"})

    async with open_parts(tmp_path, yesterday) as readiness:
        for _ in range(2):  # also when GitHub has answered a moment ago
            [why] = (await not_ready(readiness)).values()
            assert why.startswith("this machine's clock is +")
            assert why.endswith(" s from GitHub's; set it right")
            mock_clock.jump(6)


async def test_an_app_that_github_refuses_is_reported_until_it_is_accepted(
    tmp_path: Path, mock_clock: trio.testing.MockClock
) -> None:
    status = 401
    async with open_parts(tmp_path, lambda _: httpx.Response(status, json={})) as readiness:
        app = readiness.github.app
        assert app is not None
        with pytest.raises(Unauthorized):
            await readiness.github.api.call("GET", "/app", credential=app.credential)
        why = "GitHub refuses the App's id or key (GITHUB_APP_ID, GITHUB_APP_PRIVATE_KEY)"
        assert await not_ready(readiness) == {"github": why}
        status = 200
        await readiness.github.api.call("GET", "/app", credential=app.credential)
        mock_clock.jump(6)
        assert await not_ready(readiness) == {}


async def test_without_an_app_github_is_not_asked(tmp_path: Path) -> None:
    async with open_parts(tmp_path, cut, app_id=None) as readiness:
        assert await not_ready(readiness) == {}
