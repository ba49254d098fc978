"""A push cancels what still runs for the head that it replaces, there and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bassloop.access.policy import Policy
from bassloop.access.policy_cache import PolicyCache
from bassloop.checks import check_output
from tests.github.made import event_of
from tests.repositories import commit, git
from tests.small_loop import START, small_loop
from tests.until import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.repositories import MakeRepository
    from tests.small_loop import SmallLoop


async def pushed(its: SmallLoop, ref: str, guid: str, before: str, **options: Any) -> None:
    payload = await its.standin.payload("check_suite", ref=ref, **options)
    payload["check_suite"]["before"] = before
    assert await its.deliver(payload, guid) == 202


def conclusion(its: SmallLoop, sha: str) -> str | None:
    found = [run for run in its.standin.check_runs if run["head_sha"] == sha]
    assert len(found) == 1
    return found[0]["conclusion"]


@pytest.mark.parametrize("connected", [True, False])
async def test_a_push_cancels_what_runs_or_waits_for_the_head_before_it(
    make_repository: MakeRepository, tmp_path: Path, connected: bool
) -> None:
    path = make_repository(**{"project.bass": START})
    a, b = git(path, "rev-parse", "HEAD"), commit(path)
    async with (
        small_loop(path, tmp_path / "data") as its,
        its.runner(ready=False) as runner,
    ):
        others = 0 if connected else 1000
        runner.user_id += others
        await pushed(its, a, "a", "0" * 40)
        await until(lambda: its.shown() and (runner.told or not connected))
        await pushed(its, b, "b", a)
        assert (await its.inbox.finished("a")).state == "done"
        assert conclusion(its, a) == "cancelled"
        assert f"main is at {b[:12]}" in str(its.standin.check_runs[0]["output"])
        if connected:
            runner.going.set()
            await its.inbox.finished("b")
            assert conclusion(its, b) == "success"


async def test_another_branch_or_the_same_commit_elsewhere_goes_on(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    path = make_repository(**{"project.bass": START})
    a, b = git(path, "rev-parse", "HEAD"), commit(path)
    async with small_loop(path, tmp_path / "data") as its, its.runner(ready=False) as runner:
        await pushed(its, a, "a", "0" * 40, branch="one")
        await until(lambda: runner.told)
        await pushed(its, b, "b", a, branch="two")
        await until(lambda: len(runner.told) == 2)
        await pushed(its, a, "a2", "0" * 40, branch="three")
        await until(lambda: its.inbox.statistics()["waiting"] == 0)
        await pushed(its, b, "b2", a, branch="one")
        await until(lambda: its.inbox.statistics()["waiting"] == 0)
        runner.going.set()
        for guid in ("a", "b", "a2", "b2"):
            await its.inbox.finished(guid)
        assert conclusion(its, a) == conclusion(its, b) == "success"


async def test_a_head_that_was_replaced_before_its_turn_came_is_skipped_with_one_notice(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    path = make_repository(**{"project.bass": START})
    a, b = git(path, "rev-parse", "HEAD"), commit(path)
    async with small_loop(path, tmp_path / "data") as its, its.runner() as runner:
        its.inbox.at_once = 0
        await pushed(its, a, "a", "0" * 40)
        await pushed(its, b, "b", a)
        its.inbox.at_once = 64
        its.inbox.wake()
        skipped = await its.inbox.finished("a")
        assert (skipped.state, skipped.error) == ("done", f"superseded: main is at {b[:12]} now")
        await its.inbox.finished("b")
        (notice,) = [run for run in its.standin.check_runs if run["head_sha"] == a]
        assert (notice["name"], notice["conclusion"]) == (check_output.SUPERSEDED, "cancelled")
        assert f"main is at {b[:12]} now" in notice["output"]["summary"].replace("\\", "")
        assert conclusion(its, b) == "success"
        assert len(runner.told) == 1
        again = await its.standin.payload("check_run", "rerequested", ref=a, check_run=notice["id"])
        await its.deliver(again, "again")
        await its.inbox.finished("again")
        assert len(runner.told) == 2


async def test_a_check_that_was_started_before_a_crash_is_cancelled_when_its_head_was_replaced(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    path = make_repository(**{"project.bass": START})
    a, b = git(path, "rev-parse", "HEAD"), commit(path)
    async with small_loop(path, tmp_path / "data") as its:
        await pushed(its, a, "a", "0" * 40)
        await until(lambda: its.standin.check_runs)  # it waits for a runner
    async with small_loop(path, tmp_path / "data", standin=its.standin) as its, its.runner():
        await pushed(its, b, "b", a)
        await its.inbox.finished("a")
        await its.inbox.finished("b")
        assert [run["conclusion"] for run in its.standin.check_runs] == ["cancelled", "success"]


async def test_coming_back_to_a_head_runs_it_anew_and_so_does_a_rerun(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    path = make_repository(**{"project.bass": START})
    a, b = git(path, "rev-parse", "HEAD"), commit(path)
    async with small_loop(path, tmp_path / "data") as its, its.runner(ready=False) as runner:
        await pushed(its, a, "a", "0" * 40)
        await until(lambda: runner.told)
        await pushed(its, b, "b", a)
        await its.inbox.finished("a")
        runner.going.set()
        await its.inbox.finished("b")
        again = await its.standin.payload("check_suite", "rerequested", ref=a)
        await its.deliver(again, "rerun")
        await its.inbox.finished("rerun")
        await pushed(its, a, "back", b)
        await its.inbox.finished("back")
        runs = [run["conclusion"] for run in its.standin.check_runs if run["head_sha"] == a]
        assert runs == ["cancelled", "success"]


async def test_where_the_operator_says_so_all_run_to_their_end(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    path = make_repository(**{"project.bass": START})
    a, b = git(path, "rev-parse", "HEAD"), commit(path)
    policies = PolicyCache(Policy(supersede=False))
    async with (
        small_loop(path, tmp_path / "data", policies=policies) as its,
        its.runner(ready=False) as runner,
    ):
        await pushed(its, a, "a", "0" * 40)
        await until(lambda: runner.told)
        await pushed(its, b, "b", a)
        await until(lambda: len(runner.told) == 2)
        runner.going.set()
        await its.inbox.finished("a")
        await its.inbox.finished("b")
        assert conclusion(its, a) == conclusion(its, b) == "success"


async def test_what_an_event_replaces_and_where(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    path = make_repository(**{"project.bass": START})
    a, b = git(path, "rev-parse", "HEAD"), commit(path)
    async with small_loop(path, tmp_path / "data") as its:
        its.standin.add_user("stranger")
        for name, action, options, place in (
            ("push", None, {}, "main"),
            ("check_suite", "requested", {}, "main"),
            ("pull_request", "synchronize", {}, "main"),
            ("pull_request", "synchronize", {"fork": "stranger", "number": 7}, "#7"),
        ):
            payload = await its.standin.payload(name, action, ref=b, **options)
            if name == "pull_request":
                payload["before"] = a
            event = event_of(name, payload)
            assert event.head is not None
            assert (event.replaced_head, event.head.place) == (a, place)
        for name, action in (("pull_request", "opened"), ("check_suite", "rerequested")):
            payload = await its.standin.payload(name, action, ref=b)
            assert event_of(name, payload).replaced_head is None
