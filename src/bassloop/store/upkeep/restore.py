"""A backup, verified and put back."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from bassloop.store.database import ownership, restoring
from bassloop.store.upkeep.backup import ABOUT, BLOBS, DATABASE, BackupError
from bassloop.store.upkeep.files import told_place
from bassloop.store.upkeep.mend import verify


def restore(
    backup: Path, database: Path, blobs: Path, *, overwrite: bool = False, now: float
) -> list[Path]:
    """Make the store in these places what the backup is.

    What was there is moved aside, never removed: returns to where. Killed in between, a daemon refuses
    to start, and restoring again goes on. Raises BackupError for what is no sound backup and where
    there is a store already that is not to be overwritten, StoreUnusable while a daemon has it, and
    StoreError.
    """
    if not (backup / ABOUT).is_file() or not (backup / DATABASE).is_file():
        raise BackupError(f"{backup} is no backup: it has no {ABOUT} and {DATABASE}")
    interrupted = restoring(database).exists()
    there = [path for path in (database, blobs) if path.exists()]
    if there and not overwrite and not interrupted:
        raise BackupError(f"there is data already in {there[0]}: say --overwrite to move it aside")
    wrong = [each.what for each in verify(backup / DATABASE, backup / BLOBS)]
    if wrong:
        raise BackupError(f"the backup in {backup} is not whole: {'; '.join(wrong[:5])}")
    with told_place(database):
        database.parent.mkdir(parents=True, exist_ok=True)
        blobs.parent.mkdir(parents=True, exist_ok=True)
        with ownership(database):
            return _put_back(backup, database, blobs, now)


def _put_back(backup: Path, database: Path, blobs: Path, now: float) -> list[Path]:
    fresh, fresh_blobs = (path.with_name(f"{path.name}.copy") for path in (database, blobs))
    shutil.rmtree(fresh_blobs, ignore_errors=True)
    shutil.copytree(backup / BLOBS, fresh_blobs)
    shutil.copyfile(backup / DATABASE, fresh)
    os.sync()
    fresh = fresh.rename(restoring(database))  # until this is in place, no daemon starts
    aside = {path: path.with_name(f"{path.name}.before-{now:.0f}") for path in (database, blobs)}
    for suffix in ("-wal", "-shm"):
        if (beside := Path(f"{database}{suffix}")).exists():
            beside.rename(f"{aside[database]}{suffix}")
    moved = [path.rename(to) for path, to in aside.items() if path.exists()]
    fresh_blobs.rename(blobs)
    fresh.rename(database)
    return moved
