"""Readers: a few connections of their own, so that no reader waits for the writer (WAL)."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, TypeVar

import trio

from bassloop.store.errors import translated

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")


class Readers:
    """A pool of connections; each query runs in a thread, with one connection to itself."""

    def __init__(self, connect: Callable[[], sqlite3.Connection], path: Path, size: int) -> None:
        self._connect = connect
        self._path = path
        self._idle: list[sqlite3.Connection] = []
        self._limiter = trio.CapacityLimiter(size)

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """What `query` returns, from what is committed now. Waits for a connection when all are in
        use; when cancelled, the query is left to end by itself and its result is dropped."""

        def run() -> T:
            connection = self._idle.pop() if self._idle else self._connect()
            try:
                return query(connection)
            except sqlite3.Error as error:
                raise translated(error, self._path) from error
            finally:
                self._idle.append(connection)

        return await trio.to_thread.run_sync(run, limiter=self._limiter, abandon_on_cancel=True)

    async def close(self) -> None:
        """Close all connections, after the queries that still run."""
        with trio.CancelScope(shield=True):
            for _ in range(int(self._limiter.total_tokens)):
                await self._limiter.acquire_on_behalf_of(object())
        while self._idle:
            self._idle.pop().close()
