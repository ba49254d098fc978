"""The context of a delivery that is being handled, which its hook, its checks and its host share."""

from __future__ import annotations

import json
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import structlog

from bassloop.concurrency import open_flat_nursery
from bassloop.github import GitHubError
from bassloop.lifecycle import RunState
from bassloop.runtimes import NoRuntime, Platform, RunnerWait, Runtime
from bassloop.store import Run, ThunkRecord, new_run_id
from bassloop.wire.conventions import TIME_LIMIT_METADATA

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    import trio

    from bassloop.access.policy import Policy
    from bassloop.access.runner_choice import RunnerChoice
    from bassloop.checks.check_request import CheckRequest
    from bassloop.checks.loop_state import ActiveHead, CheckHandle, LoopState
    from bassloop.deliveries.inbox import Slot
    from bassloop.github import Event, Head, Repository, RepositoryClient, User


log = structlog.get_logger(__name__)


def isolation_of(sha: str, thunk: str) -> str:
    """Return the scope within which a trusted runner shares caches and outputs: a commit's runs of one thunk.

    Other thunks can't be trusted with them: an earlier commit, or another check of this one, may be a contributor's.

    Args:
        thunk: its SHA-256.
    """
    return f"{sha}/{thunk}"


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

    def metadata(self, run_id: str, *, trusted: bool = False, thunk: str = "") -> dict[str, str]:
        """Return the metadata of a call, by which the runner's owner decides what to serve.

        Args:
            run_id: empty for a hook's own calls.
            trusted: whether the runner has to be a trusted one.
            thunk: the SHA-256 of the thunk that is called.
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
            "bassloop-sign": "true" if run_id else "",
            "bassloop-isolation": isolation_of(self.head.sha, thunk) if trusted else "",
        }
        if run_id:
            about |= self.loop.artifact_quotas.metadata()
        return {name: value for name, value in about.items() if value}

    @asynccontextmanager
    async def call_metadata(
        self,
        runtime: Runtime,
        run_id: str = "",
        *,
        trusted: bool = False,
        thunk: str = "",
        limit: float | None = None,
    ) -> AsyncGenerator[dict[str, str]]:
        """Provide the metadata for one call, and for a private repository a token to check it out with.

        The token is sent only to `bassloop runner`, which gives it only to Git and masks it in output, and only if
        the runner's owner can read the repository. It is revoked on exit. Without a token, the runner may use
        credentials of its own.

        Args:
            limit: the call's time limit in seconds, for the runner to know.
        """
        metadata = self.metadata(run_id, trusted=trusted, thunk=thunk)
        if limit is not None:
            metadata[TIME_LIMIT_METADATA] = f"{limit:.3f}"
        async with AsyncExitStack() as stack:
            if self.repository.private and runtime.kind == "bassloop":
                try:
                    if await self._can_read(runtime):
                        token = await stack.enter_async_context(
                            self.repo.checkout_token(self.repository.id)
                        )
                        metadata["bassloop-checkout-token"] = token.value
                except GitHubError as error:
                    log.warning("no token to check out with", run=run_id, error=str(error))
            yield metadata

    async def _can_read(self, runtime: Runtime) -> bool:
        """Return whether a runner's owner can currently read the repository."""
        return await self.repo.permission(runtime.login, user_id=runtime.user_id) != "none"

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


class HandledElsewhere(Exception):
    """Another node has ended a check's run, or has taken it back."""


@dataclass(frozen=True, slots=True)
class HandoverRequest:
    """A node's request to another one to run a check of a delivery.

    Args:
        event: the event's name and action; the loop's own buttons are events, too.
        head: the event's head; the default branch's if the event has none.
        hook_sha: the commit that the hook was read from.
        limit: the check's time limit in seconds, if it's shorter than the policy's.
        trusted: whether only a trusted runner may run it.
        sources: the runs whose artifacts it uses, by the names of their checks.
        verification: the run that verifies it.
        earlier: the run that it is to confirm.
    """

    event: str
    action: str | None
    head: str
    hook_sha: str
    rerun: bool
    rerun_of: str | None
    limit: float | None
    trusted: bool
    sources: Mapping[str, str] = field(default_factory=dict)
    verification: str | None = None
    earlier: str | None = None

    def to_body(self) -> dict[str, str]:
        """Return the body of a request between nodes."""
        return {"check": json.dumps(asdict(self))}

    @classmethod
    def from_body(cls, body: Mapping[str, str]) -> HandoverRequest:
        """Parse the result of `to_body`."""
        return cls(**json.loads(body["check"]))


def handover_request(
    context: DeliveryContext,
    *,
    limit: float | None,
    trusted: bool,
    sources: Mapping[str, CheckHandle],
    verification: CheckHandle | None,
    earlier: Run | None,
) -> HandoverRequest:
    """Return the request for another node to run a check of a delivery."""
    return HandoverRequest(
        event=context.event.name,
        action=context.event.action,
        head=context.head.sha,
        hook_sha=context.hook_sha,
        rerun=context.rerun,
        rerun_of=context.rerun_of,
        limit=limit,
        trusted=trusted,
        sources={name: handle.run.id for name, handle in sources.items()},
        verification=None if verification is None else verification.run.id,
        earlier=None if earlier is None else earlier.id,
    )
