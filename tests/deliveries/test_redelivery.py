"""Deliveries that never arrived are fetched; none that did is fetched again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from unittest.mock import AsyncMock

import trio

from bassloop.deliveries import redelivery
from bassloop.deliveries.redelivery import fetch_missed, keep_fetching
from bassloop.standin import Fault
from bassloop.store import StoreFull
from tests.small_loop import START, small_loop

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.repositories import MakeRepository

LIST = r"/app/hook/deliveries"


async def test_deliveries_that_never_arrived_are_fetched_once_and_handled(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with (
        small_loop(make_repository(**{"project.bass": START}), tmp_path) as loop,
        loop.runner(),
    ):
        payload = await loop.standin.payload("check_suite")
        guid = loop.standin.lose("check_suite", payload)
        assert await fetch_missed(loop.core.github, loop.inbox, since=0) == 1
        assert (await loop.inbox.finished(guid)).state == "done"
        assert loop.check_run()["conclusion"] == "success"
        assert await fetch_missed(loop.core.github, loop.inbox, since=0) == 0
        assert len(loop.standin.check_runs) == 1


async def test_all_pages_are_read_and_the_oldest_delivery_comes_first(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with small_loop(make_repository(**{"project.bass": START}), tmp_path) as loop:
        ping = {"zen": "Keep it logically awesome."}
        guids = [loop.standin.lose("ping", ping) for _ in range(130)]
        assert await fetch_missed(loop.core.github, loop.inbox, since=0) == 130
        stored = [delivery.guid for delivery in await loop.store.deliveries.newest(500)]
        assert stored == guids[::-1]


async def test_deliveries_that_arrived_here_or_at_another_loop_are_not_fetched(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with small_loop(make_repository(**{"project.bass": START}), tmp_path) as loop:
        payload = await loop.standin.payload("check_suite")
        arrived, before = loop.standin.lose("ping", {}), loop.standin.lose("ping", {})
        nobody = loop.standin.lose("ping", {})
        loop.standin.backdate(before, status=202, seconds=3600)
        loop.standin.backdate(nobody, status=0, seconds=3600)
        await loop.deliver(payload, arrived)
        assert await fetch_missed(loop.core.github, loop.inbox, since=0) == 1
        assert await loop.store.deliveries.stored([arrived, before, nobody]) == {arrived, nobody}


async def test_a_delivery_whose_response_was_lost_is_handled_once(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with (
        small_loop(make_repository(**{"project.bass": START}), tmp_path) as loop,
        loop.runner(),
    ):
        payload = await loop.standin.payload("check_suite")
        guid = loop.standin.lose("check_suite", payload)
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(loop.deliver, payload, guid)
                nursery.start_soon(lambda: fetch_missed(loop.core.github, loop.inbox, since=0))
        await loop.inbox.finished(guid)
        assert len(loop.standin.check_runs) == 1


async def test_a_request_that_github_does_not_answer_is_repeated(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with small_loop(make_repository(**{"project.bass": START}), tmp_path) as loop:
        for fault in (
            Fault("GET", LIST, status=500, times=2),
            Fault("GET", LIST, status=200, body=b"{}"),
            Fault("GET", LIST + r"/\d+", status=502, times=2),
            Fault("GET", LIST, status=401),
        ):
            loop.standin.faults.add(fault)
        guids = [loop.standin.lose("ping", {}) for _ in range(3)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: keep_fetching(loop.core.github, loop.inbox, every=0.05))
            for guid in guids:
                assert (await loop.inbox.finished(guid)).state == "done"
            later = loop.standin.lose("ping", {})
            assert (await loop.inbox.finished(later)).state == "done"
            nursery.cancel_scope.cancel()


async def test_missed_deliveries_are_fetched_soon_after_refusals_and_outages(
    make_repository: MakeRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redelivery, "SETTLE_SECONDS", 0.0)
    async with small_loop(make_repository(**{"project.bass": START}), tmp_path) as loop:
        first = loop.standin.lose("ping", {})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep_fetching, loop.core.github, loop.inbox)
            await loop.inbox.finished(first)
            with monkeypatch.context() as patched:
                refuse = AsyncMock(side_effect=StoreFull("no room"))
                patched.setattr(loop.store.deliveries, "record", refuse)
                assert await loop.deliver({"zen": "Speak like a human."}, "g", "ping") == 507
            refused = loop.standin.lose("ping", {})
            await loop.inbox.finished(refused)
            meanwhile = loop.standin.lose("ping", {})
            loop.inbox.retry_now()
            await loop.inbox.finished(meanwhile)
            nursery.cancel_scope.cancel()


async def test_a_malformed_delivery_does_not_prevent_fetching_others(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with small_loop(make_repository(**{"project.bass": START}), tmp_path) as loop:
        loop.standin.lose("push", {"sender": 1})
        good = loop.standin.lose("ping", {})
        assert await fetch_missed(loop.core.github, loop.inbox, since=0) == 1
        assert (await loop.inbox.finished(good)).state == "done"


async def test_deliveries_from_before_the_given_time_are_ignored(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with small_loop(make_repository(**{"project.bass": START}), tmp_path) as loop:
        old = loop.standin.lose("ping", {})
        loop.standin.backdate(old, status=0, seconds=7200)
        assert await fetch_missed(loop.core.github, loop.inbox, since=time.time() - 3600) == 0
