"""Trusted runners: what has to be verified is never green on the sender's word alone."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncssh
import pytest

from bassloop.checks.starting import start_verification
from bassloop.checks.user_actions import Control, NotAllowed
from bassloop.github import GitHubError, User
from bassloop.standin.state import Team
from bassloop.store import open_store
from tests.checks.test_statements import KEY, SigningRuntime, list_keys, signing_runner
from tests.checks.test_user_actions import PULL, buttons, conclusions, press, pulled
from tests.small_loop import START, SmallLoop, small_loop
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from bassloop.checks.loop_state import CheckHandle
    from tests.repositories import MakeRepository

TRUSTED_KEY = asyncssh.generate_private_key("ssh-ed25519")
BOTH = '[trust]\nrunners = ["alice"]\n[trust.checks]\nit = "both"\n'
TRUSTED = '[trust]\nrunners = ["alice"]\n[trust.checks]\nit = "trusted"\n'
SPOT = '[trust]\nrunners = ["alice"]\nspot_check = 1.0\n'
NAMED = '[trust]\nrunners = ["alice"]\n'
SIGNED = "[trust]\nrequire_signature = true\n"


@asynccontextmanager
async def open_loop_with_policy(
    make_repository: MakeRepository, folder: Path, policy: str, hook: str = START, wait: str = "0"
) -> AsyncGenerator[SmallLoop]:
    """A loop with a policy, and alice, who can write to the repository."""
    files = {"project.bass": hook, ".bassloop.toml": f"runner_wait = {wait}\n{policy}"}
    async with small_loop(make_repository(**files), folder) as loop:
        line = TRUSTED_KEY.export_public_key().decode().strip()
        loop.standin.add_user("alice", [line], permission="write")
        yield loop


@asynccontextmanager
async def trusted_runner(loop: SmallLoop, **changes: Any) -> AsyncGenerator[SigningRuntime]:
    """A connected runner of alice's, which signs."""
    async with loop.runner("alice") as plain:
        pass
    runtime = SigningRuntime(
        id="alice's",
        user_id=plain.user_id,
        login="alice",
        platform=plain.platform,
        priority=0,
        connected_at=0.0,
        open_channel=plain.open_channel,
        kind="bassloop",
        key=TRUSTED_KEY.public_data,
        by=TRUSTED_KEY,
        **changes,
    )
    async with loop.core.pool.registered(runtime):
        yield runtime


async def checked(loop: SmallLoop, guid: str = "g", **changes: Any) -> dict[str, Any]:
    """The check run once an event is handled."""
    payload = await loop.standin.payload("check_suite")
    await loop.deliver({**payload, **changes}, guid)
    await loop.inbox.finished(guid)
    return loop.check_run()


def output_text(check: dict[str, Any]) -> str:
    return str(check["output"]["title"] + check["output"]["summary"])


@pytest.mark.parametrize("policy", [BOTH, SPOT], ids=["both", "spot check"])
async def test_a_check_is_green_if_both_runners_report_success_and_it_names_the_verifier(
    make_repository: MakeRepository, tmp_path: Path, policy: str
) -> None:
    async with (
        open_loop_with_policy(make_repository, tmp_path, policy) as loop,
        loop.runner() as sender,
        trusted_runner(loop) as trusted,
    ):
        check = await checked(loop)
        assert check["conclusion"] == "success"
        assert "verified by alice: same thunk, same outcome" in output_text(check)
        verification = loop.check_run("it (trusted)")
        assert verification["conclusion"] == "success"
        assert verification["external_id"] in output_text(check)
        assert [len(sender.told), len(trusted.told)] == [1, 1]
        runs = [await loop.store.runs.get(each["external_id"]) for each in (check, verification)]
        assert len({run.thunk_digest for run in runs if run}) == 1


