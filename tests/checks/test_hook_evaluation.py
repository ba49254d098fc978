"""What the loop records while a hook is evaluated, and what becomes of a delivery whose hook was stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from bassloop.evaluator import HookStopped
from bassloop.evaluator.evaluators import Evaluators
from tests.fork_servers import run_shared_server
from tests.small_loop import small_loop

if TYPE_CHECKING:
    from collections.abc import Hashable
    from pathlib import Path

    from bassloop.evaluator.hook_process import HookHost
    from bassloop.evaluator.messages import Evaluate
    from tests.repositories import MakeRepository

HOOK = {"project.bass": "(def x 1)"}


class StoppingEvaluators(Evaluators):
    """Evaluators that stop each hook once the test lets them. `keys` are those of the hooks so far."""

    def __init__(self) -> None:
        super().__init__(run_server=run_shared_server)
        self.keys: list[Hashable] = []
        self.began = trio.Event()
        self.going = trio.Event()

    async def evaluate(self, request: Evaluate, host: HookHost, key: Hashable) -> None:
        self.keys.append(key)
        self.began.set()
        await self.going.wait()
        raise HookStopped("it took more than 1 s of processor time", "HOOK_CPU")


async def test_an_evaluation_is_recorded_while_it_lasts(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    """So that a hook that ends the loop itself is not evaluated for ever."""
    evaluators = StoppingEvaluators()
    async with small_loop(make_repository(**HOOK), tmp_path, evaluators=evaluators) as loop:

        async def evaluations() -> int:
            delivery = await loop.store.deliveries.get("g")
            assert delivery is not None
            return delivery.evaluations

        await loop.deliver(await loop.standin.payload("check_suite"), "g")
        await evaluators.began.wait()
        await loop.until_stored(evaluations)
        assert await evaluations() == 1
        evaluators.going.set()
        await loop.inbox.finished("g")
        assert await evaluations() == 0


async def test_a_delivery_whose_hook_was_stopped_ends(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    evaluators = StoppingEvaluators()
    evaluators.going.set()
    repository = make_repository(**HOOK)
    async with small_loop(repository, tmp_path, evaluators=evaluators) as loop:
        payload = await loop.standin.payload("check_suite")
        await loop.deliver(payload, "g")
        finished = await loop.inbox.finished("g")
        assert (finished.state, finished.failures) == ("done", 0)
        check = loop.check_run("project.bass")
        assert check["conclusion"] == "failure"
        assert "The loop's setting HOOK_CPU is the limit." in check["output"]["summary"]
    assert evaluators.keys == [payload["repository"]["id"]]  # each repository has its share
    async with small_loop(repository, tmp_path, evaluators=evaluators) as loop:
        await loop.deliver(await loop.standin.payload("check_suite"), "next")
        await loop.inbox.finished("next")
    assert len(evaluators.keys) == 2  # a restart evaluates nothing again
