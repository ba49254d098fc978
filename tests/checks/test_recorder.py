"""Recording a runner's progress, including that of misbehaving runners."""

from __future__ import annotations

import sqlite3
import time
from contextlib import AsyncExitStack, asynccontextmanager, closing
from typing import TYPE_CHECKING

import pytest
import trio

from bassloop.checks.file_collectors import ArtifactCollector, ArtifactQuotas
from bassloop.checks.given_artifacts import missing_artifacts
from bassloop.checks.live_runs import LiveRuns
from bassloop.checks.quotas import QuotaLimits, Quotas, RunQuota
from bassloop.checks.recorder import MAX_NAME, recording
from bassloop.store import LogExtent, Store, StoreLocked, User, open_store
from bassloop.store.logs.log_writer import LogQueue
from bassloop.wire import progrock_pb2 as progrock
from tests.records import make_run
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path


@asynccontextmanager
async def open_store_with_run(
    tmp_path: Path, location: Path | str | None = None, **options: int
) -> AsyncGenerator[Store]:
    """A store with the run `r`."""
    location = location or tmp_path / "loop.db"
    async with open_store(location, tmp_path / "blobs", **options) as store:
        await store.users.put(User(1, "U_1", "octocat"))
        run = make_run(thunk_digest="", state="queued", started_at=None, ended_at=None)
        await store.checks.get_or_create(2, "octocat/hello", 3, "0" * 40, "test", "g", False, run)
        yield store


def update(
    *steps: progrock.Vertex, logs: list[tuple[str, bytes]] | None = None
) -> progrock.StatusUpdate:
    said = [
        progrock.VertexLog(vertex=step, stream=progrock.LogStream.STDOUT, data=data)
        for step, data in logs or ()
    ]
    return progrock.StatusUpdate(vertexes=steps, logs=said)


async def test_a_message_may_repeat_a_step_incompletely(tmp_path: Path) -> None:
    now = int(time.time())
    started = progrock.Vertex(id="v", name="make", inputs=["u"])
    started.started.FromSeconds(now)
    completed = progrock.Vertex(id="v", name="make")
    completed.completed.FromSeconds(now + 3)
    async with open_store_with_run(tmp_path) as store:
        async with recording(store, LiveRuns(), "r") as recorder:
            await recorder.record(update(started, completed))
        [stored] = await store.steps.of_run("r")
        assert (stored.started_at, stored.completed_at) == (now, now + 3)
        assert stored.inputs == ("u",)


async def test_steps_and_their_logs_are_stored_as_they_arrive(tmp_path: Path) -> None:
    live_runs, now = LiveRuns(), int(time.time())
    async with open_store_with_run(tmp_path) as store:
        async with recording(store, live_runs, "r") as recorder:
            step = progrock.Vertex(id="v", name="make", inputs=["u"])
            step.started.FromSeconds(now)
            await recorder.record(update(step, logs=[("v", b"one\ntw")]))
            await recorder.record(update(logs=[("v", b"o\nthree")]))
            step.completed.FromSeconds(now + 3)
            step.error = "exit status 2"
            await recorder.record(update(step))
        [stored] = await store.steps.of_run("r")
        assert (stored.name, stored.inputs, stored.error) == ("make", ("u",), "exit status 2")
        assert (stored.started_at, stored.completed_at) == (now, now + 3)
        assert await store.logs.lines("r", stored.row, 0, 10) == [b"one", b"two", b"three"]


async def test_followers_see_a_line_that_may_still_change(tmp_path: Path) -> None:
    live_runs = LiveRuns()
    async with open_store_with_run(tmp_path) as store, recording(store, live_runs, "r") as recorder:
        await recorder.record(update(progrock.Vertex(id="v", name="x"), logs=[("v", b"10 %")]))
        [row] = [step.row for step in recorder.steps()]
        assert live_runs.screen(row) == [b"10 %"]
        await recorder.record(update(logs=[("v", b"\r99 %")]))
        assert live_runs.screen(row) == [b"99 %"]
    assert live_runs.screen(row) == []


async def test_the_last_lines_of_all_logs_are_stored_even_if_it_is_cancelled_while_the_disk_is_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_store_with_run(tmp_path) as store:
        with trio.CancelScope() as scope:
            async with recording(store, LiveRuns(), "r") as recorder:
                for name in "abc":
                    await recorder.record(
                        update(progrock.Vertex(id=name), logs=[(name, b"one\n10 %\r99 %")])
                    )

                async def no_room(queue: LogQueue) -> None:
                    await trio.sleep_forever()

                monkeypatch.setattr(LogQueue, "wait_for_room", no_room)
                scope.cancel()
                await trio.lowlevel.checkpoint()
        for step in await store.steps.of_run("r"):
            assert await store.logs.lines("r", step.row, 0, 9) == [b"one", b"99 %"]
            assert not store.logs.is_cut(step)


async def test_a_log_of_a_step_that_was_never_announced_is_stored(tmp_path: Path) -> None:
    async with open_store_with_run(tmp_path) as store:
        async with recording(store, LiveRuns(), "r") as recorder:
            await recorder.record(update(logs=[("unheard of", b"hello\n")]))
        [stored] = await store.steps.of_run("r")
        assert await store.logs.lines("r", stored.row, 0, 1) == [b"hello"]


