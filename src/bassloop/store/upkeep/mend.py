"""Checking a store as a whole, also one whose database is damaged."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from bassloop.store.database import connect, ownership
from bassloop.store.errors import StoreUnusable, translated
from bassloop.store.upkeep.check import Damaged, Finding, check
from bassloop.store.upkeep.files import alone
from bassloop.store.upkeep.looking import looking
from bassloop.store.upkeep.salvage import salvage

if TYPE_CHECKING:
    from collections.abc import Iterator


def look(database: Path, blobs: Path, *, in_use: bool) -> Iterator[Finding]:
    """Find what is wrong with a store, and change nothing. Raises as `check` does."""
    with looking(database) as connection:
        yield from check(connection, blobs, in_use=in_use)


def verify(database: Path, blobs: Path) -> Iterator[Finding]:
    """Find what is wrong with a backup: logs may be torn at their end that were open when it was made,
    and there may be some of a later one that failed. Raises as `check` does."""
    with looking(database, at_rest=True) as connection:
        yield from check(connection, blobs, in_use=True, strays=False)


def mend(database: Path, blobs: Path, *, now: float) -> Iterator[Finding]:
    """Find what is wrong with a store that nobody uses, and mend what can be mended.

    A damaged database is moved aside, and what can still be read of it takes its place. Raises
    StoreUnusable while a daemon has it, Busy, and StoreError.
    """
    with ownership(database), alone(blobs):
        try:
            yield from _mend(database, blobs)
        except Damaged as error:
            yield _replace(database, str(error), now)
            yield from _mend(database, blobs)


def _mend(database: Path, blobs: Path) -> Iterator[Finding]:
    try:
        with contextlib.closing(connect(database, "FULL")) as connection:
            yield from check(connection, blobs, mend=True)
    except sqlite3.DatabaseError as error:
        told = translated(error, database)
        if isinstance(told, StoreUnusable) and "damaged" in str(told):
            raise Damaged(str(told)) from error
        raise told from error


def _replace(database: Path, why: str, now: float) -> Finding:
    fresh = database.with_name(f"{database.name}.salvaged")
    found = salvage(database, fresh)
    aside = database.with_name(f"{database.name}.damaged-{now:.0f}")
    for suffix in ("-wal", "-shm"):
        Path(f"{fresh}{suffix}").unlink(missing_ok=True)
        beside = Path(f"{database}{suffix}")
        if beside.exists():
            beside.rename(f"{aside}{suffix}")
    database.rename(aside)
    fresh.rename(database)
    saved = ", ".join(f"{count:,} {table}" for table, (count, _) in found.items() if count)
    torn = ", ".join(table for table, (_, complete) in found.items() if not complete)
    lost = f"; rows are lost of: {torn}" if torn else "; no row is lost"
    return Finding(why, f"saved {saved}{lost}; the damaged file is {aside.name}")
