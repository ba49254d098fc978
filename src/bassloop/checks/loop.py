"""What every delivery works with: the loop's collaborators and limits, made once and passed down."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import trio

from bassloop.access.permissions import Permissions
from bassloop.access.policy_cache import PolicyCache
from bassloop.access.visibility import Visibility
from bassloop.deliveries.inbox import BACKOFF
from bassloop.telemetry.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from bassloop.checks.context import Started, Work
    from bassloop.checks.tail import Tail
    from bassloop.concurrency import Backoff
    from bassloop.github import GitHub
    from bassloop.runtimes import Pool
    from bassloop.store import Store


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a delivery may take. Times in seconds, sizes in bytes."""

    hook_seconds: float = 300.0
    hook_steps: int = 50_000_000
    hook_live: int = 64 << 20
    hook_output: int = 1_000_000
    checks_per_delivery: int = 256


@dataclass(eq=False)
class Bell:
    """Wakes the one who waits for it; one that nobody waits for yet is heard by the next who does."""

    _rung: trio.Event = field(default_factory=trio.Event)

    def ring(self) -> None:
        """Wake it."""
        self._rung.set()

    async def wait(self) -> None:
        """Wait until it was rung since the last wait."""
        await self._rung.wait()
        self._rung = trio.Event()


@dataclass(eq=False)
class Cancellable:
    """A run that can be cancelled, and why it was."""

    scope: trio.CancelScope
    why: str = ""

    @property
    def cancelled(self) -> bool:
        """Whether it was, and has stopped."""
        return self.scope.cancelled_caught


@dataclass(frozen=True, eq=False)
class Loop:
    """The loop, as its deliveries see it.

    Args:
        app_id: our own GitHub App's id; None when there is none, and then no hook runs.
        connect: from a login to the command that connects a runner of theirs.
        backoff: how long to wait before GitHub is asked again.
        policies: what the operator and a repository's owners decided for it.
        at_work: the deliveries whose hook or checks are not over.
        under_way: the checks that a delivery carries out, by run id, for others of the same head.
        running: what can be cancelled, by run id: runs that wait for a runner, or run.
        concluding: the runs whose end GitHub is being told.
        late: rung when GitHub did not take a run's end, so that it is to be told again.
        hooks: how hooks ended, and how long they and their checks took.
        runs: how runs ended, and how long they ran.
    """

    store: Store
    tail: Tail
    pool: Pool
    github: GitHub
    external_url: str
    app_id: int | None
    connect: Callable[[str], str]
    limits: Limits = Limits()
    backoff: Backoff = BACKOFF
    policies: PolicyCache = field(default_factory=PolicyCache)
    at_work: set[Work] = field(default_factory=set)
    under_way: dict[str, Started] = field(default_factory=dict)
    running: dict[str, Cancellable] = field(default_factory=dict)
    concluding: set[str] = field(default_factory=set)
    late: Bell = field(default_factory=Bell)
    hooks: Tally = field(default_factory=Tally)
    runs: Tally = field(default_factory=Tally)

    @cached_property
    def permissions(self) -> Permissions:
        """What people may do in repositories."""
        return Permissions(self.store, self.github)

    @cached_property
    def visibility(self) -> Visibility:
        """Who may see which repository."""
        return Visibility(self.store, self.github, self.permissions, self.app_id)

    def run_url(self, run_id: str) -> str:
        """Where people read a run."""
        return f"{self.external_url}/runs/{run_id}"

    def cancel(self, run_id: str, why: str = "the check was cancelled") -> bool:
        """Cancel a run that waits or is being carried out; whether there was one. It ends as
        ``cancelled``, and says why: the first reason counts."""
        cancellable = self.running.get(run_id)
        if cancellable is None:
            return False
        cancellable.why = cancellable.why or why
        cancellable.scope.cancel()
        return True

    @contextmanager
    def cancellable(self, run_id: str) -> Generator[Cancellable]:
        """While the context lasts the run can be cancelled; what is in it is then left."""
        with trio.CancelScope() as scope:
            cancellable = self.running[run_id] = Cancellable(scope)
            try:
                yield cancellable
            finally:
                del self.running[run_id]
