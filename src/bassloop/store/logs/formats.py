"""The files of a log: their names and their records."""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LINE_RECORD = struct.Struct("<QQ")
"""Line number, offset in the settled text where that line begins."""

PIECE_RECORD = struct.Struct("<QQdQ")
"""Raw offset, line that was being written, time, stream: true from there until the next record."""

TEXT_HEADER = struct.Struct("<8sQ")
"""Magic, raw bytes that are settled text as they are and stand before this file's."""

TEXT_MAGIC = b"bassline"

ENTRY_LINES = 512
ENTRY_BYTES = 256 * 1024
"""A line record is made for the first line that is this many lines or bytes after the last one."""

_RUN_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class LogFiles:
    """The paths of one log."""

    raw: Path
    text: Path
    lines: Path
    pieces: Path

    @classmethod
    def of(cls, blobs: Path, run_id: str, row: int) -> LogFiles:
        """Raises ValueError for a run id that no run can have (it may come from a URL)."""
        if not _RUN_ID.fullmatch(run_id):
            raise ValueError(f"{run_id!r} is not the id of a run")
        raw = blobs / "logs" / run_id / str(int(row))
        return cls(
            raw=raw,
            text=raw.with_name(f"{raw.name}.text"),
            lines=raw.with_name(f"{raw.name}.lines"),
            pieces=raw.with_name(f"{raw.name}.pieces"),
        )

    @property
    def all(self) -> tuple[Path, Path, Path, Path]:
        return (self.raw, self.text, self.lines, self.pieces)


class Records:
    """The records of an index file, read one at a time from an open descriptor."""

    def __init__(self, descriptor: int, record: struct.Struct) -> None:
        self._descriptor = descriptor
        self._record = record
        self._count = os.fstat(descriptor).st_size // record.size

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> tuple[float, ...]:
        data = os.pread(self._descriptor, self._record.size, index * self._record.size)
        return self._record.unpack(data)

    def last_at_most(self, value: float, field: int) -> int:
        """Index of the last record whose `field` is at most `value`; -1 if there is none. Records
        are in ascending order of every field that is asked for."""
        low, high = -1, self._count - 1
        while low < high:
            middle = (low + high + 1) // 2
            if self[middle][field] <= value:
                low = middle
            else:
                high = middle - 1
        return low
