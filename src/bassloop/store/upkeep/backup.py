"""A copy of a store, made while it is in use.

The order is what makes the copy consistent. A log's files only grow, data before what points at it,
and its row says `closed`, with its extent, once everything is on disk. So the database is copied
*first*, as of one instant, and the logs that this copy names *after* it: each has at least what its
row promises. The files of a log that was open at that instant may have more or be torn at the end,
like after a crash; opening the restored store makes them whole lines, as it does then. Nothing is
removed meanwhile, for pruning needs the same lock.

A later backup to the same folder copies what is new. The old copy stays good until the new one is:
logs are added or grow, which the old database allows, then the database is replaced by renaming, then
what it does not name is removed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bassloop.lifecycle import LogState
from bassloop.store.errors import StoreError, translated
from bassloop.store.logs.formats import LogFiles
from bassloop.store.upkeep.files import alone, log_sizes, remove_logs, told_place
from bassloop.store.upkeep.looking import looking

if TYPE_CHECKING:
    from pathlib import Path

ABOUT = "backup.json"
"""The file that makes a folder a backup: when it was made, for people."""

DATABASE, BLOBS = "loop.db", "blobs"


class BackupError(StoreError):
    """The folder can't be backed up to, or restored from."""


@dataclass(frozen=True, slots=True)
class BackedUp:
    """What a backup holds, and what of it was copied now; `lost` logs are named by the database and
    were not there."""

    runs: int
    bytes: int
    copied: int
    lost: int


def back_up(database: Path, blobs: Path, to: Path, *, now: float) -> BackedUp:
    """Copy the store in these places into the folder `to`, which is new, empty, or an earlier backup.

    Raises BackupError when it is something else, Busy when the store is being pruned, and StoreError
    (StoreFull when there is no room). Killed or failed, an earlier backup in `to` is as good as it was.
    """
    about = to / ABOUT
    if to.exists() and not about.is_file() and any(to.iterdir()):
        raise BackupError(f"{to} is neither empty nor a backup: name another folder")
    with told_place(to), alone(blobs):
        (to / BLOBS).mkdir(parents=True, exist_ok=True)
        about.touch()
        fresh = to / f"{DATABASE}.new"
        _copy_database(database, fresh)
        with looking(fresh, at_rest=True) as copy:
            logs = copy.execute(
                "SELECT run_id, id, log_state, raw_bytes FROM vertexes WHERE log_state != 'none'"
            ).fetchall()
            runs = {row["id"] for row in copy.execute("SELECT id FROM runs")}
        copied = lost = 0
        for row in logs:
            source = LogFiles.of(blobs, row["run_id"], row["id"])
            target = LogFiles.of(to / BLOBS, row["run_id"], row["id"])
            copied += _copy_log(source, target, still=row["log_state"] != LogState.OPEN)
            lost += bool(row["raw_bytes"]) and not source.raw.exists()
        os.sync()  # all at once: a file at a time takes ten times as long
        fresh.replace(to / DATABASE)
        sizes = log_sizes(to / BLOBS)
        for run_id in sizes.keys() - runs:
            remove_logs(to / BLOBS, run_id)
        about.write_text(json.dumps({"made_at": now, "runs": len(runs)}) + "\n")
    size = (to / DATABASE).stat().st_size
    total = size + sum(count for run_id, count in sizes.items() if run_id in runs)
    return BackedUp(len(runs), total, size + copied, lost)


def _copy_database(database: Path, to: Path) -> None:
    """A copy as of one instant, in one file without a log beside it."""
    to.unlink(missing_ok=True)
    with looking(database) as source:
        try:
            with contextlib.closing(sqlite3.connect(to)) as target:
                source.backup(target)  # in one step: with several, each commit would begin it anew
                target.execute("PRAGMA journal_mode = DELETE")
        except sqlite3.Error as error:
            raise translated(error, to) from error


def _copy_log(source: LogFiles, target: LogFiles, *, still: bool) -> int:
    """Copy the files of a log, what points at data before the data. Those of one that does not change
    any more are as they were when they are as long. Returns how many bytes were copied."""
    copied = 0
    for path, to in zip(reversed(source.all), reversed(target.all), strict=True):
        try:
            size = path.stat().st_size
            if still and to.exists() and to.stat().st_size == size:
                continue
            to.parent.mkdir(parents=True, exist_ok=True)
            copied += _copy_file(path, to)
        except FileNotFoundError:
            to.unlink(missing_ok=True)
    return copied


def _copy_file(path: Path, to: Path) -> int:
    part = to.with_name(f"{to.name}.part")
    shutil.copyfile(path, part)
    size = part.stat().st_size
    part.replace(to)
    return size
