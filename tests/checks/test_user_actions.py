"""Cancel, approve, run again: the buttons on check runs, and who may press them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bassloop.access import permissions
from bassloop.access.policy import Policy
from bassloop.access.policy_lookup import PolicyCache
from bassloop.checks import delivery_handler
from bassloop.checks.check_output import APPROVAL
from bassloop.checks.user_actions import (
    Control,
    NotAllowed,
    PermissionUnknown,
    approve_head,
    cancel_run,
)
from bassloop.github import User
from bassloop.standin import Fault
from tests.small_loop import START, small_loop
from tests.until import until

if TYPE_CHECKING:
    from pathlib import Path

    from bassloop.standin import Account
    from tests.repositories import MakeRepository
    from tests.small_loop import SmallLoop

PULL = """
(defn start-it [client sha]
  (client:start-check
    (with-image ($ sh -c "true") {:repository "alpine" :platform {:os "linux"}})
    "it" sha))

(defn github-hook [{:event kind :payload payload} client]
  (case kind
    "pull_request" (start-it client payload:pull_request:head:sha)
    "check_run" (start-it client payload:check_run:head_sha)
    "check_suite" (start-it client payload:check_suite:head_sha)))
"""
HELD = PolicyCache(Policy(hold="first-timers", runner_wait=0))
IMPATIENT = PolicyCache(Policy(runner_wait=0))


def user(account: Account) -> User:
    return User(account.id, account.node_id, account.login)


async def press(
    loop: SmallLoop, button: str, guid: str, *, name: str, sender: str, fork: str | None = None
) -> str:
    """Press a button of the newest check run of a name; what became of the delivery."""
    number = loop.check_run(name)["id"]
    payload = await loop.standin.payload(
        "check_run",
        "requested_action",
        check_run=number,
        requested_action=button,
        sender=sender,
        fork=fork,
    )
    assert await loop.deliver(payload, guid) == 202
    finished = await loop.inbox.finished(guid)
    return f"{finished.state}: {finished.error}" if finished.error else finished.state


def buttons(loop: SmallLoop, name: str) -> list[str]:
    return [each["identifier"] for each in loop.standin.actions.get(loop.check_run(name)["id"], [])]


def conclusions(loop: SmallLoop, name: str) -> list[str | None]:
    return [run["conclusion"] for run in loop.standin.check_runs if run["name"] == name]


async def pulled(loop: SmallLoop, guid: str, fork: str = "stranger", **options: Any) -> None:
    payload = await loop.standin.payload("pull_request", fork=fork, **options)
    assert await loop.deliver(payload, guid, "pull_request") == 202


async def test_a_run_is_cancelled_by_its_own_user_and_by_whoever_can_write(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with (
        small_loop(make_repository(**{"project.bass": PULL}), tmp_path) as loop,
        loop.runner(ready=False) as runner,
    ):
        for login, permission in (("reader", "read"), ("writer", "write")):
            loop.standin.add_user(login, permission=permission)
        await loop.deliver(await loop.standin.payload("check_suite"), "g1")
        await until(lambda: runner.told)
        assert buttons(loop, "it") == ["cancel"]
        said = await press(loop, "cancel", "no", name="it", sender="reader")
        assert said == (
            "ignored: reader may not cancel this check: those who can write to octocat/hello, and "
            "octocat may"
        )
        assert conclusions(loop, "it") == [None]
        assert await press(loop, "cancel", "yes", name="it", sender="writer") == "done"
        await loop.inbox.finished("g1")
        assert conclusions(loop, "it") == ["cancelled"]
        assert "cancelled by writer" in loop.check_run()["output"]["title"]
        said = await press(loop, "cancel", "late", name="it", sender="octocat")
        assert said == "done: the run was over already"

        assert await press(loop, "rerun", "no-again", name="it", sender="reader") != "done"
        await loop.deliver(
            await loop.standin.payload("check_run", "requested_action", requested_action="rerun"),
            "again",
        )
        await until(lambda: len(runner.told) == 2)
        assert await press(loop, "cancel", "own", name="it", sender="octocat") == "done"
        await loop.inbox.finished("again")
        assert conclusions(loop, "it") == ["cancelled", "cancelled"]
        assert "ignored" in await press(loop, "format", "what", name="it", sender="octocat")


async def test_a_check_that_waits_for_a_runner_can_be_cancelled_on_its_page(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with small_loop(make_repository(**{"project.bass": START}), tmp_path) as loop:
        stranger = loop.standin.add_user("stranger")
        await loop.deliver(await loop.standin.payload("check_suite"), "g1")
        await until(loop.shown)
        run = loop.check_run()["external_id"]
        with pytest.raises(NotAllowed):
            await cancel_run(loop.core, run, user(stranger))
        assert await cancel_run(loop.core, run, user(loop.standin.user))
        await loop.inbox.finished("g1")
        assert conclusions(loop, "it") == ["cancelled"]
        assert not await cancel_run(loop.core, run, user(loop.standin.user))
        assert not await cancel_run(loop.core, "no such run", user(loop.standin.user))


async def test_writers_of_another_repository_with_the_same_name_have_no_permission(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with small_loop(make_repository(**{"project.bass": START}), tmp_path) as loop:
        writer = loop.standin.add_user("writer", permission="write")
        await loop.deliver(await loop.standin.payload("check_suite"), "g1")
        await until(loop.shown)
        run = loop.check_run()["external_id"]
        loop.standin.repository_id = 999
        for ask in (cancel_run, approve_head):
            with pytest.raises(NotAllowed):
                await ask(loop.core, run, user(writer))


async def test_repeated_requests_of_one_person_do_not_use_up_githubs_limit(
    make_repository: MakeRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(permissions, "PERSON_LIMIT", (2, 0))
    async with small_loop(make_repository(**{"project.bass": START}), tmp_path) as loop:
        stranger = user(loop.standin.add_user("stranger"))
        writer = user(loop.standin.add_user("writer", permission="write"))
        await loop.deliver(await loop.standin.payload("check_suite"), "g1")
        await until(loop.shown)
        run, control = loop.check_run()["external_id"], Control(loop.core, loop.inbox)
        for _ in range(2):
            with pytest.raises(NotAllowed):
                await control.cancel(run, stranger)
        asked = len(loop.standin.requests)
        with pytest.raises(PermissionUnknown, match="wait a minute"):
            await control.cancel(run, stranger)
        assert len(loop.standin.requests) == asked
        assert await control.cancel(run, writer)


async def test_a_first_timers_event_is_held_until_somebody_who_can_write_approves_it(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    path = make_repository(**{"project.bass": PULL})
    async with small_loop(path, tmp_path, policies=HELD) as loop:
        loop.standin.add_user("stranger", association="FIRST_TIME_CONTRIBUTOR")
        loop.standin.add_user("maintainer", permission="write")
        async with loop.runner("maintainer") as runner:
            await pulled(loop, "g1")
            held = await loop.inbox.finished("g1")
            assert (held.state, held.error) == (
                "held",
                "stranger has not contributed to this repository before",
            )
            assert [run["name"] for run in loop.standin.check_runs] == [APPROVAL]
            assert conclusions(loop, APPROVAL) == ["action_required"]
            assert buttons(loop, APPROVAL) == ["approve"]
            assert (
                await loop.deliver(
                    await loop.standin.payload("pull_request", fork="stranger"),
                    "g1",
                    "pull_request",
                )
                == 202
            )
            assert (await loop.inbox.finished("g1")).state == "held"

            said = await press(loop, "approve", "own", name=APPROVAL, sender="stranger")
            assert said.startswith("ignored: stranger may not approve this head")
            assert not runner.told

            await press(loop, "approve", "yes", name=APPROVAL, sender="maintainer")
            await until(lambda: conclusions(loop, "it") == ["success"])
            assert (await loop.inbox.finished("g1")).state == "done"
            assert conclusions(loop, APPROVAL) == ["action_required", "success"]
            assert "maintainer approved" in loop.check_run(APPROVAL)["output"]["summary"]
            assert "**maintainer**'s runner" in loop.check_run("it")["output"]["summary"]
            assert "for **stranger**" in loop.check_run("it")["output"]["summary"]
            [told] = runner.told
            assert told["bassloop-fork"] == "true"

            # Asked again, nothing is done again; another event of the same head is not held.
            await press(loop, "approve", "more", name=APPROVAL, sender="maintainer")
            await pulled(loop, "g2", action="reopened")
            assert (await loop.inbox.finished("g2")).state == "done"
            assert len(runner.told) == 1
            assert len(loop.standin.check_runs) == 3


async def test_a_head_that_is_approved_during_its_event_is_not_held(
    make_repository: MakeRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_repository(**{"project.bass": PULL})
    async with small_loop(path, tmp_path, policies=HELD) as loop:
        loop.standin.add_user("stranger", association="NONE")
        maintainer = user(loop.standin.add_user("maintainer", permission="admin"))
        await pulled(loop, "g1")
        await loop.inbox.finished("g1")
        run = loop.check_run(APPROVAL)["external_id"]

        async def meanwhile(*_: object) -> None:
            await approve_head(loop.core, run, maintainer)

        monkeypatch.setattr(delivery_handler, "supersede", meanwhile)
        async with loop.runner("maintainer"):
            await pulled(loop, "g2", action="reopened")
            assert (await loop.inbox.finished("g2")).state == "done"
        assert conclusions(loop, "it") == ["success"]


async def test_a_held_delivery_stays_held_over_a_restart_and_is_released_once(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    path = make_repository(**{"project.bass": PULL})
    async with small_loop(path, tmp_path, policies=HELD) as loop:
        loop.standin.add_user("stranger", association="NONE")
        maintainer = loop.standin.add_user("maintainer", permission="admin")
        await pulled(loop, "g1")
        await loop.inbox.finished("g1")
        run = loop.check_run(APPROVAL)["external_id"]
        standin = loop.standin
    async with (
        small_loop(path, tmp_path, policies=HELD, standin=standin) as loop,
        loop.runner("maintainer"),
    ):
        assert (await loop.inbox.finished("g1")).state == "held"
        # The loop ends between the approval and what follows from it.
        released = await approve_head(loop.core, run, user(maintainer))
        assert [each.guid for each in released] == ["g1"]
        assert await approve_head(loop.core, run, user(maintainer)) == []
    async with (
        small_loop(path, tmp_path, policies=HELD, standin=standin) as loop,
        loop.runner("maintainer"),
    ):
        assert (await loop.inbox.finished("g1")).state == "done"
        assert conclusions(loop, "it") == ["success"]


async def test_a_forks_check_that_found_no_runner_runs_again_on_the_approvers(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    path = make_repository(**{"project.bass": PULL})
    async with small_loop(path, tmp_path, policies=IMPATIENT) as loop:
        loop.standin.add_user("stranger")
        loop.standin.add_user("maintainer", permission="write")
        async with loop.runner("maintainer") as runner:
            await pulled(loop, "g1")
            assert (await loop.inbox.finished("g1")).state == "done"
            assert conclusions(loop, "it") == ["action_required"]
            assert buttons(loop, "it") == ["approve", "rerun"]
            # Running it again is no approval.
            again = await press(
                loop, "rerun", "again", name="it", sender="maintainer", fork="stranger"
            )
            assert again == "done"
            assert conclusions(loop, "it") == ["action_required", "action_required"]
            assert not runner.told
            await press(loop, "approve", "yes", name="it", sender="maintainer")
            await until(lambda: "success" in conclusions(loop, "it"))
            await until(lambda: not loop.inbox.statistics()["handling"])
            assert conclusions(loop, "it")[:2] == ["action_required", "action_required"]
            assert loop.check_run("it")["conclusion"] == "success"


async def test_a_forks_check_that_waits_runs_at_once_on_the_approvers(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with small_loop(make_repository(**{"project.bass": PULL}), tmp_path) as loop:
        loop.standin.add_user("stranger")
        loop.standin.add_user("maintainer", permission="write")
        async with loop.runner("maintainer") as runner:
            await pulled(loop, "g1")
            await until(loop.shown)
            assert "bassloop runner stranger@loop" in loop.check_run()["output"]["summary"]
            assert buttons(loop, "it") == ["cancel", "approve"]
            await press(loop, "approve", "yes", name="it", sender="maintainer")
            assert (await loop.inbox.finished("g1")).state == "done"
            assert conclusions(loop, "it") == ["success"]
            assert len(runner.told) == 1


async def test_a_head_without_a_known_author_is_held_whatever_the_policy_says(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with (
        small_loop(make_repository(**{"project.bass": PULL}), tmp_path) as loop,
        loop.runner() as runner,
    ):
        payload = await loop.standin.payload("check_suite", fork="octocat")
        await loop.deliver(payload, "g1")
        assert (await loop.inbox.finished("g1")).state == "held"
        assert not runner.told
        await press(loop, "approve", "yes", name=APPROVAL, sender="octocat")
        await until(lambda: conclusions(loop, "it") == ["success"])


@pytest.mark.parametrize("how", ["button", "GitHub's own"])
async def test_a_hook_that_failed_is_run_again_with_all_its_checks(
    make_repository: MakeRepository, tmp_path: Path, how: str
) -> None:
    hook = """
