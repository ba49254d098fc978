"""A contributor whose hook and runner try to get a green check that no trusted runner has confirmed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.checks.test_liars import HONEST, POLICIES
from tests.checks.test_statements import KEY, list_keys, signing_runner
from tests.checks.test_trusted import (
    BOTH,
    NAMED,
    SPOT,
    checked,
    open_loop_with_policy,
    output_text,
    trusted_runner,
)
from tests.checks.test_user_actions import PULL, press
from tests.repositories import commit

if TYPE_CHECKING:
    from pathlib import Path

    from tests.repositories import MakeRepository

IMAGE = '{:repository "alpine" :platform {:os "linux"}}'

CLAIMS_VERIFICATION = f"""
(def image {IMAGE})

(defn github-hook [event client]
  (if (= event:payload:action "rerequested")
    (client:start-check
      (with-label (with-image ($ sh -c "other") image) :uses ["it (trusted)"])
      "other" event:payload:check_suite:head_sha)
    null)
  (client:start-check (with-image ($ sh -c "true") image) "it" event:payload:check_suite:head_sha))
"""


async def test_no_hook_can_have_its_verification_run_on_the_contributors_runner(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with open_loop_with_policy(make_repository, tmp_path, BOTH, CLAIMS_VERIFICATION) as loop:
        list_keys(loop, KEY)
        async with signing_runner(loop) as liar:
            assert (await checked(loop))["conclusion"] == "action_required"
            check = await checked(loop, "again", action="rerequested")
            assert check["conclusion"] != "success"
            assert len(liar.told) == 1
        assert "it (trusted)" in output_text(loop.check_run("project.bass"))


OTHER_THUNK_EACH_TIME = f"""
(defn github-hook [event client]
  (client:start-check
    (with-image ($ sh -c (str "true # " event:payload:nonce)) {IMAGE})
    "it" event:payload:check_suite:head_sha))
"""


@pytest.mark.parametrize("times", [1, 55])
async def test_a_trusted_runners_failure_does_not_expire(
    make_repository: MakeRepository, tmp_path: Path, times: int
) -> None:
    async with open_loop_with_policy(make_repository, tmp_path, NAMED, PULL) as loop:
        list_keys(loop, KEY)
        async with signing_runner(loop):
            async with trusted_runner(loop, **HONEST):
                await checked(loop)
                await press(loop, "verify", "pressed", name="it", sender="alice")
            for number in range(times):
                check = await checked(loop, f"again-{number}", action="rerequested")
                assert check["conclusion"] != "success"


async def test_a_trusted_runners_failure_counts_for_other_thunks_of_the_commit(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with open_loop_with_policy(
        make_repository, tmp_path, NAMED, OTHER_THUNK_EACH_TIME
    ) as loop:
        list_keys(loop, KEY)
        async with signing_runner(loop):
            async with trusted_runner(loop, **HONEST):
                assert (await checked(loop, nonce="1"))["conclusion"] == "success"
                await press(loop, "verify", "pressed", name="it", sender="alice")
            check = await checked(loop, "again", action="rerequested", nonce="2")
            assert check["conclusion"] == "action_required"
            async with trusted_runner(loop) as trusted:
                check = await checked(loop, "third", action="rerequested", nonce="3")
                assert check["conclusion"] == "success"
                assert "verified by alice" in output_text(check)
                assert len(trusted.told) == 1


SPELLINGS = ["IT", "It", "ｉｔ", "it\u0301", "i\u0307t"]
"""GitHub's own comparison of names may ignore case, width and accents."""


@pytest.mark.parametrize("name", SPELLINGS)
@POLICIES
async def test_another_spelling_of_a_checks_name_is_subject_to_the_same_policy(
    make_repository: MakeRepository, tmp_path: Path, policy: str, name: str
) -> None:
    hook = OTHER_THUNK_EACH_TIME.replace('"it"', "event:payload:check")
    async with open_loop_with_policy(make_repository, tmp_path, policy, hook) as loop:
        list_keys(loop, KEY)
        async with signing_runner(loop), trusted_runner(loop, **HONEST):
            await checked(loop, nonce="1", check="it")
            await loop.deliver(
                {**await loop.standin.payload("check_suite"), "nonce": "2", "check": name}, "other"
            )
            await loop.inbox.finished("other")
        assert "success" not in [run["conclusion"] for run in loop.standin.check_runs]
        assert "is spelled" in output_text(loop.check_run("project.bass"))


async def test_users_who_failed_a_spot_check_are_checked_from_then_on(
    make_repository: MakeRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws = iter([0.0, 0.99])
    monkeypatch.setattr("bassloop.checks.trusted_runs._RANDOM.random", lambda: next(draws, 0.99))
    policy = SPOT.replace("1.0", "0.5")
    async with open_loop_with_policy(make_repository, tmp_path, policy) as loop:
        list_keys(loop, KEY)
        async with signing_runner(loop), trusted_runner(loop, **HONEST):
            assert (await checked(loop))["conclusion"] == "failure"
            commit(loop.standin.repository_path)  # with the same tree
            check = await checked(loop, "same")
        assert check["conclusion"] == "failure"
        assert "differs" in output_text(check)
