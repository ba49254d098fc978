"""Trusted runners that come, go and are withdrawn while a check waits for them or runs."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import asyncssh
import pytest
import trio

from bassloop.runtimes import RuntimeLost
from tests.checks.test_statements import KEY, SigningRuntime, list_keys, signing_runner
from tests.checks.test_trusted import (
    BOTH,
    NAMED,
    TRUSTED,
    TRUSTED_KEY,
    checked,
    open_loop_with_policy,
    output_text,
    trusted_runner,
)
from tests.checks.test_user_actions import press
from tests.repositories import commit
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from tests.repositories import MakeRepository
    from tests.small_loop import SmallLoop

T = TypeVar("T", bound=SigningRuntime)

POLICIES = pytest.mark.parametrize("policy", [BOTH, TRUSTED], ids=["both", "trusted"])


@dataclass(eq=False)
class LostRuntime(SigningRuntime):
    """A runtime whose connection is lost when it is asked to run something, before that begins."""

    @asynccontextmanager
    async def run(
        self, thunk: Any, metadata: Any, trailers: Any = None, on_open: Any = None
    ) -> AsyncGenerator[Any]:
        self.told.append(dict(metadata))
        await trio.lowlevel.checkpoint()
        raise RuntimeLost("alice's runner is gone")
        yield


@dataclass(eq=False)
class HeldRuntime(SigningRuntime):
    """A runtime that begins, and continues when a test lets it."""

    begun: trio.Event = field(default_factory=trio.Event)
    may_end: trio.Event = field(default_factory=trio.Event)

    @asynccontextmanager
    async def run(
        self, thunk: Any, metadata: Any, trailers: Any = None, on_open: Any = None
    ) -> AsyncGenerator[Any]:
        async with super().run(thunk, metadata, trailers, on_open) as updates:
            self.begun.set()
            await self.may_end.wait()
            yield updates


def changed_into(kind: type[T], runtime: SigningRuntime, **changes: Any) -> T:
    """Return a runtime of another kind with the fields of this one."""
    names = ("id", "user_id", "login", "platform", "priority", "connected_at", "open_channel")
    fields = {name: getattr(runtime, name) for name in (*names, "kind", "key", "by")}
    return kind(**fields | changes)


def set_policy(loop: SmallLoop, policy: str) -> None:
    """Commit another policy to the default branch, and let the loop know that it has changed."""
    path = loop.standin.repository_path
    (path / ".bassloop.toml").write_text(f"runner_wait = 60\n{policy}")
    commit(path)
    loop.core.policies.apply_notification(None)


@POLICIES
async def test_a_trusted_runner_that_leaves_before_the_start_is_replaced_only_by_another_trusted_one(
    make_repository: MakeRepository, tmp_path: Path, policy: str
) -> None:
    async with (
        open_loop_with_policy(make_repository, tmp_path, policy, wait="60") as loop,
        loop.runner() as sender,
        AsyncExitStack() as stack,
    ):
        async with trusted_runner(loop) as honest:
            pass
        lost = changed_into(LostRuntime, honest, id="lost", priority=1)
        first = await stack.enter_async_context(AsyncExitStack())
        await first.enter_async_context(loop.core.pool.registered(lost))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(checked, loop)
            await until(lambda: len(lost.told) == 1)
            await first.aclose()
            await until(
                lambda: any(
                    run["output"]["title"] == "Waiting for a runner again"
                    for run in loop.standin.check_runs
                )
            )
            assert "success" not in [run["conclusion"] for run in loop.standin.check_runs]
            await stack.enter_async_context(loop.core.pool.registered(honest))
        assert loop.check_run()["conclusion"] == "success"
        assert len(honest.told) == 1
        assert len(sender.told) == (1 if policy == BOTH else 0)


@POLICIES
async def test_only_one_of_two_concurrent_requests_starts_a_verification(
    make_repository: MakeRepository, tmp_path: Path, policy: str
) -> None:
    async with (
        open_loop_with_policy(make_repository, tmp_path, policy) as loop,
        loop.runner(),
        trusted_runner(loop) as one,
    ):
        other = changed_into(SigningRuntime, one, id="alice's other machine")
        async with loop.core.pool.registered(other):
            assert (await checked(loop))["conclusion"] == "success"
            assert len(one.told) + len(other.told) == 1


async def test_the_statement_of_another_machine_of_the_same_login_is_refused(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    other_key = asyncssh.generate_private_key("ssh-ed25519")
    async with open_loop_with_policy(make_repository, tmp_path, TRUSTED) as loop:
        lines = [key.export_public_key().decode().strip() for key in (TRUSTED_KEY, other_key)]
        loop.standin.add_user("alice", lines, permission="write")
        async with trusted_runner(loop) as one:
            pass
        # Connected with the one key, it signs with the other, which GitHub lists for the same user.
        wrong = changed_into(SigningRuntime, one, by=other_key)
        async with loop.core.pool.registered(wrong):
            check = await checked(loop)
            assert check["conclusion"] == "failure"
            assert "the runner connected with another" in output_text(check)
        right = changed_into(SigningRuntime, one, key=other_key.public_data, by=other_key)
        async with loop.core.pool.registered(right):
            # A run that was refused hasn't said that the thunk failed.
            assert (await checked(loop, "again", action="rerequested"))["conclusion"] == "success"


@POLICIES
@pytest.mark.parametrize("when", ["waits", "runs"])
async def test_a_runner_that_loses_its_trust_while_a_check_waits_or_runs_does_not_count(
    make_repository: MakeRepository, tmp_path: Path, policy: str, when: str
) -> None:
    async with (
        open_loop_with_policy(make_repository, tmp_path, policy, wait="60") as loop,
        loop.runner(),
        AsyncExitStack() as stack,
    ):
        loop.standin.add_user("bob", permission="write")
        async with trusted_runner(loop) as plain:
            pass
        held = changed_into(HeldRuntime, plain)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(checked, loop)
            if when == "waits":
                name = "it (trusted)" if policy == BOTH else "it"
                await until(lambda: [run for run in loop.standin.check_runs if run["name"] == name])
                set_policy(loop, policy.replace("alice", "bob"))
                await stack.enter_async_context(loop.core.pool.registered(held))
            else:
                await stack.enter_async_context(loop.core.pool.registered(held))
                await held.begun.wait()
                set_policy(loop, policy.replace("alice", "bob"))
            held.may_end.set()
        check = loop.check_run()
        assert check["conclusion"] == "action_required"
        assert "the policy doesn't trust it any more" in output_text(check)


async def test_the_runner_of_somebody_who_lost_write_permission_does_not_count(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    async with (
        open_loop_with_policy(make_repository, tmp_path, TRUSTED) as loop,
        trusted_runner(loop) as plain,
    ):
        held = changed_into(HeldRuntime, plain, id="first", priority=1)
        async with loop.core.pool.registered(held), trio.open_nursery() as nursery:
            nursery.start_soon(checked, loop)
            await held.begun.wait()
            line = TRUSTED_KEY.export_public_key().decode().strip()
            loop.standin.add_user("alice", [line], permission="read")
            held.may_end.set()
        check = loop.check_run()
        assert check["conclusion"] == "action_required"
        assert "alice can't write to octocat/hello" in output_text(check)


async def test_images_with_differing_digests_are_noted(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    stated: dict[str, Any] = {"images": (("alpine", "sha256:" + "a" * 64), ("b", "sha256:b"))}
    others = {"images": (("alpine", "sha256:" + "f" * 64), ("b", "sha256:b"))}
    async with open_loop_with_policy(make_repository, tmp_path, BOTH) as loop:
        list_keys(loop, KEY)
        async with (
            signing_runner(loop, changes=stated),
            trusted_runner(loop, changes=others) as trusted,
        ):
            check = await checked(loop)
            assert check["conclusion"] == "success"
            assert "the images differ: alpine was sha256:aaaa" in output_text(check).replace(
                "\\", ""
            )
            assert "on octocat's runner, and sha256:ffff" in output_text(check)
            trusted.changes = stated
            check = await checked(loop, "again", action="rerequested")
            assert "verified by alice" in output_text(check)
            assert "differ" not in output_text(check)


async def test_differing_images_are_noted_on_a_run_that_was_verified_on_request(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    stated: dict[str, Any] = {"images": (("alpine", "sha256:a"),)}
    others: dict[str, Any] = {"images": (("alpine", "sha256:f"),)}
    async with open_loop_with_policy(make_repository, tmp_path, NAMED) as loop:
        list_keys(loop, KEY)
        async with signing_runner(loop, changes=stated), trusted_runner(loop, changes=others):
            await checked(loop)
            await press(loop, "verify", "pressed", name="it", sender="alice")
            assert loop.check_run()["conclusion"] == "success"
            assert "the images differ: alpine was sha256:a on octocat" in output_text(
                loop.check_run()
            )
