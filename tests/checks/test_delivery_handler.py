"""The effects of `.bassloop.toml` on a repository's deliveries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
import trio

from bassloop.access.policy import OperatorRules, Policy, Rules
from bassloop.access.policy_lookup import PolicyCache
from bassloop.repository_files import CONFIG_FILE
from bassloop.store import Topic
from tests.github.made import event_of
from tests.repositories import commit, git
from tests.small_loop import small_loop

if TYPE_CHECKING:
    from pathlib import Path

    from tests.repositories import MakeRepository

HOOK = """
(defn start-it [client sha]
  (client:start-check
    (with-image ($ sh -c "true") {:repository "alpine" :platform {:os "linux"}})
    "NAME" sha))

(defn github-hook [{:event kind :payload payload} client]
  (case kind
    "pull_request" (start-it client payload:pull_request:head:sha)
    "check_suite" (start-it client payload:check_suite:head_sha)
    "merge_group" (start-it client payload:merge_group:head_sha)
    "repository_dispatch" (start-it client payload:client_payload:sha)))
"""
IT = HOOK.replace("NAME", "it")


def owners(text: str, hook: str = IT) -> dict[str, str]:
    return {"project.bass": hook, CONFIG_FILE: text}


async def test_a_bot_and_a_merge_queue_use_the_runners_that_the_owners_named(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    path = make_repository(**owners('fallback = ["nobody", "reader", "ci"]'))
    async with small_loop(path, tmp_path) as loop:
        loop.standin.add_user("dependabot[bot]", type="Bot")
        loop.standin.add_user("reader", permission="read")
        loop.standin.add_user("ci", permission="write")
        async with loop.runner("reader") as refused, loop.runner("ci") as ci:
            await loop.deliver(
                await loop.standin.payload("check_suite", sender="dependabot[bot]"), "bot"
            )
            assert (await loop.inbox.finished("bot")).state == "done"
            assert "on **ci**'s runner" in loop.check_run()["output"]["summary"]
            assert "dependabot" in loop.check_run()["output"]["summary"]
            commit(path)
            await loop.deliver(await loop.standin.payload("merge_group"), "queue", "merge_group")
            assert (await loop.inbox.finished("queue")).state == "done"
            assert loop.check_run()["conclusion"] == "success"
            assert (len(ci.told), refused.told) == (2, [])
            # Whose runner is there is preferred.
            commit(path)
            async with loop.runner() as own:
                await loop.deliver(await loop.standin.payload("check_suite"), "own")
                await loop.inbox.finished("own")
                assert (len(ci.told), len(own.told)) == (2, 1)


async def test_a_bots_check_without_fallback_runners_does_not_wait_and_names_the_fix(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with small_loop(make_repository(**{"project.bass": IT}), tmp_path) as loop:
        loop.standin.add_user("dependabot[bot]", type="Bot")
        await loop.deliver(await loop.standin.payload("check_suite", sender="dependabot[bot]"), "g")
        assert (await loop.inbox.finished("g")).state == "done"
        said = loop.check_run()
        assert said["conclusion"] == "action_required"
        assert 'fallback = ["LOGIN"]' in said["output"]["summary"]
        assert ".bassloop.toml on main" in said["output"]["summary"]


async def test_a_forks_head_does_not_fall_back(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    path = make_repository(**owners('fallback = ["ci"]\nrunner_wait = 0'))
    async with small_loop(path, tmp_path) as loop:
        loop.standin.add_user("stranger")
        loop.standin.add_user("ci", permission="write")
        async with loop.runner("ci") as ci:
            payload = await loop.standin.payload("pull_request", fork="stranger")
            await loop.deliver(payload, "g", "pull_request")
            await loop.inbox.finished("g")
            assert loop.check_run()["conclusion"] == "action_required"
            assert ci.told == []


async def test_the_bases_hook_is_evaluated_for_a_forks_head_and_for_no_other(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    path = make_repository(**owners('hooks_from = "base"', HOOK.replace("NAME", "from main")))
    git(path, "checkout", "--quiet", "-b", "change")
    (path / "project.bass").write_text(HOOK.replace("NAME", "from the head"))
    (path / CONFIG_FILE).write_text('hooks_from = "head"')
    head = commit(path)
    async with small_loop(path, tmp_path) as loop:
        loop.standin.default_branch = "main"
        loop.standin.add_user("stranger")
        async with loop.runner("stranger"), loop.runner():
            payload = await loop.standin.payload(
                "pull_request", ref=head, branch="change", fork="stranger"
            )
            await loop.deliver(payload, "fork", "pull_request")
            await loop.inbox.finished("fork")
            [only] = loop.standin.check_runs
            assert (only["name"], only["head_sha"]) == ("from main", head)
            payload = await loop.standin.payload("check_suite", ref=head, branch="change")
            await loop.deliver(payload, "own")
            await loop.inbox.finished("own")
            assert loop.check_run("from the head")["conclusion"] == "success"


@pytest.mark.parametrize(("hooks_from", "name"), [("base", "weak"), ("default", "from main")])
async def test_a_forks_author_can_choose_the_base_but_not_the_default_branch(
    make_repository: MakeRepository, tmp_path: Path, hooks_from: str, name: str
) -> None:
    policy = f'hooks_from = "{hooks_from}"'
    path = make_repository(**owners(policy, HOOK.replace("NAME", "from main")))
    git(path, "branch", "change")
    git(path, "checkout", "--quiet", "-b", "old")
    (path / "project.bass").write_text(HOOK.replace("NAME", "weak"))
    commit(path)
    git(path, "checkout", "--quiet", "change")
    head = commit(path)
    async with small_loop(path, tmp_path) as loop:
        loop.standin.default_branch = "main"
        loop.standin.add_user("stranger")
        async with loop.runner("stranger"):
            payload = await loop.standin.payload(
                "pull_request", ref=head, branch="change", fork="stranger"
            )
            payload["pull_request"]["base"]["ref"] = "old"
            await loop.deliver(payload, "g", "pull_request")
            await loop.inbox.finished("g")
        assert [run["name"] for run in loop.standin.check_runs] == [name]


async def test_a_forks_event_starts_checks_of_its_own_head_only(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    hook = IT.replace("payload:pull_request:head:sha", '"' + "a" * 40 + '"')
    async with small_loop(make_repository(**{"project.bass": hook}), tmp_path) as loop:
        loop.standin.add_user("stranger")
        async with loop.runner("stranger") as runner:
            payload = await loop.standin.payload("pull_request", fork="stranger")
            await loop.deliver(payload, "g", "pull_request")
            await loop.inbox.finished("g")
            assert not runner.told
            [said] = loop.standin.check_runs
            assert (said["name"], said["conclusion"]) == ("project.bass", "failure")
            assert "checks of its own head" in said["output"]["summary"]


async def test_events_without_a_commit_evaluate_the_default_branchs_hook_if_the_owners_allow_it(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    path = make_repository(**{"project.bass": IT})
    async with small_loop(path, tmp_path) as loop, loop.runner() as runner:
        payload = await loop.standin.payload("repository_dispatch")
        await loop.deliver(payload, "g1", "repository_dispatch")
        ignored = await loop.inbox.finished("g1")
        assert (ignored.state, runner.told) == ("ignored", [])
        assert ignored.error == "repository_dispatch is not among the events of .bassloop.toml"

        (path / CONFIG_FILE).write_text('events = ["repository_dispatch"]')
        head = commit(path)
        payload = await loop.standin.payload("repository_dispatch")
        payload["client_payload"]["sha"] = head
        await loop.deliver(payload, "g2", "repository_dispatch")
        assert (await loop.inbox.finished("g2")).state == "done"
        assert (loop.check_run()["head_sha"], loop.check_run()["conclusion"]) == (head, "success")


async def test_an_invalid_file_is_reported_on_its_check_and_nothing_is_evaluated(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    path = make_repository(**owners('hold = "everybody"'))
    async with small_loop(path, tmp_path) as loop, loop.runner() as runner:
        await loop.deliver(await loop.standin.payload("check_suite"), "g1")
        assert (await loop.inbox.finished("g1")).state == "done"
        [said] = loop.standin.check_runs
        assert (said["name"], said["conclusion"]) == (CONFIG_FILE, "failure")
        assert "hold: '" in said["output"]["title"]
        assert runner.told == []
        # The push that mends it is heeded at once.
        (path / CONFIG_FILE).write_text('hold = "outsiders"')
        commit(path)
        await loop.deliver(await loop.standin.payload("check_suite"), "g2")
        await loop.inbox.finished("g2")
        assert loop.check_run()["conclusion"] == "success"


async def test_the_time_limit_of_a_check_depends_on_its_name(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    path = make_repository(**owners("[checks]\nit = 0.05\nother = 500"))
    async with small_loop(path, tmp_path) as loop, loop.runner(ready=False):
        await loop.deliver(await loop.standin.payload("check_suite"), "g1")
        await loop.inbox.finished("g1")
        assert loop.check_run()["conclusion"] == "timed_out"
        assert "check_limit" in loop.check_run()["output"]["title"]


async def test_the_operators_rules_for_a_repository_apply(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    path = make_repository(**owners("check_limit = 500"))
    operator = OperatorRules(repository={"octocat/hello": Rules(check_limit=0.05)})
    async with (
        small_loop(path, tmp_path, policies=PolicyCache(Policy(), operator)) as loop,
        loop.runner(ready=False),
    ):
        await loop.deliver(await loop.standin.payload("check_suite"), "g1")
        await loop.inbox.finished("g1")
        assert loop.check_run()["conclusion"] == "timed_out"


async def test_a_push_makes_all_nodes_forget_the_repositorys_policy(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    path = make_repository(**owners("supersede = true"))
    async with small_loop(path, tmp_path) as loop:
        payload = await loop.standin.payload("push")
        push = event_of("push", payload)
        assert push.repository is not None
        repo = loop.core.github.repository(push.installation_id or 0, "octocat", "hello")
        theirs, heard = PolicyCache(), trio.Event()
        assert (await theirs.policy_for(push.repository, repo)).supersede
        (path / CONFIG_FILE).write_text("supersede = false")
        commit(path)
        theirs.apply_notification("999")
        assert (await theirs.policy_for(push.repository, repo)).supersede

        def hear(key: str | None) -> None:
            theirs.apply_notification(key)
            heard.set()

        loop.store.notifications.subscribe(Topic.POLICIES, hear)
        await loop.deliver(payload, "g1", event="push")
        await heard.wait()
        assert not (await theirs.policy_for(push.repository, repo)).supersede


async def test_a_policy_from_before_a_push_is_not_cached_after_it(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    path = make_repository(**owners("supersede = true"))
    async with small_loop(path, tmp_path) as loop:
        push = event_of("push", await loop.standin.payload("push"))
        assert push.repository is not None
        repo = loop.core.github.repository(push.installation_id or 0, "octocat", "hello")
        policies, read = loop.core.policies, repo.file

        class Meanwhile:
            """A repository whose owners push while their file is on its way."""

            async def file(self, name: str, ref: str | None) -> bytes | None:
                content = await read(name, ref)
                (path / CONFIG_FILE).write_text("supersede = false")
                commit(path)
                policies.apply_event(push)
                return content

        assert (await policies.policy_for(push.repository, cast("Any", Meanwhile()))).supersede
        assert not (await policies.policy_for(push.repository, repo)).supersede
