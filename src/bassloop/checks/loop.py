"""The loop as its deliveries see it: the collaborators that they share, and what is active."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import trio

from bassloop.access.named_users import NamedUsers
from bassloop.access.permissions import Permissions
from bassloop.access.policy_cache import PolicyCache
from bassloop.access.visibility import Visibility
from bassloop.checks.artifact_collector import ArtifactQuotas
from bassloop.checks.hook_files import HookFiles
from bassloop.checks.other_nodes import OtherNodesRuns, OtherNodesRuntimes
from bassloop.checks.run_quotas import RunQuotas
from bassloop.concurrency import AutoResetEvent
from bassloop.deliveries.inbox import BACKOFF, read_event
from bassloop.telemetry.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from bassloop.access.runner_choice import RunnerChoice
    from bassloop.checks.tail import Tail
    from bassloop.concurrency import Backoff
    from bassloop.evaluator.evaluators import Evaluators
    from bassloop.github import Event, GitHub, GitHubError, User
    from bassloop.runtimes import Pool
    from bassloop.store import Delivery, Run, Store

BODIES_AT_ONCE = 4
"""Payloads that are read at the same time: each may have 25 MB."""


@dataclass(eq=False)
class ActiveHead:
    """A head for which a delivery is being handled. An approval changes whose runners it may use."""

    repository_id: int
    sha: str
    choice: RunnerChoice


@dataclass(eq=False)
class CheckHandle:
    """A check that was started.

    Args:
        run: its run as it was stored last; as it ended, once `finished` is set.
        retryable_error: why the check did not get as far as it should: GitHub did not accept it for now.
    """

    run: Run
    finished: trio.Event = field(default_factory=trio.Event)
    retryable_error: GitHubError | None = None


@dataclass(eq=False)
class Cancellation:
    """The means to cancel a run, and why it was cancelled."""

    scope: trio.CancelScope
    why: str = ""

    @property
    def cancelled(self) -> bool:
        """True once the run was cancelled and has stopped."""
        return self.scope.cancelled_caught


@dataclass(frozen=True, eq=False)
class Loop:
    """The collaborators of all deliveries, and what is active.

    Args:
        app_id: our own GitHub App's id; None if there is none, and then no hook runs.
        connect: from a login to the command that connects a runner of theirs.
        github_url: GitHub's web host.
        checks_per_delivery: how many checks one delivery may start.
        backoff: how long to wait before GitHub is asked again.
        active_heads: the heads whose hook or checks are running.
        active_checks: the checks that a delivery is running, by run id, for other deliveries of the same head.
        running: the ids of the runs that are on a runner, or wait for what verifies them.
        all_ended: set when none is left of those.
        cancellations: of the runs that wait for a runner, or run, by run id.
        concluding: the ids of the runs whose check runs are being concluded.
        conclusion_postponed: set when GitHub did not accept a conclusion, which is to be tried again.
        hook_tally: how hooks ended, and how long they and their checks took.
        run_tally: how runs ended, and how long they took.
    """

    store: Store
    tail: Tail
    pool: Pool
    github: GitHub
    evaluators: Evaluators
    external_url: str
    app_id: int | None
    connect: Callable[[str], str]
    github_url: str = "https://github.com"
    checks_per_delivery: int = 256
    backoff: Backoff = BACKOFF
    policies: PolicyCache = field(default_factory=PolicyCache)
    quotas: RunQuotas = field(default_factory=RunQuotas)
    artifact_quotas: ArtifactQuotas = field(default_factory=ArtifactQuotas)
    hook_files: HookFiles = field(default_factory=HookFiles)
    active_heads: set[ActiveHead] = field(default_factory=set)
    active_checks: dict[str, CheckHandle] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)
    all_ended: AutoResetEvent = field(default_factory=AutoResetEvent)
    cancellations: dict[str, Cancellation] = field(default_factory=dict)
    concluding: set[str] = field(default_factory=set)
    conclusion_postponed: AutoResetEvent = field(default_factory=AutoResetEvent)
    hook_tally: Tally = field(default_factory=Tally)
    run_tally: Tally = field(default_factory=Tally)
    _reading: trio.CapacityLimiter = field(
        default_factory=lambda: trio.CapacityLimiter(BODIES_AT_ONCE)
    )

    @cached_property
    def permissions(self) -> Permissions:
        """Permissions of people in repositories."""
        return Permissions(self.store, self.github)

    @cached_property
    def named_users(self) -> NamedUsers:
        """The users whose runners policies name."""
        return NamedUsers(self.github)

    @cached_property
    def other_runs(self) -> OtherNodesRuns:
        """The runs that other nodes carry out, and this one waits for."""
        return OtherNodesRuns(self.store, self.tail)

    @cached_property
    def other_runtimes(self) -> OtherNodesRuntimes:
        """The runtimes that are connected to other nodes."""
        return OtherNodesRuntimes(self.store)

    @cached_property
    def visibility(self) -> Visibility:
        """Keeps repositories and sessions in step with GitHub."""
        return Visibility(self.store, self.github, self.permissions, self.app_id)

    async def read_event(self, delivery: Delivery) -> Event:
        """Return what a delivery is about. Raises MalformedEvent, and StoreError."""
        async with self._reading:
            return await read_event(delivery.event, await self.store.deliveries.body(delivery.guid))

    def run_url(self, run_id: str) -> str:
        """Return the address of a run's page."""
        return f"{self.external_url}/runs/{run_id}"

    def approve_active(self, repository_id: int, sha: str, by: User) -> None:
        """Let what is active for a head use the approver's runners, and look for one at once."""
        for head in self.active_heads:
            if (head.repository_id, head.sha) == (repository_id, sha):
                head.choice = head.choice.approved(by)
        self.pool.notify()
        self.other_runtimes.notify()

    def note_running(self, run_id: str) -> None:
        """Note that a run is on a runner now."""
        self.running.add(run_id)

    def note_ended(self, run_id: str) -> None:
        """Note that a run isn't on a runner any more, if it was."""
        self.running.discard(run_id)
        if not self.running:
            self.all_ended.set()

    async def drain(self) -> None:
        """Let no more runs begin, and wait until those that are on a runner have ended.

        What waits for a runner goes on waiting; after a restart, its delivery begins it.
        """
        self.pool.stop_offering()
        while self.running:
            await self.all_ended.wait()

    def cancel(self, run_id: str, why: str = "the check was cancelled") -> bool:
        """Cancel a run that waits for a runner or runs; return False if it does neither.

        The run ends as ``cancelled``, with the first reason that was given.
        """
        cancellation = self.cancellations.get(run_id)
        if cancellation is None:
            return False
        cancellation.why = cancellation.why or why
        cancellation.scope.cancel()
        return True

    @contextmanager
    def cancellable(self, run_id: str) -> Generator[Cancellation]:
        """Let :meth:`cancel` end the body of this context, which then is left without an exception."""
        with trio.CancelScope() as scope:
            cancellation = self.cancellations[run_id] = Cancellation(scope)
            try:
                yield cancellation
            finally:
                del self.cancellations[run_id]
