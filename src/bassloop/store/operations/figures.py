"""How much is in the store, for those who watch over it."""

from __future__ import annotations

import errno
import shutil
import tempfile
from typing import TYPE_CHECKING

import trio

from bassloop.lifecycle import DeliveryState, RunState
from bassloop.store.errors import StoreError, StoreFull
from bassloop.store.model import Figures
from bassloop.store.operations.operations import Operations
from bassloop.store.schema import APPLICATION_ID

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

UNFINISHED = "state IN ('received', 'handling')"
"""As the index of unfinished deliveries says it, so that it is used."""


class FigureOperations(Operations):
    async def figures(self) -> Figures:
        """How much there is, and how much of it waits. Reads indexes only."""

        def read(db: sqlite3.Connection) -> Figures:
            count = f"SELECT state, count(*) FROM deliveries WHERE {UNFINISHED} GROUP BY state"  # noqa: S608
            oldest = (
                f"SELECT received_at FROM deliveries WHERE {UNFINISHED} AND state = 'received' "  # noqa: S608
                "ORDER BY seq LIMIT 1"
            )
            runs = "SELECT state, count(*) FROM runs WHERE state IN ('queued', 'running') GROUP BY state"
            first = db.execute(oldest).fetchone()
            [pages] = db.execute("PRAGMA page_count").fetchone()
            [page] = db.execute("PRAGMA page_size").fetchone()
            return Figures(
                deliveries={
                    DeliveryState.RECEIVED: 0,
                    DeliveryState.HANDLING: 0,
                    **dict(db.execute(count).fetchall()),
                },
                runs={RunState.QUEUED: 0, RunState.RUNNING: 0, **dict(db.execute(runs).fetchall())},
                oldest_waiting_at=first[0] if first else None,
                database_bytes=pages * page,
                free_bytes=shutil.disk_usage(_there(self._blobs)).free,
            )

        return await self._readers.read(read)

    async def probe(self) -> None:
        """Commit a change that changes nothing, and write a byte beside the logs. Raises StoreError
        when one can't be."""

        def touch(db: sqlite3.Connection) -> None:
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")

        await self._writer.write(touch, wait=False)
        await trio.to_thread.run_sync(_touch, self._blobs)


def _there(folder: Path) -> Path:
    """The folder, or what is to hold it once it is made."""
    return folder if folder.is_dir() else folder.parent


def _touch(blobs: Path) -> None:
    """Write a file and remove it."""
    try:
        blobs.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=blobs) as file:
            file.write(b"\n")
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise (StoreFull if full else StoreError)(
            f"blobs {blobs} can't be written: {error.strerror}"
        ) from error
