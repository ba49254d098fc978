"""A check: run once, by whichever delivery starts it, and on another runtime if the first is lost."""

from __future__ import annotations

import math
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import trio

from bassloop.access.policy import Policy
from bassloop.access.policy_lookup import PolicyCache
from bassloop.checks import check, check_output
from bassloop.runtimes import Platform, RuntimeLost
from bassloop.runtimes.pool import TRIED_AT_ONCE
from tests.small_loop import START, FakeRuntime, SmallLoop, small_loop
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping
    from pathlib import Path

    from bassloop.checks.loop_state import LoopState
    from bassloop.github import CheckOutput
    from bassloop.store import Run
    from tests.repositories import MakeRepository


WAIT = """
(defn github-hook [event client]
  ((client:start-check
    (with-image ($ sh -c "true") {:repository "alpine" :platform {:os "linux"}})
    "it" event:payload:check_suite:head_sha)))
"""


@pytest.mark.parametrize("hook", [START, WAIT], ids=["starts it", "waits for it"])
@pytest.mark.parametrize("while_it", ["waits for a runner", "runs"])
async def test_a_check_runs_once(
    make_repository: MakeRepository, tmp_path: Path, hook: str, while_it: str
) -> None:
    async with small_loop(make_repository(**{"project.bass": hook}), tmp_path) as loop:

        def again() -> bool:
            [handle] = loop.core.active_checks.values()
            both_wait = handle.finished.statistics().tasks_waiting == 2
            return both_wait or loop.inbox.outcomes["check_suite", "done"] == 1

        payload = await loop.standin.payload("check_suite")
        await loop.deliver(payload, "g1")
        await until(lambda: loop.core.cancellations)
        if while_it == "waits for a runner":
            await loop.deliver(payload, "g2")
            await until(again)
        async with loop.runner(ready=False) as runner:
            await until(lambda: runner.told)
            if while_it == "runs":
                await loop.deliver(payload, "g2")
                await until(again)
            runner.going.set()
            for guid in ("g1", "g2"):
                ended = await loop.inbox.finished(guid)
                assert (ended.state, ended.error) == ("done", None)
        assert len(runner.told) == 1
        assert [(run["name"], run["conclusion"]) for run in loop.standin.check_runs] == [
            ("it", "success")
        ]
        assert not loop.core.active_checks


@dataclass(eq=False)
class Unreachable(FakeRuntime):
    """A runtime that is connected, and not to be reached the first times, or lost once it has begun."""

    times: float = math.inf
    begins: bool = False

    @asynccontextmanager
    async def run(
        self, thunk: Any, metadata: Mapping[str, str], trailers: Any = None, on_open: Any = None
    ) -> AsyncGenerator[Any]:  # type: ignore[override]
        if len(self.told) >= self.times:
            async with super().run(thunk, metadata, trailers, on_open) as updates:
                yield updates
            return
        self.told.append(dict(metadata))
        if self.begins:
            await on_open()
        raise RuntimeLost(f"{self.id} did not answer")


def unreachable(loop: SmallLoop, number: int, **more: Any) -> Unreachable:
    """One of the sender's runtimes, which is asked before a working one."""
    account = loop.standin.account(loop.standin.login)

    async def nowhere(session_factory: object) -> Any:
        raise ConnectionError("nowhere")

    platform = Platform("linux", "amd64")
    runtime = Unreachable(
        f"runtime {number}", account.id, account.login, platform, 9, time.time(), nowhere, **more
    )
    runtime.going.set()
    return runtime


def waiting_for(seconds: float) -> PolicyCache:
    """The policy of checks that wait for a runner for so long."""
    return PolicyCache(Policy(runner_wait=seconds))


