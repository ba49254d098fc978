"""What every delivery works with: the loop's collaborators and limits, made once and passed down."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

    from bassloop.dispatch.tail import Tail
    from bassloop.github import GitHub
    from bassloop.runtimes import Pool
    from bassloop.store import Store


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a delivery may take. Times in seconds, sizes in bytes."""

    runner_wait: float = 600.0
    check_seconds: float = 4 * 3600.0
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


@dataclass(frozen=True, eq=False)
class Loop:
    """The loop, as its deliveries see it.

    Args:
        app_id: our own GitHub App's id; None when there is none, and then no hook runs.
        connect: from a login to the command that connects a runner of theirs.
        running: the scopes of the runs that are being carried out, by run id.
        concluding: the runs whose end GitHub is being told.
        late: rung when GitHub did not take a run's end, so that it is to be told again.
    """

    store: Store
    tail: Tail
    pool: Pool
    github: GitHub
    external_url: str
    app_id: int | None
    connect: Callable[[str], str]
    limits: Limits = Limits()
    running: dict[str, trio.CancelScope] = field(default_factory=dict)
    concluding: set[str] = field(default_factory=set)
    late: Bell = field(default_factory=Bell)

    def run_url(self, run_id: str) -> str:
        """Where people read a run."""
        return f"{self.external_url}/runs/{run_id}"

    def cancel(self, run_id: str) -> bool:
        """Cancel a run that is being carried out; whether there was one. It ends as ``cancelled``."""
        scope = self.running.get(run_id)
        if scope is None:
            return False
        scope.cancel()
        return True
