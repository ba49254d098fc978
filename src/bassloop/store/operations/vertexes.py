"""Vertexes of runs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bassloop.store import vertexes
from bassloop.store.operations.operations import Operations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bassloop.store.model import Vertex, VertexUpdate


class VertexOperations(Operations):
    async def put_vertexes(self, run_id: str, updates: Sequence[VertexUpdate]) -> dict[str, Vertex]:
        """Merge what a runner said about vertexes, in order, and return each of them by digest.
        Those that changed get the run's next version. NotStored for an unknown run."""
        found = await self._writer.write(lambda db: vertexes.put(db, run_id, updates))
        return {digest: self._with_extent(vertex) for digest, vertex in found.items()}

    async def vertexes(self, run_id: str, since_version: int = 0) -> list[Vertex]:
        """The vertexes of a run in the order of their first sight; those only that changed after
        `since_version` (a growing log is no change of its vertex until it is closed)."""
        found = await self._readers.read(lambda db: vertexes.since(db, run_id, since_version))
        return [self._with_extent(vertex) for vertex in found]

    async def vertex(self, run_id: str, row: int) -> Vertex | None:
        found = await self._readers.read(lambda db: vertexes.one(db, run_id, row))
        return None if found is None else self._with_extent(found)

    def _with_extent(self, vertex: Vertex) -> Vertex:
        log = self._live.get(vertex.row)
        if log is None:
            return vertex
        return replace(vertex, raw_bytes=log.raw_bytes, lines=log.lines)
