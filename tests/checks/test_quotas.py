"""Quotas for what one run, one user and one repository make the loop store."""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from bassloop.bridge.metering import TimeBudget
from bassloop.checks import recorder as recorder_module
from bassloop.checks.live_runs import LiveRuns
from bassloop.checks.quotas import DAY, DISK_SECONDS, QuotaLimits, Quotas, RunQuota
from bassloop.checks.recorder import (
    LEAST_PIECE_BYTES,
    PIECE_BYTES,
    PIECE_SECONDS,
    YEAR,
    next_piece,
    recording,
)
from bassloop.terminal import Settled, Terminal
from bassloop.wire import progrock_pb2 as progrock
from tests.records import make_run

from .test_recorder import open_store_with_run, update

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


async def recorded(tmp_path: Path, quota: RunQuota, lines: int) -> tuple[list[str], bytes]:
    """Record two steps with a log each. Return the run's messages about limits, and the text of the second log."""
    async with open_store_with_run(tmp_path) as store:
        async with recording(store, LiveRuns(), "r", quota) as recorder:
            for step in ("one", "two"):
                for _ in range(lines):
                    await recorder.record(update(logs=[(step, b"0123456789\n" * 10)]))
        steps = await store.steps.of_run("r")
        blocks = [block.text async for block in store.logs.blocks("r", steps[-1].row)]
        return recorder.notes(), b"".join(blocks)


async def test_all_logs_of_a_run_share_one_limit_and_each_log_reports_it(tmp_path: Path) -> None:
    quota = Quotas(QuotaLimits(run_log=1_000)).of_run(make_run())
    notes, text = await recorded(tmp_path, quota, 20)
    assert notes == ["the logs of one run may have 1KB (RUN_LOG); the rest of the logs is not kept"]
    assert text.count(b"RUN_LOG") == 1
    assert b"0123456789" not in text


@pytest.mark.parametrize("setting", ["user_log_a_day", "repository_log_a_day"])
async def test_a_days_allowance_of_logs_is_shared_and_refills(
    setting: str, autojump_clock: trio.testing.MockClock
) -> None:
    quotas = Quotas(QuotaLimits(**{setting: 1_000}))
    first, second = (quotas.of_run(make_run(id=name)) for name in "ab")
    assert await first.take(900) == 900
    assert await second.take(900) == 100
    assert second.exceeded is not None
    assert setting.upper() in second.exceeded
    other = quotas.of_run(make_run(user_id=77, repository_id=78))
    assert await other.take(900) == 900
    autojump_clock.jump(DAY / 2)
    assert await quotas.of_run(make_run()).take(900) == 500


async def test_logs_leave_some_of_the_disk_free(tmp_path: Path) -> None:
    quota = Quotas(QuotaLimits(free_space=5_000), lambda: 5_050).of_run(make_run())
    notes, text = await recorded(tmp_path, quota, 20)
    assert "FREE_SPACE" in notes[0]
    assert b"FREE_SPACE" in text


async def test_bytes_stored_between_two_readings_of_the_disks_free_space_count(
    autojump_clock: trio.testing.MockClock,
) -> None:
    quotas = Quotas(QuotaLimits(free_space=5_000), lambda: free)
    free = 5_050
    assert await quotas.disk_room(30) == 30
    free = 5_000  # other programs write, too
    assert await quotas.disk_room(20) == 20
    assert await quotas.disk_room(1) == 0


async def test_the_free_space_is_read_again_after_a_while(
    autojump_clock: trio.testing.MockClock,
) -> None:
    quotas = Quotas(QuotaLimits(free_space=5_000), lambda: free)
    free = 10_000
    assert await quotas.disk_room(30) == 30
    free = 5_000
    autojump_clock.jump(DISK_SECONDS)
    assert await quotas.disk_room(30) == 0


async def test_logs_wait_for_room_instead_if_nothing_has_to_stay_free() -> None:
    quota = Quotas(QuotaLimits(free_space=0), lambda: 0).of_run(make_run())
    assert await quota.take(100) == 100


