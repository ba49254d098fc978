"""Events of one head that start the same check: one of them carries it out, and the others wait for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.small_loop import START, small_loop

if TYPE_CHECKING:
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
            works = its.loop.at_work
            both = len(works) == 2 and all(work.started for work in works)
            return both or its.inbox.outcomes["check_suite", "done"] == 1

        payload = await its.standin.payload("check_suite")
        await its.deliver(payload, "g1")
        await its.until(lambda: its.loop.running)
        if while_it == "waits for a runner":
            await its.deliver(payload, "g2")
            await its.until(again)
        async with its.runner(ready=False) as runner:
            await its.until(lambda: runner.told)
            if while_it == "runs":
                await its.deliver(payload, "g2")
                await its.until(again)
            runner.going.set()
            for guid in ("g1", "g2"):
                ended = await its.inbox.finished(guid)
                assert (ended.state, ended.error) == ("done", None)
        assert len(runner.told) == 1
        assert [(run["name"], run["conclusion"]) for run in its.standin.check_runs] == [
            ("it", "success")
        ]
        assert not its.loop.under_way
