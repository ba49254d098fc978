"""A command's look into the daemon's store, whether the daemon runs or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import click

from bassloop.cli.errors import told

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bassloop.settings import Settings
    from bassloop.store import Store

T = TypeVar("T")


def stored(settings: Settings, read: Callable[[Store], Awaitable[T]]) -> T:
    """What an operation on the daemon's store returns; told when there is no store."""
    import trio

    from bassloop.store import StoreError, open_store

    if not settings.database.is_file():
        raise click.ClickException(
            f"there is no database {settings.database}; are SQLITE_PATH and DATA_DIR the daemon's?"
        )

    async def opened() -> T:
        async with open_store(settings.database, settings.blobs, owner=False) as store:
            return await read(store)

    with told(StoreError):
        return trio.run(opened)