async def test_a_log_beyond_its_own_limit_is_cut_and_the_run_says_so(tmp_path: Path) -> None:
    async with (
        open_store_with_run(tmp_path, log_limit=100) as store,
        recording(store, LiveRuns(), "r") as recorder,
    ):
        await recorder.record(update(logs=[("one", b"0123456789\n"), ("two", b"x" * 200)]))
        assert recorder.notes() == ["1 of the logs reached LOG_LIMIT; the rest is not kept"]


async def test_steps_beyond_the_limit_are_dropped_and_the_run_says_so(tmp_path: Path) -> None:
    quota = Quotas(QuotaLimits(run_steps=3)).of_run(make_run())
    async with (
        open_store_with_run(tmp_path) as store,
        recording(store, LiveRuns(), "r", quota) as recorder,
    ):
        await recorder.record(update(*(progrock.Vertex(id=str(n)) for n in range(2_000))))
        assert len(recorder.steps()) == 3
        assert recorder.notes() == ["more than 3 steps (RUN_STEPS); the rest is not kept"]


async def test_text_of_steps_beyond_the_limit_is_dropped_and_the_run_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "STEP_TEXT", 5_000)
    async with (
        open_store_with_run(tmp_path) as store,
        recording(store, LiveRuns(), "r") as recorder,
    ):
        inputs = [str(number) * 100 for number in range(9)]
        await recorder.record(update(progrock.Vertex(id="a", name="first", inputs=inputs)))
        await recorder.record(update(progrock.Vertex(id="b", name="x" * 4_000)))
        assert recorder.notes() == []
        error = "e" * 1_000
        await recorder.record(update(progrock.Vertex(id="a", name="first", error=error)))
        await recorder.record(update(progrock.Vertex(id="c", name="another" * 100)))
        [first, second] = recorder.steps()
        assert (first.inputs, first.error, second.error) == (tuple(inputs), "e" * 200, None)
        [note] = recorder.notes()
        assert "characters of names, errors and inputs" in note


async def test_steps_that_are_repeated_without_their_inputs_free_no_room_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store keeps the inputs, and so does the recorder."""
    monkeypatch.setattr(recorder_module, "STEP_TEXT", 5_000)
    async with (
        open_store_with_run(tmp_path) as store,
        recording(store, LiveRuns(), "r") as recorder,
    ):
        for digest in "abcdef":
            await recorder.record(update(progrock.Vertex(id=digest, inputs=["x" * 4_000])))
            await recorder.record(update(progrock.Vertex(id=digest)))
        assert sum(len(each) for step in recorder.steps() for each in step.inputs) == 4_000
        assert recorder.text_overflowed


async def test_too_many_messages_slow_their_runner_down(
    autojump_clock: trio.testing.MockClock,
) -> None:
    quota = Quotas(QuotaLimits(run_updates=10)).of_run(make_run())
    for _ in range(140):
        await quota.pace()
    assert trio.current_time() == pytest.approx(10, abs=0.5)
    assert quota.slowed is not None
    assert "RUN_UPDATES" in quota.slowed


async def test_expensive_text_slows_its_runner_down(autojump_clock: trio.testing.MockClock) -> None:
    quota = Quotas().of_run(make_run())
    quota.budget.charge(3, 100)
    await quota.wait_for_budget()
    assert trio.current_time() == pytest.approx(10, abs=0.5)


class NotedBudget(TimeBudget):
    """A budget that is never overdrawn, and notes how it is used."""

    def __init__(self, timer: Callable[[], float]) -> None:
        super().__init__(timer=timer)
        self.uses: list[str] = []

    def charge(self, seconds: float, received: int = 0) -> None:
        self.uses.append(f"charged {seconds:g} s for {received} bytes")

    def delay(self) -> float:
        self.uses.append("asked")
        return 0.0


async def test_a_run_pays_for_each_piece_of_a_log_before_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each piece takes the terminal a second here, so they stay as small as they can be."""
    pieces, settle = 0, Terminal.settle

    def settle_slowly(self: Terminal, data: bytes) -> Settled:
        nonlocal pieces
        pieces += 1
        return settle(self, data)

    monkeypatch.setattr(Terminal, "settle", settle_slowly)
    quota = Quotas().of_run(make_run())
    quota.budget = budget = NotedBudget(lambda: float(pieces))
    async with (
        open_store_with_run(tmp_path) as store,
        recording(store, LiveRuns(), "r", quota) as recorder,
    ):
        await recorder.record(update(logs=[("v", b"x" * 10 * LEAST_PIECE_BYTES)]))
    assert budget.uses == [f"charged 1 s for {LEAST_PIECE_BYTES} bytes", "asked"] * 10