async def test_a_check_starts_again_if_its_verification_could_not_be_started(
    make_repository: MakeRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = [GitHubError("GitHub is away for a moment", status=503)]

    async def start(*args: Any) -> CheckHandle:
        if errors:
            raise errors.pop()
        return await start_verification(*args)

    monkeypatch.setattr("bassloop.checks.starting.start_verification", start)
    async with (
        open_loop_with_policy(make_repository, tmp_path, BOTH) as loop,
        loop.runner(),
        trusted_runner(loop),
    ):
        assert (await checked(loop))["conclusion"] == "success"
        assert not errors


@pytest.mark.parametrize("policy", [BOTH, SPOT], ids=["both", "spot check"])
async def test_a_false_success_of_the_senders_runner_is_not_green(
    make_repository: MakeRepository, tmp_path: Path, policy: str
) -> None:
    async with (
        open_loop_with_policy(make_repository, tmp_path, policy) as loop,
        loop.runner(),
        trusted_runner(loop, failure="exit status 1: sh -c true"),
    ):
        check = await checked(loop)
        assert check["conclusion"] == "failure"
        assert (
            "differs: it passed on octocat's runner, and the same thunk failed on alice's"
            in output_text(check)
        )


@pytest.mark.parametrize("policy", [BOTH, SPOT], ids=["both", "spot check"])
async def test_without_a_trusted_runner_the_check_is_not_green(
    make_repository: MakeRepository, tmp_path: Path, policy: str
) -> None:
    async with open_loop_with_policy(make_repository, tmp_path, policy) as loop, loop.runner():
        check = await checked(loop)
        assert check["conclusion"] == "action_required"
        assert "no trusted runner has verified that" in output_text(check)
        assert "no runner is connected" in output_text(check)


async def test_a_trusted_check_never_runs_on_the_senders_machine(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with (
        open_loop_with_policy(make_repository, tmp_path, TRUSTED) as loop,
        loop.runner() as sender,
    ):
        check = await checked(loop)
        assert check["conclusion"] == "action_required"
        assert "no trusted runner has run this" in output_text(check) + str(
            (await loop.store.runs.newest()).items[0].message
        )
        async with trusted_runner(loop) as trusted:
            payload = await loop.standin.payload("check_suite")
            await loop.deliver({**payload, "action": "rerequested"}, "again")
            await loop.inbox.finished("again")
            assert loop.check_run()["conclusion"] == "success"
        assert not sender.told
        [told] = trusted.told
        commit, _, thunk = told["bassloop-isolation"].partition("/")
        assert (commit, len(thunk)) == (told["bassloop-head"], 64)


async def test_nobody_is_trusted_who_can_not_write_to_the_repository(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with open_loop_with_policy(make_repository, tmp_path, TRUSTED) as loop, loop.runner():
        loop.standin.add_user("alice", loop.standin.account("alice").keys, permission="read")
        async with trusted_runner(loop) as trusted:
            check = await checked(loop)
        assert check["conclusion"] == "action_required"
        assert "trusts no runner" in output_text(check)
        assert not trusted.told


@pytest.mark.parametrize(
    "changes", [{"changes": {"log": "0" * 64}}, {"silent": True}], ids=["wrong", "missing"]
)
async def test_a_trusted_runners_result_has_to_be_signed(
    make_repository: MakeRepository, tmp_path: Path, changes: dict[str, Any]
) -> None:
    async with (
        open_loop_with_policy(make_repository, tmp_path, BOTH) as loop,
        loop.runner(),
        trusted_runner(loop, **changes),
    ):
        assert (await checked(loop))["conclusion"] == "action_required"
        assert loop.check_run("it (trusted)")["conclusion"] == "failure"


async def test_a_trusted_runner_that_answers_differently_twice_is_not_green(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with (
        open_loop_with_policy(make_repository, tmp_path, TRUSTED) as loop,
        trusted_runner(loop, failure="exit status 1") as trusted,
    ):
        first = await checked(loop)
        assert first["conclusion"] == "failure"
        trusted.failure = None
        second = await checked(loop, "again", action="rerequested")
        assert second["conclusion"] == "failure"
        assert "answers differently" in output_text(second)
        assert first["external_id"] in output_text(second)


async def test_a_policy_can_refuse_what_is_not_signed(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with open_loop_with_policy(make_repository, tmp_path, SIGNED) as loop, loop.runner():
        check = await checked(loop)
        assert check["conclusion"] == "failure"
        assert "has not signed what it ran" in output_text(check)


async def test_no_hook_can_start_a_check_with_the_name_of_a_verification(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    hook = START.replace('"it"', '"it (trusted)"')
    async with open_loop_with_policy(make_repository, tmp_path, BOTH, hook) as loop, loop.runner():
        await loop.deliver(await loop.standin.payload("check_suite"), "g")
        await loop.inbox.finished("g")
        assert not [run for run in loop.standin.check_runs if run["conclusion"] == "success"]


RESOLVES = """
(defn github-hook [event client]
  (run (with-image ($ sh -c "true") {:repository "alpine" :platform {:os "linux"}}))
  (client:start-check
    (with-image ($ sh -c "true") {:repository "alpine" :platform {:os "linux"}})
    "it" event:payload:check_suite:head_sha))
"""


async def test_a_hook_uses_no_untrusted_runner_for_what_a_trusted_one_has_to_run(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with (
        open_loop_with_policy(make_repository, tmp_path, BOTH, RESOLVES) as loop,
        loop.runner() as sender,
        trusted_runner(loop) as trusted,
    ):
        assert (await checked(loop))["conclusion"] == "success"
        assert [each.get("bassloop-run", "") != "" for each in sender.told] == [True]
        assert len(trusted.told) == 2


async def test_a_forks_head_runs_on_a_trusted_runner_once_it_is_approved(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with open_loop_with_policy(make_repository, tmp_path, BOTH, PULL) as loop:
        loop.standin.add_user("stranger")
        loop.standin.add_user("maintainer", permission="write")
        async with loop.runner("stranger") as sender, trusted_runner(loop) as trusted:
            await pulled(loop, "g1")
            await loop.inbox.finished("g1")
            assert loop.check_run()["conclusion"] == "action_required"
            assert "fork's head" in output_text(loop.check_run())
            assert not trusted.told
            await press(loop, "approve", "yes", name="it (trusted)", sender="maintainer")
            await until(lambda: loop.check_run()["conclusion"] == "success")
            [told] = trusted.told
            assert told["bassloop-fork"] == "true"
            assert told["bassloop-isolation"].startswith(f"{told['bassloop-head']}/")
            assert len(sender.told) == 2


async def test_a_verification_is_run_again_with_what_it_verifies(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with (
        open_loop_with_policy(make_repository, tmp_path, BOTH) as loop,
        loop.runner() as sender,
        trusted_runner(loop) as trusted,
    ):
        await checked(loop)
        await press(loop, "rerun", "again", name="it (trusted)", sender="octocat")
        await until(lambda: len(trusted.told) == 2 and not loop.inbox.statistics()["handling"])
        assert loop.check_run()["conclusion"] == "success"
        assert len(sender.told) == 2


async def test_a_spot_check_is_drawn_once_for_a_commit(tmp_path: Path) -> None:
    async with open_store(tmp_path / "loop.db", tmp_path / "blobs", synchronous="OFF") as store:
        assert await store.heads.draw_spot_check(1, "a" * 40, "it", True)
        assert await store.heads.draw_spot_check(1, "a" * 40, "it", False)
        assert not await store.heads.draw_spot_check(1, "b" * 40, "it", False)
        assert not await store.heads.draw_spot_check(1, "b" * 40, "it", True)


async def test_a_loop_that_was_killed_meanwhile_does_not_accept_the_senders_result_alone(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with (
        open_loop_with_policy(make_repository, tmp_path, BOTH, wait="600") as loop,
        loop.runner(),
    ):
        await loop.deliver(await loop.standin.payload("check_suite"), "g")
        await until(lambda: len(loop.standin.check_runs) == 2)

        async def passed() -> bool:
            runs = (await loop.store.runs.newest()).items
            return any(run.started_at for run in runs)

        await loop.until_stored(passed)
        standin = loop.standin
    async with (
        small_loop(standin.repository_path, tmp_path, standin=standin) as loop,
        loop.runner(),
    ):
        await loop.inbox.finished("g")
        await until(lambda: all(run["conclusion"] for run in standin.check_runs))
        assert "success" not in [run["conclusion"] for run in standin.check_runs]


DEPENDS = """
(defn github-hook [event client]
  (client:start-check
    (with-image (if (= event:payload:kind "honest") ($ sh -c "./test") ($ sh -c "true"))
      {:repository "alpine" :platform {:os "linux"}})
    "it" event:payload:check_suite:head_sha))
"""


@pytest.mark.parametrize("policy", [BOTH, SPOT], ids=["both", "spot check"])
async def test_a_verification_of_another_thunk_of_the_commit_does_not_count(
    make_repository: MakeRepository, tmp_path: Path, policy: str
) -> None:
    async with (
        open_loop_with_policy(make_repository, tmp_path, policy, DEPENDS) as loop,
        loop.runner(),
        trusted_runner(loop) as trusted,
    ):
        first = await checked(loop, kind="honest")
        assert first["conclusion"] == "success"
        # As if a newer head had superseded it, and the branch was set back since.
        stored = await loop.store.checks.of_run(first["external_id"])
        assert stored is not None
        await loop.store.checks.invalidate(stored.row)
        second = await checked(loop, "again", kind="a lie")
        assert second["id"] != first["id"]
        assert second["conclusion"] == "action_required"
        assert "another thunk" in output_text(second)
        assert len(trusted.told) == 1


async def test_cancelling_the_verification_of_ones_own_check_leaves_no_green_check(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with (
        open_loop_with_policy(make_repository, tmp_path, SPOT, wait="600") as loop,
        loop.runner(),
    ):
        await loop.deliver(await loop.standin.payload("check_suite"), "g")
        await until(lambda: len(loop.standin.check_runs) == 2 and loop.shown())
        await press(loop, "cancel", "no", name="it (trusted)", sender="octocat")
        await loop.inbox.finished("g")
        assert loop.check_run()["conclusion"] == "action_required"
        assert "cancelled by octocat" in output_text(loop.check_run())


# --- the button ---------------------------------------------------------------------------------------


async def test_a_trusted_runner_can_confirm_a_run_on_request_and_both_runs_are_linked(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with (
        open_loop_with_policy(make_repository, tmp_path, NAMED) as loop,
        loop.runner() as sender,
        trusted_runner(loop) as trusted,
    ):
        first = await checked(loop)
        assert first["conclusion"] == "success"
        assert buttons(loop, "it") == ["verify"]
        assert await press(loop, "verify", "pressed", name="it", sender="alice") == "done"
        second = loop.check_run()
        assert (second["id"] != first["id"], second["conclusion"]) == (True, "success")
        assert "verified by alice: same thunk, same outcome as on octocat's runner" in output_text(
            second
        )
        assert first["external_id"] in output_text(second)
        assert [len(sender.told), len(trusted.told)] == [1, 1]
        [told] = trusted.told
        assert told["bassloop-isolation"].startswith(f"{told['bassloop-head']}/")
        runs = [await loop.store.runs.get(each["external_id"]) for each in (first, second)]
        assert len({run.thunk_digest for run in runs if run}) == 1
        assert runs[0] is not None
        entries = await loop.store.journals.newest(runs[0].repository_id)
        actions = [each.action for each in entries]
        assert actions == ["verified", "signed", "started", "asked to verify", "started"]


async def test_a_trusted_runners_failure_is_not_undone_by_a_rerun(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with (
        open_loop_with_policy(make_repository, tmp_path, NAMED, PULL) as loop,
        loop.runner() as sender,
        trusted_runner(loop, failure="exit status 1: sh -c true"),
    ):
        assert (await checked(loop))["conclusion"] == "success"
        await press(loop, "verify", "pressed", name="it", sender="alice")
        differing = loop.check_run()
        assert differing["conclusion"] == "failure"
        assert "differs: it passed on octocat's runner" in output_text(differing)
        await press(loop, "rerun", "again", name="it", sender="octocat")
        assert len(sender.told) == 2
        assert loop.check_run()["conclusion"] == "failure"
        assert differing["external_id"] in output_text(loop.check_run())


TRUSTS = 'on_difference = "trust"\n'


@pytest.mark.parametrize("rule", ["", TRUSTS], ids=["fail", "trust"])
async def test_the_policy_decides_the_outcome_of_a_check_that_failed_and_passes_on_a_trusted_runner(
    make_repository: MakeRepository, tmp_path: Path, rule: str
) -> None:
    async with (
        open_loop_with_policy(make_repository, tmp_path, f"{NAMED}{rule}") as loop,
        trusted_runner(loop) as trusted,
        signing_runner(loop, failure="exit status 1"),
    ):
        list_keys(loop, KEY)
        assert (await checked(loop))["conclusion"] == "failure"
        assert buttons(loop, "it") == ["rerun", "verify"]
        await press(loop, "verify", "pressed", name="it", sender="alice")
        assert "differs: it failed on octocat's runner" in output_text(loop.check_run())
        assert "by this repository's policy, " in output_text(loop.check_run())
        assert loop.check_run()["conclusion"] == ("success" if rule else "failure")
        assert len(trusted.told) == 1


@pytest.mark.parametrize("rule", ["", TRUSTS], ids=["fail", "trust"])
async def test_the_policy_decides_in_the_same_way_for_both_runners(
    make_repository: MakeRepository, tmp_path: Path, rule: str
) -> None:
    policy = BOTH.replace("[trust.checks]", f"{rule}[trust.checks]")
    async with (
        open_loop_with_policy(make_repository, tmp_path, policy) as loop,
        trusted_runner(loop),
        signing_runner(loop, failure="exit status 1"),
    ):
        list_keys(loop, KEY)
        check = await checked(loop)
        assert check["conclusion"] == ("success" if rule else "failure")
        assert "differs: it failed on octocat's runner, and the same thunk passed" in output_text(
            check
        )
        actions = [each.action for each in await loop.store.journals.newest(await repository(loop))]
        assert "not verified" in actions


async def repository(loop: SmallLoop) -> int:
    return (await loop.store.runs.newest()).items[0].repository_id


async def test_another_trusted_user_is_preferred_to_the_sender(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    policy = BOTH.replace('["alice"]', '["octocat", "alice"]')
    async with open_loop_with_policy(make_repository, tmp_path, policy) as loop:
        list_keys(loop, KEY)
        async with signing_runner(loop) as sender, trusted_runner(loop) as trusted:
            assert (await checked(loop))["conclusion"] == "success"
            assert [len(sender.told), len(trusted.told)] == [1, 1]
        async with signing_runner(loop) as alone:
            await checked(loop, "alone", action="rerequested")
            assert loop.check_run()["conclusion"] == "success"
            assert len(alone.told) == 2


async def test_only_people_who_can_write_can_use_a_trusted_runner(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with (
        open_loop_with_policy(make_repository, tmp_path, NAMED, PULL) as loop,
        AsyncExitStack() as stack,
    ):
        loop.standin.add_user("stranger")
        await stack.enter_async_context(loop.runner("stranger"))
        trusted = await stack.enter_async_context(trusted_runner(loop))
        await pulled(loop, "g1")
        await loop.inbox.finished("g1")
        answer = await press(loop, "verify", "no", name="it", sender="stranger", fork="stranger")
        assert "stranger may not have this check verified" in answer
        # A press is no approval of a fork's head.
        await press(loop, "verify", "yes", name="it", sender="alice", fork="stranger")
        assert loop.check_run()["conclusion"] == "action_required"
        assert not trusted.told
        await press(loop, "approve", "approved", name="it", sender="alice", fork="stranger")
        await until(lambda: loop.check_run()["conclusion"] == "success")
        assert len(trusted.told) == 1


async def test_a_button_starts_one_verification_however_often_it_is_pressed(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with (
        open_loop_with_policy(make_repository, tmp_path, NAMED) as loop,
        loop.runner(),
        trusted_runner(loop) as trusted,
    ):
        run = (await checked(loop))["external_id"]
        control = Control(loop.core, loop.inbox)
        assert await control.is_any_verifiable(run)
        alice = loop.standin.account("alice")
        by = User(alice.id, "", alice.login)
        assert [await control.verify(run, by), await control.verify(run, by)] == [True, False]
        await until(lambda: conclusions(loop, "it") == ["success", "success"])
        assert len(trusted.told) == 1
        reader = loop.standin.add_user("reader", permission="read")
        with pytest.raises(NotAllowed):
            await control.verify(run, User(reader.id, "", reader.login))


async def test_after_no_trusted_runner_was_found_the_newest_run_offers_the_button_again(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with open_loop_with_policy(make_repository, tmp_path, NAMED) as loop, loop.runner():
        first = await checked(loop)
        await press(loop, "verify", "nobody", name="it", sender="alice")
        attempt = loop.check_run()
        assert (attempt["id"] != first["id"], attempt["conclusion"]) == (True, "action_required")
        assert buttons(loop, "it") == ["rerun", "verify"]
        async with trusted_runner(loop) as trusted:
            await press(loop, "verify", "again", name="it", sender="alice")
            assert len(trusted.told) == 1
        assert loop.check_run()["conclusion"] == "success"
        assert "same outcome as on octocat's runner" in output_text(loop.check_run())
        assert first["external_id"] in output_text(loop.check_run())


async def test_a_trusted_runner_that_signs_nothing_does_not_confirm_an_earlier_run(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with (
        open_loop_with_policy(make_repository, tmp_path, NAMED) as loop,
        loop.runner(),
        trusted_runner(loop, silent=True),
    ):
        await checked(loop)
        await press(loop, "verify", "pressed", name="it", sender="alice")
        assert loop.check_run()["conclusion"] == "failure"
        assert "has not signed what it ran" in output_text(loop.check_run())
        assert "differs" not in output_text(loop.check_run())


async def test_without_a_named_runner_there_is_no_button(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with (
        open_loop_with_policy(make_repository, tmp_path, SIGNED.replace("true", "false")) as loop,
        loop.runner(),
    ):
        run = (await checked(loop))["external_id"]
        assert buttons(loop, "it") == []
        assert not await Control(loop.core, loop.inbox).is_any_verifiable(run)
        assert "ignored" in await press(loop, "verify", "no", name="it", sender="alice")


# --- teams, and `runners` of a check -------------------------------------------------------------------

TEAM = '[trust]\nrunners = ["@octocat/release"]\n[trust.checks]\nit = "trusted"\n'


@pytest.mark.parametrize(
    ("permission", "members", "granted", "why"),
    [
        ("write", ("alice", "bob"), True, None),
        ("read", ("alice",), True, "@octocat/release can't write to octocat/hello"),
        ("write", ("bob",), True, "no runner is connected"),
        ("write", ("alice",), False, "grant the App the permission members=read"),
        (None, (), True, "the members of @octocat/release can't be read"),
    ],
)
async def test_a_team_is_trusted_if_its_members_are_known_and_it_can_write(
    make_repository: MakeRepository,
    tmp_path: Path,
    permission: str | None,
    members: tuple[str, ...],
    granted: bool,
    why: str | None,
) -> None:
    async with open_loop_with_policy(make_repository, tmp_path, TEAM) as loop:
        loop.standin.add_user("bob")
        if granted:
            loop.standin.permissions = {**loop.standin.permissions, "members": "read"}
        if permission is not None:
            loop.standin.teams["release"] = Team(members, permission)
        async with loop.runner(), trusted_runner(loop) as trusted:
            check = await checked(loop)
            if why is None:
                assert check["conclusion"] == "success"
                await checked(loop, "again", action="rerequested")
                asked = [path for _, path, _ in loop.standin.requests if "/teams/" in path]
                assert len(asked) == 2, "a team is cached"
            else:
                assert check["conclusion"] == "action_required"
                runs = (await loop.store.runs.newest()).items
                assert why in output_text(check) + str(runs[0].message)
                assert not trusted.told


async def test_a_team_of_another_organization_is_not_trusted(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    policy = TEAM.replace("@octocat", "@mallory")
    async with (
        open_loop_with_policy(make_repository, tmp_path, policy) as loop,
        trusted_runner(loop) as trusted,
    ):
        check = await checked(loop)
        assert "@mallory/release isn't a team of octocat" in output_text(check)
        assert not trusted.told
