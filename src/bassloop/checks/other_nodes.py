"""Waiting for other nodes of the same database: for their runtimes, and for runs that they have."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import structlog
import trio

from bassloop.lifecycle import RunState
from bassloop.runtimes import Platform
from bassloop.store import StoreLocked, StoreUnreachable, Topic

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bassloop.checks.live_runs import LiveRuns
    from bassloop.store import Run, RuntimeRecord, Store

log = structlog.get_logger(__name__)

POLL_SECONDS = 5.0
"""The interval at which a run is polled, in case a notification was lost."""

REFUSED_SECONDS = 2.0
"""How long a node isn't chosen again after it was gone, or couldn't run something."""


class OtherNodesRuns:
    """Waits for runs that other nodes have. Their followers are woken when one begins, ends, or changes its node."""

    def __init__(self, store: Store, live_runs: LiveRuns) -> None:
        self._store, self._live_runs = store, live_runs

    async def wait_for(self, run_id: str) -> Run:
        """Wait until a run has ended, or waits for this node, and return it.

        Goes on while the database is locked or out of reach. Raises StoreError for other errors.
        """
        return await self._wait_for(run_id, or_own=True)

    async def wait_for_end(self, run_id: str) -> Run:
        """Wait until a run has ended, and return it. Raises what `wait_for` does."""
        return await self._wait_for(run_id, or_own=False)

    async def _wait_for(self, run_id: str, *, or_own: bool) -> Run:
        async with self._live_runs.follow(run_id) as following:
            while True:
                with trio.move_on_after(POLL_SECONDS):
                    await following.changed()
                try:
                    run = await self._store.runs.get(run_id)
                except (StoreLocked, StoreUnreachable) as error:
                    log.warning("run of another node not read", run=run_id, error=str(error))
                    continue
                assert run is not None, "a run that hasn't ended isn't removed"
                is_own = or_own and run.node == self._store.nodes.own_id
                if run.ended or (is_own and run.state == RunState.QUEUED):
                    return run


class OtherNodesRuntimes:
    """The runtimes connected to other nodes, which are read again when one has connected."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._changed = trio.Event()
        self._reading = trio.Lock()
        self._found: Sequence[RuntimeRecord] = ()
        self._is_current = False
        self._refused: dict[str, float] = {}
        store.notifications.subscribe(Topic.RUNTIMES, lambda _: self.notify())

    def notify(self) -> None:
        """Look again, because a runtime has connected, or other users' may be used."""
        self._is_current = False
        self._changed.set()
        self._changed = trio.Event()

    def refuse(self, node: str) -> None:
        """Don't choose a node for a while, because it refused a run."""
        self._refused[node] = trio.current_time() + REFUSED_SECONDS
        self._is_current = False

    async def find(self, user_ids: Sequence[int], platform: Platform | None) -> str | None:
        """Return a node with a runtime of one of these users, in order of preference, or None."""
        async with self._reading:
            if not self._is_current:
                self._is_current = True
                self._found = await self._store.runtimes.elsewhere()
        now = trio.current_time()
        for user_id in user_ids:
            for each in self._found:
                is_fit = Platform(each.os, each.arch).serves(platform)
                if each.user_id == user_id and is_fit and self._refused.get(each.node, now) <= now:
                    return each.node
        return None

    async def wait_for(
        self, user_ids: Callable[[], Sequence[int]], platform: Platform | None
    ) -> str:
        """Wait until `find` returns a node. `user_ids` is called again after `notify`."""
        while True:
            changed, now = self._changed, trio.current_time()
            if (node := await self.find(user_ids(), platform)) is not None:
                return node
            again = min((at for at in self._refused.values() if at > now), default=math.inf)
            with trio.move_on_at(again):
                await changed.wait()
