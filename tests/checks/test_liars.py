"""A contributor with a modified runner, after a false green past `both` and spot checks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import trio

from bassloop.runtimes import RuntimeLost
from tests.checks.test_statements import KEY, SigningRuntime, list_keys, signing_runner
from tests.checks.test_trusted import (
    BOTH,
    SPOT,
    checked,
    open_loop_with_policy,
    output_text,
    trusted_runner,
)
from tests.checks.test_user_actions import PULL, press
from tests.repositories import commit, git
from tests.small_loop import START
from tests.until import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.repositories import MakeRepository

HONEST = {"failure": "exit status 1: sh -c true"}
"""An honest runner's answers to these thunks."""

POLICIES = pytest.mark.parametrize("policy", [BOTH, SPOT], ids=["both", "spot check"])


@POLICIES
async def test_repeated_runs_never_make_a_check_green(
    make_repository: MakeRepository, tmp_path: Path, policy: str
) -> None:
    async with open_loop_with_policy(make_repository, tmp_path, policy, PULL) as loop:
        list_keys(loop, KEY)
        async with signing_runner(loop) as liar, trusted_runner(loop, **HONEST):
            assert (await checked(loop))["conclusion"] == "failure"
            await press(loop, "rerun", "button", name="it", sender="octocat")
            await checked(loop, "suite", action="rerequested")
            liar.silent = True
            await checked(loop, "unsigned", action="rerequested")
        # And without the trusted runner, which said so before.
        async with signing_runner(loop):
            await checked(loop, "alone", action="rerequested")
        names = [run for run in loop.standin.check_runs if run["name"] == "it"]
        assert len(names) == 5
        assert "success" not in [run["conclusion"] for run in names]


async def test_a_new_head_does_not_stop_a_spot_check_that_is_under_way(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    policy = f"supersede = true\n{SPOT}"
    async with open_loop_with_policy(make_repository, tmp_path, policy, wait="600") as loop:
        list_keys(loop, KEY)
        path = loop.standin.repository_path
        before = git(path, "rev-parse", "HEAD")
        async with signing_runner(loop):
            await loop.deliver(await loop.standin.payload("check_suite"), "lie")
            await until(lambda: len(loop.standin.check_runs) == 2 and loop.shown())
            commit(path)
            pushed = await loop.standin.payload("check_suite")
            pushed["check_suite"]["before"] = before
            await loop.deliver(pushed, "next")
            lies = [run for run in loop.standin.check_runs if run["head_sha"] == before]
            await until(lambda: lies[0]["conclusion"] == "cancelled")
            assert [run["name"] for run in lies] == ["it", "it (trusted)"]
            assert lies[1]["conclusion"] is None
            async with trusted_runner(loop, **HONEST):
                await loop.inbox.finished("lie")
                await loop.inbox.finished("next")
        assert lies[1]["conclusion"] == "failure"
        runs = (await loop.store.runs.newest()).items
        record = await loop.store.heads.spot_checks(runs[0].repository_id, " (trusted)", 5)
        assert record.states == {"failed": 2}


@POLICIES
async def test_a_contributor_can_not_cancel_their_own_verification(
    make_repository: MakeRepository, tmp_path: Path, policy: str
) -> None:
    async with open_loop_with_policy(make_repository, tmp_path, policy, PULL, wait="600") as loop:
        list_keys(loop, KEY)
        loop.standin.add_user("octocat", loop.standin.account("octocat").keys, permission="read")
        async with signing_runner(loop):
            await loop.deliver(await loop.standin.payload("check_suite"), "lie")
            await until(lambda: len(loop.standin.check_runs) == 2 and loop.shown())
            answer = await press(loop, "cancel", "no", name="it (trusted)", sender="octocat")
            assert "may not cancel this check" in answer
            async with trusted_runner(loop, **HONEST):
                await loop.inbox.finished("lie")
        assert loop.check_run()["conclusion"] == "failure"


@dataclass(eq=False)
class Vanishing(SigningRuntime):
    """Is lost at the worst moment: it has sent and signed everything, and the call hasn't ended."""

    times: int = field(default=1)

    def run(self, thunk: Any, metadata: Any, trailers: Any = None, on_open: Any = None) -> Any:
        self.times -= 1
        messages = super().run(thunk, metadata, trailers, on_open)
        return messages if self.times < 0 else self._vanish(messages)

    def _vanish(self, inner: Any) -> Any:
        class Lost:
            async def __aenter__(self) -> Any:
                return await inner.__aenter__()

            async def __aexit__(self, *error: Any) -> Any:
                await inner.__aexit__(*error)
                raise RuntimeLost("the runner is gone")

        return Lost()


@POLICIES
async def test_a_runner_that_is_lost_after_signing_has_not_confirmed_anything(
    make_repository: MakeRepository, tmp_path: Path, policy: str
) -> None:
    async with open_loop_with_policy(make_repository, tmp_path, policy) as loop:
        list_keys(loop, KEY)
        async with signing_runner(loop) as plain:
            pass
        fields = ("id", "user_id", "login", "platform", "priority", "connected_at", "open_channel")
        runtime = Vanishing(
            **{name: getattr(plain, name) for name in fields}, kind="bassloop", key=KEY.public_data
        )
        async with loop.core.pool.registered(runtime), trusted_runner(loop, **HONEST):
            check = await checked(loop)
        assert check["conclusion"] in ("cancelled", "failure")
        assert await loop.store.statements.get(check["external_id"]) is None


@POLICIES
async def test_a_check_whose_runner_hangs_is_stopped_and_not_green(
    make_repository: MakeRepository, tmp_path: Path, policy: str
) -> None:
    async with open_loop_with_policy(
        make_repository, tmp_path, f"check_limit = 0.5\n{policy}"
    ) as loop:
        async with loop.runner(ready=False), trusted_runner(loop):
            with trio.fail_after(60):
                check = await checked(loop)
        assert check["conclusion"] == "timed_out"


OTHER_HEAD = START.replace("event:payload:check_suite:head_sha", f'"{"5" * 40}"')


@pytest.mark.parametrize(
    ("hook", "why"),
    [
        (OTHER_HEAD, "of the event's own head"),
        (START.replace('"it"', '"it "'), "printable characters"),
        (START.replace('"it"', '" it"'), "printable characters"),
        (START.replace('"it"', '"it (trusted)"'), "such names are the loop's own"),
    ],
    ids=["another commit's check", "a space after", "a space before", "the verification's name"],
)
@POLICIES
async def test_no_hook_can_start_a_check_to_which_the_policy_does_not_apply(
    make_repository: MakeRepository, tmp_path: Path, policy: str, hook: str, why: str
) -> None:
    async with open_loop_with_policy(make_repository, tmp_path, policy, hook) as loop:
        list_keys(loop, KEY)
        async with signing_runner(loop) as liar, trusted_runner(loop):
            await loop.deliver(await loop.standin.payload("check_suite"), "g")
            await loop.inbox.finished("g")
        assert why in output_text(loop.check_run("project.bass"))
        assert [run["name"] for run in loop.standin.check_runs] == ["project.bass"]
        assert not liar.told


@POLICIES
async def test_a_contributor_who_is_named_like_a_trusted_one_is_not_trusted(
    make_repository: MakeRepository, tmp_path: Path, policy: str
) -> None:
    async with open_loop_with_policy(make_repository, tmp_path, policy) as loop:
        list_keys(loop, KEY)
        async with signing_runner(loop) as liar:
            liar.login = "alice"  # the pool knows whose it is by the id
            check = await checked(loop)
        assert check["conclusion"] != "success"
