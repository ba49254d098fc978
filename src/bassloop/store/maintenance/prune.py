"""Pruning: removes old runs with their logs, expired artifacts, and deliveries and thunks that no run uses."""

from __future__ import annotations

import contextlib
import json
from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import trio

from bassloop.store.artifacts import artifact_prefix, expire, kept_files, list_artifacts
from bassloop.store.errors import os_errors
from bassloop.store.logs.log_objects import log_sizes, remove_logs
from bassloop.store.maintenance import Progress, ignore_progress, maintenance_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from bassloop.store.blobs import Blobs
    from bassloop.store.database import Connection
    from bassloop.store.engine import Engine


MIN_DELIVERY_SECONDS = 8 * 86400.0
"""The minimum time for which deliveries are kept. GitHub may send one again for a week, or list it as undelivered,
so its guid must be known until then."""

_RUNS_AT_ONCE = 50
_ROWS_AT_ONCE = 500
"""How many rows one transaction removes, so that other writes don't have to wait for long."""

_STRAY_SECONDS = 3600.0
"""The age at which files of artifacts without a row are removed."""

_REMOVABLE = """
    r.state NOT IN ('queued', 'running')
    AND NOT EXISTS (SELECT 1 FROM check_runs c WHERE c.run_id = r.id AND c.state != 'concluded')
    AND NOT EXISTS (SELECT 1 FROM vertexes v WHERE v.run_id = r.id AND v.log_state = 'open')
"""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds on runs: for how many seconds they are kept after their end, and bytes of logs. None means no bound."""

    seconds: float | None = None
    bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Retention:
    """Which runs are kept.

    Args:
        everywhere: the bounds on all repositories. `seconds` applies to each repository without its own
            `seconds`, `bytes` to all repositories together.
        repositories: additional bounds on single repositories (OWNER/NAME, in any case).
        only: consider only this repository, and apply `everywhere` to it.
    """

    everywhere: Bounds = Bounds()
    repositories: Mapping[str, Bounds] = field(default_factory=dict)
    only: str | None = None

    @property
    def bounded(self) -> bool:
        """True if there is any bound."""
        return any(each != Bounds() for each in (self.everywhere, *self.repositories.values()))


@dataclass(frozen=True, slots=True)
class StoredRun:
    """The facts about a run that retention depends on.

    Args:
        removable: whether it may be removed, because it has ended, and GitHub has its conclusion.
        bytes: the size of its logs.
    """

    id: str
    repository: str
    ended_at: float
    removable: bool
    bytes: int


def select_expired(runs: Sequence[StoredRun], retention: Retention, now: float) -> list[StoredRun]:
    """Return the runs to remove, oldest first. `runs` must be sorted by age, oldest first.

    For a bound on bytes, the oldest runs are removed until the rest is within it. A run that may not be removed
    counts towards it, and stays.
    """
    only = None if retention.only is None else retention.only.lower()
    considered = [run for run in runs if only in (None, run.repository.lower())]
    own = {name.lower(): bounds for name, bounds in retention.repositories.items()}
    expired = {run.id for run in considered if _too_old(run, own, retention.everywhere, now)}
    by_repository: defaultdict[str, list[StoredRun]] = defaultdict(list)
    for run in considered:
        by_repository[run.repository.lower()].append(run)
    for name, bounds in own.items():
        expired |= _too_large(by_repository[name], expired, bounds.bytes)
    expired |= _too_large(considered, expired, retention.everywhere.bytes)
    return [run for run in considered if run.removable and run.id in expired]


def _too_old(run: StoredRun, own: Mapping[str, Bounds], everywhere: Bounds, now: float) -> bool:
    seconds = own.get(run.repository.lower(), Bounds()).seconds
    seconds = everywhere.seconds if seconds is None else seconds
    return seconds is not None and run.removable and run.ended_at < now - seconds


def _too_large(runs: Iterable[StoredRun], expired: set[str], limit: int | None) -> set[str]:
    """Return the ids of the oldest runs that must be removed for the others to be within a limit of bytes."""
    staying = [run for run in runs if run.id not in expired]
    excess = 0 if limit is None else sum(run.bytes for run in staying) - limit
    found = set()
    for run in staying:
        if excess <= 0:
            break
        if run.removable:
            found.add(run.id)
            excess -= run.bytes
    return found


@dataclass(frozen=True, slots=True)
class PruneReport:
    """The result of pruning, or of a dry run.

    Args:
        orphans: how many folders of logs belonged to no run.
        bytes: the total size of the logs of the removed runs and of the orphans.
    """

    runs: int
    deliveries: int
    thunks: int
    orphans: int
    bytes: int


async def prune(
    engine: Engine,
    blobs: Blobs,
    retention: Retention,
    *,
    now: float,
    steady: bool = True,
    dry_run: bool = False,
    progress: Progress = ignore_progress,
) -> PruneReport:
    """Remove everything that `retention` doesn't keep.

    Removes whole runs, except for those that are queued or running or whose conclusion GitHub doesn't have;
    finished deliveries, after at least MIN_DELIVERY_SECONDS; and thunks that no run uses.

    Works in small transactions, and removes rows before files. If cancelled or killed, each run is either
    removed or complete, and the next call removes the remaining files. Raises StoreBusy during a backup, and
    StoreError.

    Args:
        steady: whether the clock can be trusted, so that artifacts may expire.
        dry_run: remove nothing; only runs and their bytes are counted.
    """
    with os_errors(blobs.folder), contextlib.ExitStack() as stack:
        lock = maintenance_lock(engine.database, blobs.folder)
        await trio.to_thread.run_sync(stack.enter_context, lock)
        progress("measuring logs", 0, 0)
        sizes = await trio.to_thread.run_sync(log_sizes, blobs)
        runs = await engine.read(lambda db: _stored_runs(db, sizes))
        expired = await trio.to_thread.run_sync(select_expired, runs, retention, now)
        if dry_run:
            return PruneReport(len(expired), 0, 0, 0, sum(run.bytes for run in expired))
        removed = 0
        for start in range(0, len(expired), _RUNS_AT_ONCE):
            progress("removing runs", start, len(expired))
            ids = [run.id for run in expired[start : start + _RUNS_AT_ONCE]]
            removed += await engine.write(partial(_remove_runs, ids=ids))
        before = _delivery_horizon(runs, expired, retention, now)
        await engine.write(partial(_remove_superseded, before=before))
        deliveries = await _remove_all(engine, partial(_remove_deliveries, before=before))
        thunks = await _remove_all(engine, _remove_thunks)
        await _remove_all(engine, _remove_tests)
        gone = await engine.read(lambda db: _without_run(db, sizes))
        for done, run_id in enumerate(gone):
            progress("removing logs", done, len(gone))
            await trio.to_thread.run_sync(remove_logs, blobs, run_id)
        if steady:
            await _remove_all(engine, partial(expire, now=now, limit=_ROWS_AT_ONCE))
        await _remove_artifacts(engine, blobs, now)
        orphans = len(gone - {run.id for run in expired})
        return PruneReport(removed, deliveries, thunks, orphans, sum(sizes[each] for each in gone))


async def _remove_artifacts(engine: Engine, blobs: Blobs, now: float) -> None:
    """Remove the files of artifacts that have expired, or whose run was removed. Raises OSError."""
    stored = await trio.to_thread.run_sync(list_artifacts, blobs)
    for run_id in await engine.read(lambda db: _without_run(db, stored)):
        await trio.to_thread.run_sync(blobs.remove, artifact_prefix(run_id))
        del stored[run_id]
    for run_id, artifacts in stored.items():
        kept = await engine.read(partial(kept_files, run_id=run_id))
        for each in artifacts:
            # A new file may be about to get its row.
            if each.name.rpartition("/")[2] not in kept and each.stored_at < now - _STRAY_SECONDS:
                await trio.to_thread.run_sync(blobs.remove, each.name)


async def _remove_all(engine: Engine, remove_some: Callable[[Connection], int]) -> int:
    total = 0
    while removed := await engine.write(remove_some):
        total += removed
    return total


def _delivery_horizon(
    runs: Sequence[StoredRun], expired: Sequence[StoredRun], retention: Retention, now: float
) -> float:
    """Return the time before which deliveries without runs are removed.

    They are removed at the same age as runs. If only bytes are bounded, those are removed that are older than all
    remaining runs.
    """
    if retention.only is not None:
        return 0.0
    seconds = retention.everywhere.seconds
    if seconds is not None:
        return now - max(seconds, MIN_DELIVERY_SECONDS)
    gone = {run.id for run in expired}
    staying = (run.ended_at for run in runs if run.id not in gone)
    return min(next(staying, now), now - MIN_DELIVERY_SECONDS)


def _stored_runs(db: Connection, sizes: Mapping[str, int]) -> list[StoredRun]:
    """Return all runs, oldest first, with the sizes of their logs."""
    rows = db.execute(
        f"SELECT r.id, r.repository, coalesce(r.ended_at, r.created_at) AS ended_at, {_REMOVABLE} AS removable "
        "FROM runs r ORDER BY r.seq"
    )
    return [
        StoredRun(
            row["id"],
            row["repository"],
            row["ended_at"],
            bool(row["removable"]),
            sizes.get(row["id"], 0),
        )
        for row in rows
    ]


def _remove_runs(db: Connection, ids: Iterable[str]) -> int:
    """Remove runs, if that is allowed, with their check runs and steps; return how many there were."""
    return db.execute(
        f"DELETE FROM runs AS r WHERE r.id IN (SELECT value FROM json_each(?)) AND {_REMOVABLE}",
        (json.dumps(list(ids)),),
    ).rowcount


def _remove_deliveries(db: Connection, before: float) -> int:
    """Remove some finished deliveries from before a time that have no run.

    Those that were held can't be approved any more: the page and the button for that are those of the run.
    """
    return db.execute(
        "DELETE FROM deliveries WHERE seq IN (SELECT seq FROM deliveries d WHERE received_at < ? "
        "AND state IN ('done', 'ignored', 'failed', 'held', 'set_aside') "
        "AND NOT EXISTS (SELECT 1 FROM runs WHERE delivery = d.guid) ORDER BY seq LIMIT ?)",
        (before, _ROWS_AT_ONCE),
    ).rowcount


def _remove_thunks(db: Connection) -> int:
    """Remove some thunks that no run uses."""
    return db.execute(
        "DELETE FROM thunks WHERE digest IN (SELECT digest FROM thunks t "
        "WHERE NOT EXISTS (SELECT 1 FROM runs WHERE thunk_digest = t.digest) LIMIT ?)",
        (_ROWS_AT_ONCE,),
    ).rowcount


def _remove_tests(db: Connection) -> int:
    """Remove some tests without a result in any run."""
    return db.execute(
        "DELETE FROM tests WHERE id IN (SELECT id FROM tests t "
        "WHERE NOT EXISTS (SELECT 1 FROM test_results WHERE test = t.id) LIMIT ?)",
        (_ROWS_AT_ONCE,),
    ).rowcount


def _remove_superseded(db: Connection, before: float) -> int:
    """Remove records of heads that were superseded before a time and have no run."""
    return db.execute(
        "DELETE FROM superseded AS s WHERE at < ? "
        "AND NOT EXISTS (SELECT 1 FROM runs WHERE head_sha = s.head_sha)",
        (before,),
    ).rowcount


def _without_run(db: Connection, ids: Iterable[str]) -> set[str]:
    """Return those of the ids that belong to no run."""
    rows = db.execute(
        "SELECT value FROM json_each(?) WHERE value NOT IN (SELECT id FROM runs)",
        (json.dumps(list(ids)),),
    )
    return {row[0] for row in rows}
