"""The state of the loop that all deliveries share: collaborators, and what is active."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import trio

from bassloop.access.permissions import Permissions
from bassloop.access.policy_lookup import NamedUsers, PolicyCache
from bassloop.access.visibility_sync import Visibility
from bassloop.checks.file_collectors import ArtifactQuotas
from bassloop.checks.hook_files import HookFiles
from bassloop.checks.other_nodes import OtherNodesRuns, OtherNodesRuntimes
from bassloop.checks.quotas import Quotas
from bassloop.concurrency import AutoResetEvent
from bassloop.deliveries.inbox import read_event
from bassloop.deliveries.scheduling import BACKOFF
from bassloop.telemetry.counters import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from bassloop.access.runner_choice import RunnerChoice
    from bassloop.checks.live_runs import LiveRuns
    from bassloop.concurrency import Backoff
    from bassloop.evaluator.evaluators import Evaluators
    from bassloop.github import Event, GitHub, GitHubError, User
    from bassloop.runtimes import Pool
    from bassloop.store import Delivery, Run, Store


BODIES_AT_ONCE = 4
"""How many payloads are read at the same time; each may have 25 MB."""


@dataclass(eq=False)
class ActiveHead:
    """A head for which a delivery is being handled. An approval changes the runners that it may use."""

    repository_id: int
    sha: str
    choice: RunnerChoice


@dataclass(eq=False)
class CheckHandle:
    """A check that was started, for those who wait for its end. A `CheckTask` runs it and updates this.

    Args:
        run: its run, as last stored. Once `finished` is set, the run has ended.
        retryable_error: the temporary error with which GitHub refused the check, if it did.
    """

    run: Run
    finished: trio.Event = field(default_factory=trio.Event)
    retryable_error: GitHubError | None = None


@dataclass(eq=False)
class Cancellation:
    """The scope that cancels a run, and the reason."""

    scope: trio.CancelScope
    why: str = ""

    @property
    def cancelled(self) -> bool:
        """True once the run was cancelled and has stopped."""
        return self.scope.cancelled_caught


@dataclass(frozen=True, eq=False)
class LoopState:
    """The collaborators of all deliveries, and what is active.

    Args:
        app_id: the id of the loop's GitHub App. If it's None, no hook runs.
        connect: returns the command that connects a runner, for a login.
        github_url: GitHub's web host.
        checks_per_delivery: how many checks one delivery may start.
        backoff: the delays between attempts at GitHub.
        active_heads: the heads whose hook or checks are running.
        active_checks: the checks that a delivery is running, by run id, for other deliveries of the same head.
        running: the ids of the runs that are on a runner, or wait for their verification.
        all_ended: set when there are no such runs.
        cancellations: the cancellations of runs that wait for a runner or run, by run id.
        concluding: the ids of the runs whose check runs are being concluded.
        conclusion_postponed: set when GitHub didn't accept a conclusion, which has to be tried again.
        hook_tally: how hooks ended, and how long they and their checks took.
        run_tally: how runs ended, and how long they took.
    """

    store: Store
    live_runs: LiveRuns
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
    quotas: Quotas = field(default_factory=Quotas)
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
        """The runs of this node's deliveries that other nodes have."""
        return OtherNodesRuns(self.store, self.live_runs)

    @cached_property
    def other_runtimes(self) -> OtherNodesRuntimes:
        """The runtimes that are connected to other nodes."""
        return OtherNodesRuntimes(self.store)

    @cached_property
    def visibility(self) -> Visibility:
        """Keeps repositories and sessions in step with GitHub."""
        return Visibility(self.store, self.github, self.permissions, self.app_id)

    async def read_event(self, delivery: Delivery) -> Event:
        """Return a delivery's event. Raises MalformedEvent and StoreError."""
        async with self._reading:
            return await read_event(delivery.event, await self.store.deliveries.body(delivery.guid))

    def run_url(self, run_id: str) -> str:
        """Return the address of a run's page."""
        return f"{self.external_url}/runs/{run_id}"

    def approve_active(self, repository_id: int, sha: str, by: User) -> None:
        """Let active checks of a head use the approver's runners, and look for one at once."""
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
        """Start no more runs, and wait until those that are on a runner have ended.

        Runs that wait for a runner keep waiting; their deliveries start them after a restart.
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
        """Let :meth:`cancel` cancel the body. The context is then left without an exception."""
        with trio.CancelScope() as scope:
            cancellation = self.cancellations[run_id] = Cancellation(scope)
            try:
                yield cancellation
            finally:
                del self.cancellations[run_id]
