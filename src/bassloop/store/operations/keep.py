"""Keeping the store small."""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import trio

from bassloop.store.operations.operations import Operations
from bassloop.store.upkeep import files, prune
from bassloop.store.upkeep.retention import overdue

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from bassloop.store.upkeep.retention import KeptRun, Retention

_RUNS_AT_ONCE = 50
_ROWS_AT_ONCE = 500
"""Rows that one transaction removes: other writes wait for no more than that."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was removed, or would be. `bytes` are those of the runs' logs and of `orphans`: folders of
    logs that no run had."""

    runs: int
    deliveries: int
    thunks: int
    orphans: int
    bytes: int


class KeepOperations(Operations):
    async def prune(self, retention: Retention, *, now: float, dry_run: bool = False) -> Pruned:
        """Remove what has had its time: whole runs, never one that is queued or running or whose end
        GitHub was not told; deliveries that are over, a week after they came at the earliest; thunks
        that no run names.

        In small transactions, rows before files: when cancelled or killed, whole runs are gone and
        others are whole, and the next call goes on. With `dry_run`, only runs and their bytes are
        counted. Raises Busy while a backup is made, and StoreError.
        """
        with files.told_place(self._blobs), contextlib.ExitStack() as stack:
            await trio.to_thread.run_sync(stack.enter_context, files.alone(self._blobs))
            sizes = await trio.to_thread.run_sync(files.log_sizes, self._blobs)
            kept = await self._readers.read(lambda db: prune.kept_runs(db, sizes))
            going = await trio.to_thread.run_sync(overdue, kept, retention, now)
            if dry_run:
                return Pruned(len(going), 0, 0, 0, sum(run.bytes for run in going))
            runs = 0
            for some in _batched(going):
                ids = [run.id for run in some]
                runs += await self._writer.write(partial(prune.remove_runs, ids=ids))
            before = _horizon(kept, going, retention, now)
            await self._writer.write(partial(prune.remove_superseded, before=before))
            deliveries = await self._all(
                partial(prune.remove_deliveries, before=before, limit=_ROWS_AT_ONCE)
            )
            thunks = await self._all(partial(prune.remove_thunks, limit=_ROWS_AT_ONCE))
            gone = await self._readers.read(lambda db: prune.unknown(db, sizes))
            for run_id in gone:
                await trio.to_thread.run_sync(files.remove_logs, self._blobs, run_id)
            orphans = len(gone - {run.id for run in going})
            return Pruned(runs, deliveries, thunks, orphans, sum(sizes[each] for each in gone))

    async def _all(self, some: Callable[[sqlite3.Connection], int]) -> int:
        total = 0
        while removed := await self._writer.write(some):
            total += removed
        return total


def _batched(runs: Iterable[KeptRun]) -> Iterator[list[KeptRun]]:
    rest = iter(runs)
    while some := list(itertools.islice(rest, _RUNS_AT_ONCE)):
        yield some


def _horizon(
    kept: Sequence[KeptRun], going: Sequence[KeptRun], retention: Retention, now: float
) -> float:
    """Before when deliveries without a run have had their time too: with the age of runs, or where
    only their bytes are bounded, with the oldest run that stays."""
    seconds = retention.everywhere.seconds
    if retention.only is not None:
        return 0.0
    if seconds is not None:
        return now - max(seconds, prune.DELIVERY_SECONDS)
    gone = {run.id for run in going}
    staying = (run.ended_at for run in kept if run.id not in gone)
    return min(next(staying, now), now - prune.DELIVERY_SECONDS)
