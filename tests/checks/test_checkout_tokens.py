"""Private source: which runners get a token for the checkout, and for how long."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bassloop.standin import Fault
from tests.small_loop import START, small_loop
from tests.until import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.repositories import MakeRepository

TOKEN = "bassloop-checkout-token"


async def test_a_bassloop_runner_has_a_token_for_the_one_repository_during_the_run(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with (
        small_loop(make_repository(**{"project.bass": START}), tmp_path) as loop,
        loop.runner(ready=False) as runner,
    ):
        runner.kind = "bassloop"
        loop.standin.private = True
        await loop.deliver(await loop.standin.payload("check_suite"), "g")
        await until(lambda: runner.told)
        value = runner.told[0][TOKEN]
        assert loop.standin.tokens[value].permissions == {"contents": "read", "metadata": "read"}
        assert runner.told[0]["bassloop-clone-url"].endswith("/octocat/hello.git")
        runner.going.set()
        await loop.inbox.finished("g")
        assert value not in loop.standin.tokens
        assert loop.check_run()["conclusion"] == "success"


@pytest.mark.parametrize("why", ["public", "another kind of runner", "may not read", "no token"])
async def test_no_other_runner_gets_a_token(
    make_repository: MakeRepository, tmp_path: Path, why: str
) -> None:
    async with (
        small_loop(make_repository(**{"project.bass": START}), tmp_path) as loop,
        loop.runner() as runner,
    ):
        runner.kind = "go" if why == "another kind of runner" else "bassloop"
        loop.standin.private = why != "public"
        if why == "may not read":
            loop.standin.faults.add(Fault("GET", ".*/permission", times=9, status=404))
        payload = await loop.standin.payload("check_suite")
        if why == "no token":
            # The first is the installation's own.
            await loop.core.github.repository(
                loop.standin.installation_id, "octocat", "hello"
            ).info()
            loop.standin.faults.add(Fault("POST", ".*/access_tokens", times=9, status=500))
        await loop.deliver(payload, "g")
        await loop.inbox.finished("g")
        assert TOKEN not in runner.told[0]
        assert loop.check_run()["conclusion"] == "success"


async def test_the_token_is_revoked_when_the_run_is_cancelled(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with (
        small_loop(make_repository(**{"project.bass": START}), tmp_path) as loop,
        loop.runner(ready=False) as runner,
    ):
        runner.kind = "bassloop"
        loop.standin.private = True
        await loop.deliver(await loop.standin.payload("check_suite"), "g")
        await until(lambda: runner.told)
        assert loop.core.cancel(loop.check_run()["external_id"])
        await loop.inbox.finished("g")
        await until(lambda: runner.told[0][TOKEN] not in loop.standin.tokens)
