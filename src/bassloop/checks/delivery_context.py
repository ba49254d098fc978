"""The context of a delivery that is being handled, which its hook, its checks and its host share."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from bassloop.concurrency import open_flat_nursery
from bassloop.lifecycle import RunState
from bassloop.runtimes import NoRuntime, Platform, RunnerWait, Runtime
from bassloop.store import Run, ThunkRecord, new_run_id

if TYPE_CHECKING:
    import trio

    from bassloop.access.policy import Policy
    from bassloop.access.runner_choice import RunnerChoice
    from bassloop.checks.check_request import CheckRequest
    from bassloop.checks.loop_state import ActiveHead, CheckHandle, LoopState
    from bassloop.deliveries.inbox import Slot
    from bassloop.github import Event, GitHubError, Head, Repository, RepositoryClient, User


@dataclass(eq=False)
class DeliveryContext:
    """A delivery that is being handled.

    Args:
        delivery: its id.
        rerun: whether to run all checks of the head again, including those that ended.
        rerun_of: the loop's own check that should be run again, such as that of a hook that failed.
        active: the head, and the runners that it may use.
        hook_sha: the commit that the hook is read from.
        nursery: the nursery that the delivery's checks run in.
        slot: the delivery's slot, which is freed while it waits for a runner.
        retryable_error: a temporary error of GitHub, because of which the delivery is tried again.
        trusted: the users whose runners the policy trusts.
        not_trusted: for each user or team that the policy names in vain, a sentence that says why.
        is_handed_over: whether another node handles the delivery now, and this one stops.
        started: the checks of this delivery by (name, sha), so that a hook that starts one twice gets the same.
        starting: the checks that are being started, by (name, sha).
        requests: the hook's requests by (name, sha), for trusted runners to run as well.
    """

    loop: LoopState
    event: Event
    delivery: str
    received_at: float
    rerun: bool
    active: ActiveHead
    policy: Policy
    hook_sha: str
    repo: RepositoryClient
    nursery: trio.Nursery
    slot: Slot
    rerun_of: str | None = None
    retryable_error: GitHubError | None = None
    started: dict[tuple[str, str], CheckHandle] = field(default_factory=dict)
    starting: set[tuple[str, str]] = field(default_factory=set)
    requests: dict[tuple[str, str], CheckRequest] = field(default_factory=dict)
    trusted: tuple[User, ...] = ()
    not_trusted: tuple[str, ...] = ()
    is_handed_over: bool = False

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
        """The event's sender."""
        assert self.event.sender is not None
        return self.event.sender

    @property
    def choice(self) -> RunnerChoice:
        """The users whose runners may be used now."""
        return self.active.choice

    def note_retryable(self, error: GitHubError | None) -> None:
        """Have the delivery tried again because of an error. The first one counts."""
        self.retryable_error = self.retryable_error or error

    def runner_users(self, *, trusted: bool) -> tuple[User, ...]:
        """Return the users whose runners may be used now, in order of preference.

        Args:
            trusted: whether the policy has to trust them. A fork's head runs on a trusted runner only after an
            approval, so that no stranger's code runs on other people's machines before. The sender comes last, even
            if trusted: a confirmation by others is worth more.
        """
        if not trusted:
            return self.choice.users
        if self.choice.fork and self.choice.approver is None:
            return ()
        return tuple(sorted(self.trusted, key=lambda user: user.id == self.choice.owner.id))

    def runner_ids(self, *, trusted: bool) -> list[int]:
        """Return the ids of `runner_users`."""
        return [user.id for user in self.runner_users(trusted=trusted)]

    def trusts(self, login: str | None) -> bool:
        """Return whether the policy trusts the runners of the user with this login."""
        return (login or "").lower() in {user.login.lower() for user in self.trusted}

    def new_run(self, check_name: str, sha: str, thunk: ThunkRecord | None) -> Run:
        """Return a queued run of this delivery, not yet stored."""
        owner = self.choice.owner
        return Run(
            id=new_run_id(),
            thunk_digest=thunk.digest if thunk else "",
            user_id=owner.id,
            login=owner.login,
            repository_id=self.repository.id,
            repository=self.repository.full_name,
            public=self.repository.visibility == "public",
            event=self.event.name,
            delivery=self.delivery,
            head_sha=sha,
            head_branch=self.head.branch,
            pull_request=self.head.pull_request,
            check_name=check_name,
            state=RunState.QUEUED,
            created_at=time.time(),
            started_at=None,
            ended_at=None,
            message=None,
            runtime_id=None,
            runner_login=None,
            platform=None,
            cmdline=thunk.cmdline if thunk else "",
        )

    def connected_runtime(
        self, platform: Platform | None, *, trusted: bool = False, wait: RunnerWait | None = None
    ) -> Runtime | None:
        """Return a connected runtime that may run this head, or None.

        Args:
            wait: knows which runtimes should not be tried yet.
        """
        return self.loop.pool.first(self.runner_ids(trusted=trusted), platform, wait)

    async def runtime(
        self, platform: Platform | None, *, trusted: bool = False, wait: RunnerWait | None = None
    ) -> Runtime:
        """Wait for a runtime that may run this head.

        Raises NoRuntime if nobody's may, or none connects in time.

        Args:
            wait: the time limit, part of which may be used up; by default, the policy's.
        """
        wait = wait or RunnerWait(self.policy.runner_wait)
        if trusted and not self.trusted:
            why = "the policy trusts no runner of anybody who can write to the repository"
            raise NoRuntime("; ".join([why, *self.not_trusted]))
        if not trusted and not self.choice.users:
            raise NoRuntime(
                f"{self.sender.login} has no runners, and there are no fallback runners"
            )
        runtime = self.connected_runtime(platform, trusted=trusted, wait=wait)
        if runtime is not None:
            return runtime
        self.slot.free()
        user_ids = partial(self.runner_ids, trusted=trusted)
        return await self.loop.pool.wait_for_any(user_ids, platform, wait)

    async def runtime_or_node(
        self, platform: Platform | None, *, trusted: bool, wait: RunnerWait
    ) -> Runtime | str:
        """Wait for a runtime that may run this head, or for another node that one is connected to.

        Raises NoRuntime as `runtime` does.
        """
        if not self.loop.store.nodes.own_id:
            return await self.runtime(platform, trusted=trusted, wait=wait)
        found: list[Runtime | str] = []
        async with open_flat_nursery() as nursery:

            async def wait_here() -> None:
                found.append(await self.runtime(platform, trusted=trusted, wait=wait))
                nursery.cancel_scope.cancel()

            async def wait_elsewhere() -> None:
                user_ids = partial(self.runner_ids, trusted=trusted)
                found.append(await self.loop.other_runtimes.wait_for(user_ids, platform))
                nursery.cancel_scope.cancel()

            nursery.start_soon(wait_here)
            nursery.start_soon(wait_elsewhere)
        return next((each for each in found if not isinstance(each, str)), found[0])
