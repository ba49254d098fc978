"""One delivery at work: what its hook, its checks and its host share."""

from __future__ import annotations

import platform
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import structlog
import trio

from bassloop.github import GitHubError
from bassloop.runtimes import NoRuntime, Platform, Runtime
from bassloop.store import Run, ThunkRecord, new_run_id

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from bassloop.access.policy import Policy
    from bassloop.access.runner_choice import RunnerChoice
    from bassloop.checks.loop import Loop
    from bassloop.deliveries.inbox import Slot
    from bassloop.github import Event, GitHubRepository, Head, Repository, User
    from bassloop.wire import bass_pb2


log = structlog.get_logger(__name__)


@dataclass(eq=False)
class Work:
    """A delivery that is being handled.

    Args:
        rerun_of: the loop's own check that is wanted again, such as the hook's, which failed.
        choice: whose runners are used for the head; an approval changes it.
        hook_at: the commit that the hook is taken from.
        checks: the nursery that the delivery's checks live in.
        turn: the delivery's; it rests while a runner is waited for.
        trouble: what GitHub refused for the moment, so that the delivery is to be tried again.
        started: the checks of this delivery by (name, sha), so that a script that starts one twice
            waits for the same.
    """

    loop: Loop
    event: Event
    delivery: str
    received_at: float
    rerun: bool
    choice: RunnerChoice
    policy: Policy
    hook_at: str
    repo: GitHubRepository
    checks: trio.Nursery
    slot: Slot
    trouble: GitHubError | None = None
    rerun_of: str | None = None
    started: dict[tuple[str, str], Started] = field(default_factory=dict)

    @property
    def repository(self) -> Repository:
        """The event's repository."""
        assert self.event.repository is not None
        return self.event.repository

    @property
    def head(self) -> Head:
        """The event's head."""
        assert self.event.head is not None
        return self.event.head

    @property
    def sender(self) -> User:
        """Who sent the event."""
        assert self.event.sender is not None
        return self.event.sender

    @property
    def owner(self) -> User:
        """Whose head it is; the sender where nobody knows."""
        return self.choice.owner

    def metadata(self, run_id: str) -> dict[str, str]:
        """What a runner is told beside a call, so that its owner can decide what to serve.

        `run_id` is empty for what the hook itself asks.
        """
        about = {
            "bassloop-repository": self.repository.full_name,
            "bassloop-visibility": self.repository.visibility,
            "bassloop-event": self.event.name,
            "bassloop-sender": self.sender.login,
            "bassloop-head": self.head.sha,
            "bassloop-fork": "true" if self.choice.fork else "false",
            "bassloop-run": run_id,
            "bassloop-clone-url": self.repository.clone_url,
        }
        return {name: value for name, value in about.items() if value}

    @asynccontextmanager
    async def calling(self, runtime: Runtime, run_id: str = "") -> AsyncGenerator[dict[str, str]]:
        """What a runner is told beside a call, while the call lasts: for a private repository also a
        token to check it out with, which is revoked at the end.

        A runner of ours is told, which gives it to Git alone and hides it in what is printed; and where
        its owner can read the repository. Without a token it may have credentials of its own.
        """
        told = self.metadata(run_id)
        async with AsyncExitStack() as stack:
            if self.repository.private and runtime.kind == "bassloop":
                try:
                    if await self._may_read(runtime):
                        token = await stack.enter_async_context(
                            self.repo.checkout_token(self.repository.id)
                        )
                        told["bassloop-checkout-token"] = token.value
                except GitHubError as error:
                    log.warning("no token to check out with", run=run_id, error=str(error))
            yield told

    async def _may_read(self, runtime: Runtime) -> bool:
        """Whether a runner's owner can read the repository, as GitHub says now."""
        return await self.repo.permission(runtime.login, user_id=runtime.user_id) != "none"

    def new_run(self, check_name: str, sha: str, thunk: ThunkRecord | None) -> Run:
        """A run of this delivery, queued, not yet stored."""
        return Run(
            id=new_run_id(),
            thunk_digest=thunk.digest if thunk else "",
            user_id=self.owner.id,
            login=self.owner.login,
            repository_id=self.repository.id,
            repository=self.repository.full_name,
            public=self.repository.visibility == "public",
            event=self.event.name,
            delivery=self.delivery,
            head_sha=sha,
            head_branch=self.head.branch,
            pull_request=self.head.pull_request,
            check_name=check_name,
            state="queued",
            created_at=time.time(),
            started_at=None,
            ended_at=None,
            message=None,
            runtime_id=None,
            runner_login=None,
            platform=None,
            cmdline=thunk.cmdline if thunk else "",
        )

    async def runtime(self, wanted: Platform | None) -> Runtime:
        """A runtime for this head; raises NoRuntime when none may, or none comes in time."""
        if not self.choice.users:
            raise NoRuntime(
                f"{self.sender.login} has no runners, and there are no fallback runners"
            )
        if (runtime := self.runtime_now(wanted)) is not None:
            return runtime
        self.slot.release_capacity()
        return await self.loop.pool.wait_for_any(
            self._users, wanted, timeout=self.policy.runner_wait
        )

    def runtime_now(self, wanted: Platform | None) -> Runtime | None:
        """A runtime for this head that is connected."""
        return self.loop.pool.first(self._users(), wanted)

    def _users(self) -> list[int]:
        return [user.id for user in self.choice.users]


@dataclass(eq=False)
class Started:
    """A check that was started, and how it ended once `over` is set.

    Args:
        trouble: why it has not ended all the same: GitHub did not take it, for now.
    """

    run: Run
    over: trio.Event = field(default_factory=trio.Event)
    trouble: GitHubError | None = None

    def end(self, run: Run) -> None:
        """The check is over; `run` is its final state."""
        self.run = run
        self.over.set()


def on_this_machine(wanted: bass_pb2.Platform | None) -> Platform | None:
    """A thunk's platform as the pool knows it; a missing architecture matches any."""
    if wanted is None or not (wanted.os or wanted.arch):
        return None
    return Platform(wanted.os, wanted.arch)


def changed(run: Run, **fields: object) -> Run:
    """A run with some fields replaced, as the store has it after the same change."""
    return replace(run, **fields)  # type: ignore[arg-type]


def machine() -> str:
    """This machine's architecture in Go's words."""
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
