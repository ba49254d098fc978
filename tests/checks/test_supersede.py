"""A push cancels what still runs for the head that it replaces, there and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bassloop.access.policy import Policy
from bassloop.access.policy_lookup import PolicyCache
from bassloop.checks import check_output
from tests.github.made import event_of
from tests.repositories import commit, git
from tests.small_loop import START, small_loop
from tests.until import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.repositories import MakeRepository
    from tests.small_loop import SmallLoop


async def pushed(loop: SmallLoop, ref: str, guid: str, before: str, **options: Any) -> None:
    payload = await loop.standin.payload("check_suite", ref=ref, **options)
    payload["check_suite"]["before"] = before
    assert await loop.deliver(payload, guid) == 202


def conclusion(loop: SmallLoop, sha: str) -> str | None:
    found = [run for run in loop.standin.check_runs if run["head_sha"] == sha]
    assert len(found) == 1
    return found[0]["conclusion"]


@pytest.mark.parametrize("connected", [True, False])
async def test_a_push_cancels_what_runs_or_waits_for_the_head_before_it(
    make_repository: MakeRepository, tmp_path: Path, connected: bool
) -> None:
    path = make_repository(**{"project.bass": START})
    a, b = git(path, "rev-parse", "HEAD"), commit(path)
    async with (
        small_loop(path, tmp_path / "data") as loop,
        loop.runner(ready=False) as runner,
    ):
        others = 0 if connected else 1000
        runner.user_id += others
        await pushed(loop, a, "a", "0" * 40)
        await until(lambda: loop.shown() and (runner.told or not connected))
        await pushed(loop, b, "b", a)
        assert (await loop.inbox.finished("a")).state == "done"
        assert conclusion(loop, a) == "cancelled"
        assert f"main is at {b[:12]}" in str(loop.standin.check_runs[0]["output"])
        if connected:
            runner.going.set()
            await loop.inbox.finished("b")
            assert conclusion(loop, b) == "success"


async def test_checks_of_another_branch_or_of_the_same_commit_elsewhere_continue(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    path = make_repository(**{"project.bass": START})
    a, b = git(path, "rev-parse", "HEAD"), commit(path)
    async with small_loop(path, tmp_path / "data") as loop, loop.runner(ready=False) as runner:
        await pushed(loop, a, "a", "0" * 40, branch="one")
        await until(lambda: runner.told)
        await pushed(loop, b, "b", a, branch="two")
        await until(lambda: len(runner.told) == 2)
        await pushed(loop, a, "a2", "0" * 40, branch="three")
        await until(lambda: loop.inbox.statistics()["waiting"] == 0)
        await pushed(loop, b, "b2", a, branch="one")
        await until(lambda: loop.inbox.statistics()["waiting"] == 0)
        runner.going.set()
        for guid in ("a", "b", "a2", "b2"):
            await loop.inbox.finished(guid)
        assert conclusion(loop, a) == conclusion(loop, b) == "success"


async def test_a_head_that_was_replaced_before_its_turn_came_is_skipped_with_one_notice(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    path = make_repository(**{"project.bass": START})
    a, b = git(path, "rev-parse", "HEAD"), commit(path)
    async with small_loop(path, tmp_path / "data") as loop, loop.runner() as runner:
        loop.inbox.at_once = 0
        await pushed(loop, a, "a", "0" * 40)
        await pushed(loop, b, "b", a)
        loop.inbox.at_once = 64
        loop.inbox.recheck()
        skipped = await loop.inbox.finished("a")
        assert (skipped.state, skipped.error) == ("done", f"superseded: main is at {b[:12]} now")
        await loop.inbox.finished("b")
        (notice,) = [run for run in loop.standin.check_runs if run["head_sha"] == a]
        assert (notice["name"], notice["conclusion"]) == (check_output.SUPERSEDED, "cancelled")
        assert f"main is at {b[:12]} now" in notice["output"]["summary"].replace("\\", "")
        assert conclusion(loop, b) == "success"
        assert len(runner.told) == 1
        again = await loop.standin.payload(
            "check_run", "rerequested", ref=a, check_run=notice["id"]
        )
        await loop.deliver(again, "again")
        await loop.inbox.finished("again")
        assert len(runner.told) == 2


async def test_a_check_that_was_started_before_a_crash_is_cancelled_when_its_head_was_replaced(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    path = make_repository(**{"project.bass": START})
    a, b = git(path, "rev-parse", "HEAD"), commit(path)
    async with small_loop(path, tmp_path / "data") as loop:
        await pushed(loop, a, "a", "0" * 40)
        await until(lambda: loop.standin.check_runs)  # it waits for a runner
    async with small_loop(path, tmp_path / "data", standin=loop.standin) as loop, loop.runner():
        await pushed(loop, b, "b", a)
        await loop.inbox.finished("a")
        await loop.inbox.finished("b")
        assert [run["conclusion"] for run in loop.standin.check_runs] == ["cancelled", "success"]


async def test_a_push_back_to_an_earlier_head_runs_it_again_and_so_does_a_rerun(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    path = make_repository(**{"project.bass": START})
    a, b = git(path, "rev-parse", "HEAD"), commit(path)
    async with small_loop(path, tmp_path / "data") as loop, loop.runner(ready=False) as runner:
        await pushed(loop, a, "a", "0" * 40)
        await until(lambda: runner.told)
        await pushed(loop, b, "b", a)
        await loop.inbox.finished("a")
        runner.going.set()
        await loop.inbox.finished("b")
        again = await loop.standin.payload("check_suite", "rerequested", ref=a)
        await loop.deliver(again, "rerun")
        await loop.inbox.finished("rerun")
        await pushed(loop, a, "back", b)
        await loop.inbox.finished("back")
        runs = [run["conclusion"] for run in loop.standin.check_runs if run["head_sha"] == a]
        assert runs == ["cancelled", "success"]


async def test_the_operator_can_let_superseded_runs_finish(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    path = make_repository(**{"project.bass": START})
    a, b = git(path, "rev-parse", "HEAD"), commit(path)
    policies = PolicyCache(Policy(supersede=False))
    async with (
        small_loop(path, tmp_path / "data", policies=policies) as loop,
        loop.runner(ready=False) as runner,
    ):
        await pushed(loop, a, "a", "0" * 40)
        await until(lambda: runner.told)
        await pushed(loop, b, "b", a)
        await until(lambda: len(runner.told) == 2)
        runner.going.set()
        await loop.inbox.finished("a")
        await loop.inbox.finished("b")
        assert conclusion(loop, a) == conclusion(loop, b) == "success"


async def test_an_event_tells_which_head_on_which_branch_it_replaces(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    path = make_repository(**{"project.bass": START})
    a, b = git(path, "rev-parse", "HEAD"), commit(path)
    async with small_loop(path, tmp_path / "data") as loop:
        loop.standin.add_user("stranger")
        for name, action, options, place in (
            ("push", None, {}, "main"),
            ("check_suite", "requested", {}, "main"),
            ("pull_request", "synchronize", {}, "main"),
            ("pull_request", "synchronize", {"fork": "stranger", "number": 7}, "#7"),
        ):
            payload = await loop.standin.payload(name, action, ref=b, **options)
            if name == "pull_request":
                payload["before"] = a
            event = event_of(name, payload)
            assert event.head is not None
            assert (event.replaced_head, event.head.branch_or_pull) == (a, place)
        for name, action in (("pull_request", "opened"), ("check_suite", "rerequested")):
            payload = await loop.standin.payload(name, action, ref=b)
            assert event_of(name, payload).replaced_head is None
