"""Steps of runs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bassloop.store import steps
from bassloop.store.operations.operations import Operations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bassloop.store.model import Step, StepUpdate


class StepOperations(Operations):
    async def put_steps(self, run_id: str, updates: Sequence[StepUpdate]) -> dict[str, Step]:
        """Merge what a runner said about steps, in order, and return each of them by digest.
        Those that changed get the run's next version. NotStored for an unknown run."""
        found = await self._writer.write(lambda db: steps.put(db, run_id, updates))
        return {digest: self._with_extent(step) for digest, step in found.items()}

    async def steps(self, run_id: str, since_version: int = 0) -> list[Step]:
        """The steps of a run in the order of their first sight; those only that changed after
        `since_version` (a growing log is no change of its step until it is closed)."""
        found = await self._readers.read(lambda db: steps.since(db, run_id, since_version))
        return [self._with_extent(step) for step in found]

    async def step(self, run_id: str, row: int) -> Step | None:
        found = await self._readers.read(lambda db: steps.one(db, run_id, row))
        return None if found is None else self._with_extent(found)

    def _with_extent(self, step: Step) -> Step:
        log = self._live.get(step.row)
        if log is None:
            return step
        return replace(step, raw_bytes=log.raw_bytes, lines=log.lines)