async def test_names_of_any_length_and_content_are_stored_safely(tmp_path: Path) -> None:
    hostile = "../../" + "x" * 100_000
    async with open_store_with_run(tmp_path) as store:
        async with recording(store, LiveRuns(), "r") as recorder:
            await recorder.record(
                update(progrock.Vertex(id=hostile, name=hostile), logs=[(hostile, b"line\n")])
            )
        [stored] = await store.steps.of_run("r")
        assert len(stored.name) == MAX_NAME
        assert await store.logs.lines("r", stored.row, 0, 1) == [b"line"]
    assert not (tmp_path.parent / "x").exists()


async def test_a_runner_has_no_steps_that_look_like_the_loops_own(tmp_path: Path) -> None:
    async with open_store_with_run(tmp_path) as store:
        async with recording(store, LiveRuns(), "r") as recorder:
            steps = [
                progrock.Vertex(id=name, name=name) for name in ("hook:it", "[loop] x", "a\0b")
            ]
            await recorder.record(update(*steps, logs=[("hook:it", b"line\n")]))
        found = await store.steps.of_run("r")
        names = ["runner's hook:it", "runner's [loop] x", "a\ufffdb"]
        assert [(step.digest, step.name) for step in found] == [(name, name) for name in names]
        assert found[0].lines == 1


async def test_a_log_beyond_its_limit_says_so_and_the_run_goes_on(tmp_path: Path) -> None:
    async with open_store_with_run(tmp_path, log_limit=10_000) as store:
        async with recording(store, LiveRuns(), "r") as recorder:
            await recorder.record(update(progrock.Vertex(id="v", name="x")))
            for _ in range(100):
                await recorder.record(update(logs=[("v", b"0123456789\n" * 100)]))
        [stored] = await store.steps.of_run("r")
        extent = await store.logs.extent("r", stored.row)
        lines = await store.logs.lines("r", stored.row, 0, extent.lines)
        assert extent.raw_bytes < 11_000
        assert any(b"reached its limit of 10,000 bytes" in line for line in lines)


async def test_a_run_ends_well_once_the_database_is_no_longer_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise, a check that had succeeded would fail, and its log stay open until the next start."""
    monkeypatch.setattr("bassloop.store.engines.sqlite.BUSY_TIMEOUT_MS", 1)
    monkeypatch.setattr("bassloop.store.writer.RETRY_SECONDS", 0.001)
    async with open_store_with_run(tmp_path) as store:
        with closing(sqlite3.connect(tmp_path / "loop.db", isolation_level=None)) as other:

            async def record() -> None:
                async with recording(store, LiveRuns(), "r") as recorder:
                    step = progrock.Vertex(id="v", name="make")
                    await recorder.record(update(step, logs=[("v", b"one\n")]))
                    other.execute("BEGIN IMMEDIATE")

            async with trio.open_nursery() as nursery:
                nursery.start_soon(record)
                await until(lambda: store.write_error is not None)
                other.execute("ROLLBACK")
        [stored] = await store.steps.of_run("r")
        assert await store.logs.extent("r", stored.row) == LogExtent(4, 1, closed=True, cut=False)
        assert not store.logs.open_rows({stored.row: stored})


async def test_a_cancelled_run_does_not_wait_for_a_database_that_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bassloop.store.engines.sqlite.BUSY_TIMEOUT_MS", 1)
    path = tmp_path / "loop.db"
    async with open_store_with_run(tmp_path) as store, AsyncExitStack() as stack:
        other = stack.enter_context(closing(sqlite3.connect(path, isolation_level=None)))

        async def record() -> None:
            async with recording(store, LiveRuns(), "r") as recorder:
                step = progrock.Vertex(id="v", name="make")
                await recorder.record(update(step, logs=[("v", b"one\n")]))
                other.execute("BEGIN IMMEDIATE")
                scope.cancel()

        with trio.CancelScope() as scope, pytest.raises(StoreLocked):
            await record()
    async with open_store(path, tmp_path / "blobs") as store:
        [stored] = await store.steps.of_run("r")
        assert await store.logs.extent("r", stored.row) == LogExtent(4, 1, closed=True, cut=True)


@pytest.mark.parametrize("most", [2, 100])
async def test_a_run_says_which_artifacts_are_not_kept_however_many_steps_it_has(
    location: Path | str, tmp_path: Path, most: int
) -> None:
    """A check that uses them must not run with the others alone."""
    path, shown = "dist/\0a", "dist/\ufffda"
    async with open_store_with_run(tmp_path, location) as store:
        run = await store.runs.get("r")
        assert run is not None
        quotas = Quotas(QuotaLimits(run_steps=most))
        artifacts = ArtifactCollector(store, run, ArtifactQuotas(), quotas)
        async with recording(store, LiveRuns(), "r", RunQuota(quotas), artifacts) as recorder:
            for name in "abc":
                await recorder.record(update(progrock.Vertex(id=name, name=name)))
            end = progrock.Vertex(id="bassloop:artifact:b")
            end.completed.FromSeconds(int(time.time()))
            sent = [("bassloop:artifact:" + each, b"x") for each in (path, "b")]
            await recorder.record(update(end, logs=sent))
        assert [each.path for each in await store.artifacts.of_run("r")] == ["b"]
        why = f"the artifact {shown} is not kept: its path has characters"
        assert (await missing_artifacts(store, run) or "").startswith(why)