def test_pieces_grow_while_they_are_cheap_and_no_further() -> None:
    size = LEAST_PIECE_BYTES
    for _ in range(20):
        size = next_piece(size, 0.0)
    assert size == PIECE_BYTES
    assert next_piece(size, 2 * PIECE_SECONDS) == PIECE_BYTES // 2
    assert next_piece(LEAST_PIECE_BYTES, 2 * PIECE_SECONDS) == LEAST_PIECE_BYTES


@pytest.mark.parametrize(
    ("setting", "other", "name"),
    [
        ("user_runs", {"repository_id": 9}, "octocat"),
        ("repository_runs", {"user_id": 9}, "octocat/hello"),
    ],
)
async def test_runs_beyond_the_limit_wait_and_say_why(
    autojump_clock: trio.testing.MockClock, setting: str, other: dict[str, int], name: str
) -> None:
    quotas, why = Quotas(QuotaLimits(**{setting: 2})), []

    async def wait(reason: str) -> None:
        why.append(reason)

    done = trio.Event()

    async def run(name: str) -> None:
        async with quotas.under_way(make_run(id=name, **other), wait):
            done.set()

    async with trio.open_nursery() as nursery:
        async with AsyncExitStack() as stack:
            for run_id in "ab":
                await stack.enter_async_context(quotas.under_way(make_run(id=run_id), wait))
            nursery.start_soon(partial(run, "c"))
            await trio.testing.wait_all_tasks_blocked()
            assert why == [f"2 checks of {name} are running ({setting.upper()})"]
            assert not done.is_set()
        await done.wait()


async def test_times_of_a_runner_that_are_off_by_years_are_not_stored(tmp_path: Path) -> None:
    step = progrock.Vertex(id="v", name="x")
    step.started.seconds = 1 << 40
    step.completed.seconds = -(1 << 40)
    log = progrock.VertexLog(vertex="v", data=b"line\n")
    log.timestamp.seconds = 1 << 50
    async with open_store_with_run(tmp_path) as store:
        async with recording(store, LiveRuns(), "r") as recorder:
            await recorder.record(progrock.StatusUpdate(vertexes=[step], logs=[log]))
        [stored] = await store.steps.of_run("r")
        now = make_run().created_at + YEAR
        assert stored.started_at is not None
        assert stored.completed_at is not None
        assert now < stored.started_at < 10_000_000_000
        assert now < stored.completed_at < 10_000_000_000


async def test_a_run_that_reports_its_wait_while_another_ends_does_not_run_beside_a_third() -> None:
    """Reporting it takes as long as GitHub does, and all slots may be free in between."""
    quotas = Quotas(QuotaLimits(user_runs=1))
    reporting, reported, release = trio.Event(), trio.Event(), trio.Event()
    under_way: list[str] = []

    async def wait(_: str) -> None:
        reporting.set()
        await reported.wait()

    async def run(name: str) -> None:
        async with quotas.under_way(make_run(id=name), wait):
            under_way.append(name)
            await release.wait()

    async with trio.open_nursery() as nursery:
        async with quotas.under_way(make_run(id="first"), wait):
            nursery.start_soon(run, "second")
            await reporting.wait()
        nursery.start_soon(run, "third")
        await trio.testing.wait_all_tasks_blocked()
        reported.set()
        await trio.testing.wait_all_tasks_blocked()
        assert under_way == ["third"]
        release.set()
    assert under_way == ["third", "second"]
