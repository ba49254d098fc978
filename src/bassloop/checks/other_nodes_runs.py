"""The runs that other nodes carry out, and this one waits for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from bassloop.lifecycle import RunState
from bassloop.store import Topic

if TYPE_CHECKING:
    from bassloop.store import Run, Store

LOOK_SECONDS = 5.0
"""How often a run is looked at, in case a notification was lost."""


class OtherNodesRuns:
    """Waits for runs that other nodes carry out. Made before anything waits for one."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._changes: dict[str, trio.Event] = {}
        store.notifications.subscribe(Topic.RUNS, self._note)

    def _note(self, run_id: str | None) -> None:
        for each in list(self._changes) if run_id is None else [run_id]:
            if (changed := self._changes.pop(each, None)) is not None:
                changed.set()

    async def wait_for(self, run_id: str) -> Run:
        """Wait until a run has ended, or waits for this node, and return it. Raises StoreError."""
        while True:
            changed = self._changes.setdefault(run_id, trio.Event())
            run = await self._store.runs.get(run_id)
            assert run is not None, "a run that hasn't ended isn't removed"
            is_own = run.node == self._store.nodes.own_id
            if run.ended or (is_own and run.state == RunState.QUEUED):
                return run
            with trio.move_on_after(LOOK_SECONDS):
                await changed.wait()
