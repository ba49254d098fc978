"""A check: run once, by whichever delivery starts it, and on another runtime if the first is lost."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from bassloop.checks.check import MAX_RUNTIMES_TRIED
from bassloop.runtimes import Platform, RuntimeLost
from tests.small_loop import START, FakeRuntime, SmallLoop, small_loop
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping
    from pathlib import Path

    from tests.repositories import MakeRepository


WAIT = """
(defn github-hook [event client]
  ((client:start-check
    (with-image ($ sh -c "true") {:repository "alpine" :platform {:os "linux"}})
    "it" event:payload:check_suite:head_sha)))
"""


@pytest.mark.parametrize("hook", [START, WAIT], ids=["starts it", "waits for it"])
@pytest.mark.parametrize("while_it", ["waits for a runner", "runs"])
async def test_it_is_carried_out_once(
    make_repository: MakeRepository, tmp_path: Path, hook: str, while_it: str
) -> None:
    async with small_loop(make_repository(**{"project.bass": hook}), tmp_path) as its:

        def again() -> bool:
            [handle] = its.loop.active_checks.values()
            both_wait = handle.finished.statistics().tasks_waiting == 2
            return both_wait or its.inbox.outcomes["check_suite", "done"] == 1

        payload = await its.standin.payload("check_suite")
        await its.deliver(payload, "g1")
        await until(lambda: its.loop.cancellations)
        if while_it == "waits for a runner":
            await its.deliver(payload, "g2")
            await until(again)
        async with its.runner(ready=False) as runner:
            await until(lambda: runner.told)
            if while_it == "runs":
                await its.deliver(payload, "g2")
                await until(again)
            runner.going.set()
            for guid in ("g1", "g2"):
                ended = await its.inbox.finished(guid)
                assert (ended.state, ended.error) == ("done", None)
        assert len(runner.told) == 1
        assert [(run["name"], run["conclusion"]) for run in its.standin.check_runs] == [
            ("it", "success")
        ]
        assert not its.loop.active_checks


@dataclass(eq=False)
class Unreachable(FakeRuntime):
    """A runtime that is connected, and never to be reached."""

    @asynccontextmanager
    async def run(
        self, thunk: Any, metadata: Mapping[str, str], trailers: Any = None
    ) -> AsyncGenerator[Any]:  # type: ignore[override]
        self.told.append(dict(metadata))
        raise RuntimeLost(f"{self.id} did not answer")
        yield


def unreachable(its: SmallLoop, number: int) -> Unreachable:
    """One of the sender's runtimes, which is asked before a working one."""
    account = its.standin.account(its.standin.login)

    async def nowhere(session_factory: object) -> Any:
        raise ConnectionError("nowhere")

    platform = Platform("linux", "amd64")
    return Unreachable(
        f"runtime {number}", account.id, account.login, platform, 9, time.time(), nowhere
    )


async def test_another_runtime_of_the_same_user_takes_what_a_lost_one_had_not_begun(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with small_loop(make_repository(**{"project.bass": START}), tmp_path) as its:
        lost = unreachable(its, 1)
        async with its.loop.pool.registered(lost), its.runner() as runner:
            await its.deliver(await its.standin.payload("check_suite"), "g1")
            await its.inbox.finished("g1")
        assert (len(lost.told), len(runner.told)) == (1, 1)
        assert its.check_run()["conclusion"] == "success"


async def test_a_check_is_handed_to_a_few_runtimes_and_not_to_all_of_a_machine_that_is_too_busy(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with small_loop(make_repository(**{"project.bass": START}), tmp_path) as its:
        lost = [unreachable(its, number) for number in range(3 * MAX_RUNTIMES_TRIED)]
        async with AsyncExitStack() as connected:
            for each in lost:
                await connected.enter_async_context(its.loop.pool.registered(each))
            await its.deliver(await its.standin.payload("check_suite"), "g1")
            await its.inbox.finished("g1")
        assert sum(len(each.told) for each in lost) == MAX_RUNTIMES_TRIED
        assert its.check_run()["conclusion"] == "cancelled"
        [run] = (await its.store.runs.newest()).items
        assert run.state == "interrupted"
        assert "did not answer" in (run.message or "")
