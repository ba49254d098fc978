"""The loop as its deliveries see it: the collaborators that they share, and what is active."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, TypeAlias

import trio

from bassloop.access.named_users import NamedUsers
from bassloop.access.permissions import Permissions
from bassloop.access.policy_cache import PolicyCache
from bassloop.access.visibility import Visibility
from bassloop.checks.artifact_collector import ArtifactQuotas
from bassloop.checks.other_nodes import OtherNodesRuns, OtherNodesRuntimes
from bassloop.checks.run_quotas import RunQuotas
from bassloop.concurrency import AutoResetEvent, SharedCalls, TTLCache, run_all
from bassloop.deliveries.inbox import BACKOFF, read_event
from bassloop.telemetry.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from bassloop.access.runner_choice import RunnerChoice
    from bassloop.checks.tail import Tail
    from bassloop.concurrency import Backoff
    from bassloop.evaluator.evaluators import Evaluators
    from bassloop.github import Event, GitHub, GitHubError, GitHubRepository, User
    from bassloop.runtimes import Pool
    from bassloop.store import Delivery, Run, Store


CACHE_BYTES = 16 << 20
CACHE_SECONDS = 3600.0
ENTRY_BYTES = 1 << 10

_Key: TypeAlias = "tuple[int, str, str]"

BODIES_AT_ONCE = 4
"""Payloads that are read at the same time: each may have 25 MB."""


def _size(found: tuple[bytes | None]) -> int:
    return ENTRY_BYTES + len(found[0] or b"")


@dataclass(eq=False)
class HookFiles:
    """The files of hooks, read from GitHub once for each commit, however many events are about it.

    A commit never changes, so neither do they, nor does it when there is none. Most commits don't change them. So a
    commit's top level is listed, and a file is read only if it hasn't been read already, at another commit: when there
    is a backlog, each request that is saved lets something else begin.

    They are kept by their paths at a commit, and by their blobs, the names that Git gives to contents.
    """

    _cache: TTLCache[_Key, tuple[bytes | None]] = field(
        default_factory=lambda: TTLCache(CACHE_BYTES, CACHE_SECONDS, size_of=_size), init=False
    )
    _reading: SharedCalls[_Key, bytes | None] = field(default_factory=SharedCalls, init=False)
    _listing: SharedCalls[tuple[int, str], dict[str, str] | None] = field(
        default_factory=SharedCalls, init=False
    )

    async def read(
        self, repository_id: int, repo: GitHubRepository, sha: str, path: str
    ) -> bytes | None:
        """Return a file's bytes at a commit, or None if there is none. Raises GitHubError."""
        key = repository_id, sha, path
        if (cached := self._cache.get(key)) is not None:
            return cached[0]
        content = await self._reading.share(key, lambda: repo.file(path, sha))
        self._cache.store(key, (content,))
        return content

    async def read_all(
        self, repository_id: int, repo: GitHubRepository, sha: str, paths: Iterable[str]
    ) -> dict[str, bytes | None]:
        """Return the bytes of several files at the top of a commit. Raises GitHubError."""
        paths = list(paths)
        top: dict[str, str] | None = None
        if any((repository_id, sha, path) not in self._cache for path in paths):
            top = await self._listing.share((repository_id, sha), lambda: repo.top_level(sha))
        found: dict[str, bytes | None] = {}

        async def read(path: str) -> None:
            key, blob = (repository_id, sha, path), top.get(path) if top is not None else ""
            by_blob = (repository_id, blob or "", "")
            if blob is None:
                self._cache.store(key, (None,))
            elif (kept := self._cache.get(by_blob)) is not None:
                self._cache.store(key, kept)
            found[path] = await self.read(repository_id, repo, sha, path)
            if blob:
                self._cache.store(by_blob, (found[path],))

        await run_all([partial(read, path) for path in paths])
        return found


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
