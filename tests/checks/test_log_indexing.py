"""Logs are indexed in the background."""

from __future__ import annotations

import functools
import itertools
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import trio

from bassloop.checks import log_indexing
from bassloop.checks.log_indexing import keep_indexing
from bassloop.store import BucketError, FilterQuery, StoreError
from tests.web.site import Site, open_site

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from pathlib import Path


@asynccontextmanager
async def indexed(site: Site, logs: int) -> AsyncGenerator[None]:
    """Leave the context once so many logs were indexed in it."""
    done = trio.Event()
    put, left = site.store.log_index.put, logs

    async def counted(filters: list[tuple[int, bytes]]) -> None:
        nonlocal left
        await put(filters)
        left -= len(filters)
        if left <= 0:
            done.set()

    site.store.log_index.put = counted  # type: ignore[method-assign, assignment]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_indexing, site.store)
        yield
        with trio.fail_after(200):
            await done.wait()
        nursery.cancel_scope.cancel()


async def candidates(site: Site, text: str) -> list[str]:
    found = await site.store.log_index.search("octocat/hello", FilterQuery(text))
    return [run.id for run in found.runs if run.steps]


async def test_existing_and_new_logs_are_indexed(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await site.queued("earlier")
        await site.step("earlier", "a", b"\x1b[31mBro\x1b[0mken pipe\n" + b"fine\n" * 200_000)
        assert await candidates(site, "no such text") == ["earlier"]
        async with indexed(site, 2):
            await site.queued("later")
            await site.step("later", "b", b"all is well\n")
        assert await candidates(site, "no such text") == []
        assert await candidates(site, "broken PIPE") == ["earlier"]
        assert await candidates(site, "all is well") == ["later"]


async def test_a_long_log_is_indexed_a_little_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_indexing, "WORK_SECONDS", 0.0)
    async with open_site(tmp_path) as site:
        await site.queued("long")
        await site.step("long", "a", b"one line\n" * 100_000 + b"the last line\n")
        async with indexed(site, 1):
            pass
        assert await candidates(site, "the last") == ["long"]
        assert await candidates(site, "another") == []


async def test_a_log_may_be_read_in_several_threads_with_different_clocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def readings() -> Iterator[float]:
        for seconds in itertools.count(1000.0, -10.0):
            yield seconds
            yield seconds + 0.0001

    clock = functools.partial(next, readings())
    monkeypatch.setattr(log_indexing, "time", SimpleNamespace(thread_time=clock))
    async with open_site(tmp_path) as site:
        await site.queued("long")
        await site.step("long", "a", b"one line\n" * 100_000 + b"the last line\n")
        async with indexed(site, 1):
            pass
        assert await candidates(site, "the last") == ["long"]


@pytest.mark.parametrize("failure", [StoreError("the disk is away"), BucketError("no bucket")])
async def test_indexing_is_tried_again_after_an_error_of_the_store_or_the_bucket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    monkeypatch.setattr(log_indexing, "RETRY_SECONDS", 0.0)
    async with open_site(tmp_path) as site:
        await site.queued("one")
        await site.step("one", "a", b"a line\n")
        pending, failures = site.store.log_index.pending, [failure]

        async def failing() -> list[tuple[str, int]]:
            for error in failures:
                failures.clear()
                raise error
            return await pending()

        site.store.log_index.pending = failing  # type: ignore[method-assign, assignment]
        async with indexed(site, 1):
            pass
        assert failures == []
        assert await candidates(site, "another") == []


async def test_indexing_does_not_change_the_results_of_a_search(tmp_path: Path) -> None:
    asked = "/repositories/octocat/hello/search?q=failed%201"
    async with open_site(tmp_path) as site:
        await site.queued("one")
        await site.step("one", "a", b"\x1b[1mFAI\x1b[0mLED 17\n")
        await site.step("one", "b", b"\xff\xfeFAILED 18\n")
        before = await site.json(asked)
        async with indexed(site, 2):
            pass
        after = await site.json(asked)
        assert after["runs"] == before["runs"]
        assert len(after["runs"][0]["matches"]) == 2
        assert (before["not_indexed"], after["not_indexed"]) == (2, 0)
