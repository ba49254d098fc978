"""What every operation of the store works with."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from bassloop.store.logs.writer import LogQueue, LogWriter
    from bassloop.store.readers import Readers
    from bassloop.store.writer import Writer

LIST_LIMIT = 500
"""Items of one page of a list, at most."""


class Operations:
    """The writer, the readers, and the logs: `live` ones are being written, by their step's row."""

    def __init__(
        self, writer: Writer, readers: Readers, logs: LogQueue, blobs: Path, log_limit: int
    ) -> None:
        self._writer = writer
        self._readers = readers
        self._logs = logs
        self._blobs = blobs
        self._log_limit = log_limit
        self._live: dict[int, LogWriter] = {}


def bounded(limit: int) -> int:
    """How many items a list may have that was asked for with this limit."""
    return max(1, min(limit, LIST_LIMIT))
