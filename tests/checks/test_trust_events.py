"""Approvals, merge queues, re-runs and fork heads obey the policy, and so do heads that say otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.checks.test_trusted import (
    BOTH,
    TRUSTED,
    checked,
    open_loop_with_policy,
    output_text,
    trusted_runner,
)
from tests.checks.test_user_actions import PULL, press, pulled
from tests.repositories import commit, git
from tests.until import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.repositories import MakeRepository

MERGE = """
(defn github-hook [event client]
  (client:start-check
    (with-image ($ sh -c "true") {:repository "alpine" :platform {:os "linux"}})
    "it" event:payload:merge_group:head_sha))
"""


async def test_a_merge_queue_runs_on_a_trusted_runner_and_on_no_other(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with (
        open_loop_with_policy(make_repository, tmp_path, TRUSTED, MERGE) as loop,
        loop.runner() as sender,
        trusted_runner(loop) as trusted,
    ):
        await loop.deliver(await loop.standin.payload("merge_group"), "g", "merge_group")
        await loop.inbox.finished("g")
        assert loop.check_run()["conclusion"] == "success"
        assert not sender.told
        [told] = trusted.told
        assert told["bassloop-event"] == "merge_group"
        assert told["bassloop-isolation"].startswith(f"{told['bassloop-head']}/")


async def test_a_merge_queue_without_a_trusted_runner_is_not_green(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with open_loop_with_policy(make_repository, tmp_path, BOTH, MERGE) as loop, loop.runner():
        await loop.deliver(await loop.standin.payload("merge_group"), "g", "merge_group")
        await loop.inbox.finished("g")
        assert loop.check_run()["conclusion"] == "action_required"


async def test_a_trusted_check_stays_on_trusted_runners_whoever_runs_it_again(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with (
        open_loop_with_policy(make_repository, tmp_path, TRUSTED, PULL) as loop,
        loop.runner() as sender,
        trusted_runner(loop) as trusted,
    ):
        await checked(loop)
        await press(loop, "rerun", "button", name="it", sender="octocat")
        await checked(loop, "again", action="rerequested")
        assert len(trusted.told) == 3
        assert not sender.told


async def test_an_approval_allows_a_fork_on_trusted_runners_and_the_approvers_without_lowering_the_requirements(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with open_loop_with_policy(make_repository, tmp_path, BOTH, PULL) as loop:
        loop.standin.add_user("stranger")
        loop.standin.add_user("maintainer", permission="write")
        async with loop.runner("maintainer") as approver:
            await pulled(loop, "g1")
            await loop.inbox.finished("g1")
            assert loop.check_run()["conclusion"] == "action_required"
            await press(loop, "approve", "yes", name="it", sender="maintainer", fork="stranger")
            await until(lambda: len(approver.told) == 1 and not loop.inbox.statistics()["handling"])
            # The approver's runner isn't a trusted one.
            assert loop.check_run()["conclusion"] == "action_required"
            assert "no trusted runner has verified that" in output_text(loop.check_run())


async def test_an_approval_applies_to_one_commit_and_not_to_a_later_push(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with open_loop_with_policy(make_repository, tmp_path, TRUSTED, PULL, wait="60") as its:
        its.standin.add_user("stranger")
        its.standin.add_user("maintainer", permission="write")
        await pulled(its, "g1")
        await until(its.shown)
        approved = its.check_run()["head_sha"]
        await press(its, "approve", "yes", name="it", sender="maintainer", fork="stranger")
        path = its.standin.repository_path
        (path / "evil").write_text("pushed after the approval")
        pushed = commit(path)
        await pulled(its, "g2")
        await until(lambda: its.check_run()["head_sha"] == pushed)
        async with trusted_runner(its) as trusted:
            await its.inbox.finished("g1")
            assert [told["bassloop-head"] for told in trusted.told] == [approved]
            assert its.check_run()["conclusion"] is None
            # A reader's approval is none.
            its.standin.add_user("reader", permission="read")
            answer = await press(its, "approve", "no", name="it", sender="reader", fork="stranger")
            assert "reader may not approve this head" in answer
            assert len(trusted.told) == 1
            await press(its, "approve", "too", name="it", sender="maintainer", fork="stranger")
            await its.inbox.finished("g2")
            assert [told["bassloop-head"] for told in trusted.told] == [approved, pushed]


async def test_a_merge_queues_own_file_does_not_weaken_the_policy(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with (
        open_loop_with_policy(make_repository, tmp_path, TRUSTED, MERGE) as its,
        its.runner() as sender,
        trusted_runner(its) as trusted,
    ):
        path = its.standin.repository_path
        git(path, "checkout", "--quiet", "-b", "gh-readonly-queue/main/pr-1")
        (path / ".bassloop.toml").write_text('[trust.checks]\nit = "sender"\n')
        sha = commit(path)
        git(path, "checkout", "--quiet", "main")
        payload = await its.standin.payload("merge_group", ref="gh-readonly-queue/main/pr-1")
        await its.deliver(payload, "g", "merge_group")
        await its.inbox.finished("g")
        assert its.check_run()["conclusion"] == "success"
        assert not sender.told
        assert [told["bassloop-head"] for told in trusted.told] == [sha]


async def test_a_heads_own_file_does_not_weaken_the_policy(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    strict = '[checks.it]\nrun = "true"\nrunners = "trusted"\n[trust]\nrunners = ["alice"]\n'
    async with (
        open_loop_with_policy(make_repository, tmp_path, strict, PULL) as loop,
        loop.runner() as sender,
        trusted_runner(loop) as trusted,
    ):
        path = loop.standin.repository_path
        git(path, "checkout", "--quiet", "-b", "weak")
        (path / ".bassloop.toml").write_text('[checks.it]\nrun = "true"\nrunners = "sender"\n')
        sha = commit(path)
        await loop.deliver(await loop.standin.payload("check_suite", ref="weak"), "g")
        await loop.inbox.finished("g")
        runs = [run for run in (await loop.store.runs.newest()).items if run.check_name == "it"]
        assert {run.head_sha for run in runs} == {sha}
        assert not sender.told
        assert trusted.told