async def test_another_runtime_of_the_same_user_runs_what_a_lost_one_had_not_begun(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with small_loop(make_repository(**{"project.bass": START}), tmp_path) as loop:
        lost = unreachable(loop, 1)
        async with loop.core.pool.registered(lost), loop.runner() as runner:
            await loop.deliver(await loop.standin.payload("check_suite"), "g1")
            await loop.inbox.finished("g1")
        assert (len(lost.told), len(runner.told)) == (1, 1)
        assert loop.check_run()["conclusion"] == "success"
        assert "runtime 1" not in loop.check_run()["output"]["summary"]


async def test_a_runtime_that_did_not_answer_is_asked_again_and_the_check_says_why_it_waits(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with small_loop(make_repository(**{"project.bass": START}), tmp_path) as loop:
        lost = unreachable(loop, 1, times=1)
        async with loop.core.pool.registered(lost):
            await loop.deliver(await loop.standin.payload("check_suite"), "g1")
            waits = "Waiting for a runner again"
            await until(lambda: loop.shown() and loop.check_run()["output"]["title"] == waits)
            assert loop.check_run()["status"] == "queued"
            said = loop.check_run()["output"]["summary"]
            assert "runtime 1 did not answer. It had not begun, and waits again." in said
            [run] = (await loop.store.runs.newest()).items
            assert (run.state, run.runtime_id) == ("queued", None)
            assert not loop.core.running
            await loop.inbox.finished("g1")
        assert len(lost.told) == 2
        assert loop.check_run()["conclusion"] == "success"


async def test_a_run_whose_runner_is_lost_just_before_it_is_asked_is_queued_again(
    make_repository: MakeRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a queued run can be handed over to another node."""
    async with small_loop(make_repository(**{"project.bass": START}), tmp_path) as loop:
        lost = unreachable(loop, 1, begins=True, times=1)
        states: list[str] = []

        async def append(*args: object) -> None:
            [run] = (await loop.store.runs.newest()).items
            states.append(run.state)
            raise RuntimeLost("runtime 1 was lost meanwhile")

        with monkeypatch.context() as patched:
            patched.setattr(loop.store.journals, "append", append)
            async with loop.core.pool.registered(lost):
                await loop.deliver(await loop.standin.payload("check_suite"), "g1")
                await until(lambda: loop.core.pool.statistics()["waiting"])
        [run] = (await loop.store.runs.newest()).items
        assert (states, run.state, run.runtime_id) == (["running"], "queued", None)
        async with loop.runner() as runner:
            await loop.inbox.finished("g1")
        assert len(runner.told) == 1
        assert loop.check_run()["conclusion"] == "success"


async def test_a_check_waits_for_a_runtime_that_connects_after_the_lost_one(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with small_loop(make_repository(**{"project.bass": START}), tmp_path) as loop:
        lost = unreachable(loop, 1)
        async with loop.core.pool.registered(lost):
            await loop.deliver(await loop.standin.payload("check_suite"), "g1")
            await until(lambda: loop.core.pool.statistics()["waiting"])
            async with loop.runner() as runner:
                await loop.inbox.finished("g1")
        assert len(runner.told) == 1
        assert loop.check_run()["conclusion"] == "success"


async def test_a_run_that_had_begun_when_its_runner_was_lost_is_not_repeated(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with small_loop(make_repository(**{"project.bass": START}), tmp_path) as loop:
        lost = unreachable(loop, 1, begins=True)
        async with loop.core.pool.registered(lost), loop.runner() as runner:
            await loop.deliver(await loop.standin.payload("check_suite"), "g1")
            await loop.inbox.finished("g1")
        assert (len(lost.told), len(runner.told)) == (1, 0)
        [run] = (await loop.store.runs.newest()).items
        assert run.state == "interrupted"
        assert run.message == "runtime 1 did not answer; run the check again"


async def test_a_check_is_offered_to_only_a_few_runtimes_of_a_machine_that_is_too_busy(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    repository = make_repository(**{"project.bass": START})
    async with small_loop(repository, tmp_path, policies=waiting_for(0.5)) as loop:
        lost = [unreachable(loop, number) for number in range(3 * TRIED_AT_ONCE)]
        async with AsyncExitStack() as connected:
            for each in lost:
                await connected.enter_async_context(loop.core.pool.registered(each))
            await loop.deliver(await loop.standin.payload("check_suite"), "g1")
            await loop.inbox.finished("g1")
        assert sum(len(each.told) for each in lost) == TRIED_AT_ONCE
        assert loop.check_run()["conclusion"] == "action_required"
        [run] = (await loop.store.runs.newest()).items
        assert run.state == "action_required"
        assert "no runner has answered after 0.5 s: runtime 2 did not answer" in (run.message or "")
        assert "none has answered" in loop.check_run()["output"]["summary"]


TWO = """
(defn github-hook [event client]
  (map
    (fn [name] (client:start-check
      (with-image ($ sh -c "true") {:repository "alpine" :platform {:os "linux"}})
      name event:payload:check_suite:head_sha))
    ["build" "test"]))
"""


async def conclusions_of_a_delivery(loop: SmallLoop) -> dict[str, str]:
    """Handle a delivery, and return its check runs' conclusions by name."""
    async with loop.runner():
        await loop.deliver(await loop.standin.payload("check_suite"), "g1")
        assert (await loop.inbox.finished("g1")).state == "done"
    return {run["name"]: run["conclusion"] for run in loop.standin.check_runs}


async def test_a_check_that_can_not_be_described_is_concluded_and_says_so(
    make_repository: MakeRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(*arguments: object) -> None:
        raise KeyError("a defect")

    monkeypatch.setattr(check_output, "ended", ended)
    async with small_loop(make_repository(**{"project.bass": START}), tmp_path) as loop:
        assert await conclusions_of_a_delivery(loop) == {"it": "success"}
        [run] = loop.standin.check_runs
        assert "failed to describe" in run["output"]["summary"]


async def test_a_check_that_can_not_be_concluded_affects_no_other(
    make_repository: MakeRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def conclude(loop: LoopState, run: Run, output: CheckOutput | None = None) -> None:
        if run.check_name == "build":
            raise RuntimeError("a defect")
        await real(loop, run, output)

    real = check.conclude
    monkeypatch.setattr(check, "conclude", conclude)
    async with small_loop(make_repository(**{"project.bass": TWO}), tmp_path) as loop:
        assert await conclusions_of_a_delivery(loop) == {"build": None, "test": "success"}


async def test_the_time_limit_is_only_for_the_command(
    make_repository: MakeRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit, left = 100.0, list[float]()

    async def keep_statement(*arguments: object, passed: bool) -> None:
        left.append(trio.current_effective_deadline() - trio.current_time())

    monkeypatch.setattr(Policy, "limit", lambda policy, name: limit)
    monkeypatch.setattr(check, "keep_statement", keep_statement)
    async with small_loop(make_repository(**{"project.bass": START}), tmp_path) as loop:
        assert await conclusions_of_a_delivery(loop) == {"it": "success"}
    [seconds] = left
    assert seconds > limit
