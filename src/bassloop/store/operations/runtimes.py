"""Runtimes that are connected."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.store import runtimes
from bassloop.store.operations.operations import Operations

if TYPE_CHECKING:
    from bassloop.store.model import RuntimeRecord


class RuntimeOperations(Operations):
    async def add_runtime(self, runtime: RuntimeRecord) -> None:
        """A runtime is connected. StoreConflict if its id is there already."""
        await self._writer.write(lambda db: runtimes.add(db, runtime))

    async def remove_session(self, session: str) -> int:
        """The session ended: all its runtimes are gone. Returns how many there were."""
        return await self._writer.write(lambda db: runtimes.remove_session(db, session))

    async def runtimes(self) -> list[RuntimeRecord]:
        """Those that are connected, in the order in which they came."""
        return await self._readers.read(runtimes.connected)
