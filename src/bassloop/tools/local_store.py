"""The daemon's store, as commands on the same machine use it, whether the daemon runs or not."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeVar

import trio

from bassloop.store import find_blobs, find_database, open_store
from bassloop.tools.local_daemon import DaemonError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bassloop.settings import Settings
    from bassloop.store import Store

T = TypeVar("T")


async def use_store(settings: Settings, use: Callable[[Store], Awaitable[T]]) -> T:
    """Return what `use` returns for the daemon's store.

    Raises DaemonError if there is no database, and StoreError.
    """
    check_database(settings)
    blobs = await trio.to_thread.run_sync(partial(find_blobs, settings, probe=False))
    async with open_store(settings.database, blobs, owner=False) as store:
        return await use(store)


def check_database(settings: Settings) -> None:
    """Raise DaemonError if there is no database, and StoreError if it can't be asked."""
    database = find_database(settings.database)
    if not database.exists():
        where = (
            "name it with DATABASE_URL" if settings.database_url else "say where with --data-dir"
        )
        raise DaemonError(
            f"there is no database {database}, so no loop has run here: `bassloop serve` starts one. "
            f"If its data is elsewhere, {where}"
        )