(defn github-hook [{:event kind :payload payload} client]
  (run (with-image ($ sh -c "true") {:repository "alpine" :platform {:os "linux"}}))
  (client:start-check
    (with-image ($ sh -c "true") {:repository "alpine" :platform {:os "linux"}})
    "it" payload:check_suite:head_sha))
"""
    async with small_loop(
        make_repository(**{"project.bass": hook}), tmp_path, policies=IMPATIENT
    ) as loop:
        await loop.deliver(await loop.standin.payload("check_suite"), "g1")
        await loop.inbox.finished("g1")
        assert conclusions(loop, "project.bass") == ["failure"]
        async with loop.runner():
            if how == "button":
                await press(loop, "rerun", "g2", name="project.bass", sender="octocat")
            else:
                await loop.deliver(await loop.standin.payload("check_run", "rerequested"), "g2")
            assert (await loop.inbox.finished("g2")).state == "done"
        assert conclusions(loop, "it") == ["success"]
        assert conclusions(loop, "project.bass") == ["failure", "success"]


async def test_a_pressed_button_is_applied_although_github_fails_at_first(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with (
        small_loop(make_repository(**{"project.bass": PULL}), tmp_path) as loop,
        loop.runner(ready=False) as runner,
    ):
        loop.standin.add_user("writer", permission="write")
        await loop.deliver(await loop.standin.payload("check_suite"), "g1")
        await until(lambda: runner.told)
        fault = loop.standin.faults.add(Fault("GET", ".*/permission", times=3, status=500))
        assert await press(loop, "cancel", "yes", name="it", sender="writer") == "done"
        assert fault.happened == 3
        await loop.inbox.finished("g1")
        assert conclusions(loop, "it") == ["cancelled"]


async def test_people_with_permission_can_run_a_check_again_on_its_page(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with (
        small_loop(make_repository(**{"project.bass": PULL}), tmp_path) as loop,
        loop.runner(ready=False) as runner,
    ):
        reader = user(loop.standin.add_user("reader", permission="read"))
        writer = user(loop.standin.add_user("writer", permission="write"))
        own = user(loop.standin.user)
        control = Control(loop.core, loop.inbox)
        await loop.deliver(await loop.standin.payload("check_suite"), "g1")
        await until(lambda: runner.told)
        [run] = (await loop.store.runs.newest(public_only=False)).items
        assert not await control.rerun(run.id, own)  # it goes on
        assert await control.cancel(run.id, own)
        await loop.inbox.finished("g1")
        with pytest.raises(NotAllowed, match="reader may not run this check again"):
            await control.rerun(run.id, reader)
        loop.standin.faults.add(Fault("GET", r"/repos/.*/check-suites/.*", times=1, status=500))
        with pytest.raises(PermissionUnknown):
            await control.rerun(run.id, own)
        assert await control.rerun(run.id, own)
        assert not await control.rerun(run.id, writer)  # once is enough
        await until(lambda: len(runner.told) == 2)
        newest = (await loop.store.runs.newest(public_only=False)).items[0]
        assert (newest.check_name, newest.head_sha) == (run.check_name, run.head_sha)
        assert (newest.event, newest.login, newest.head_branch) == ("check_run", "octocat", "main")
        assert await control.cancel(newest.id, own)
        await loop.inbox.finished(newest.delivery)
        assert not await control.rerun("nothing", own)


async def test_running_a_strangers_check_again_does_not_lend_a_runner(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    repository = make_repository(**{"project.bass": PULL})
    async with small_loop(repository, tmp_path, policies=IMPATIENT) as loop, loop.runner():
        loop.standin.add_user("stranger")
        await pulled(loop, "g1")
        await loop.inbox.finished("g1")
        [run] = (await loop.store.runs.newest(public_only=False)).items
        assert run.state == "action_required"
        assert await Control(loop.core, loop.inbox).rerun(run.id, user(loop.standin.user))
        newest = (await loop.store.runs.newest(public_only=False)).items[0]
        await loop.inbox.finished(newest.delivery)
        found = await loop.store.runs.newest(public_only=False, check_name=run.check_name)
        assert [(each.login, each.state) for each in found.items] == [
            ("stranger", "action_required")
        ] * len(found.items)
