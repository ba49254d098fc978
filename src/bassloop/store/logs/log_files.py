"""The files of a log: their names, their formats, and the index of lines."""

from __future__ import annotations

import re
import struct
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from bassloop.store.blobs import FileReader

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from bassloop.store.blobs import BlobReader

Part: TypeAlias = Literal["raw", "text", "lines", "pieces"]
"""The name of one of a log's files."""

LINE_RECORD = struct.Struct("<QQ")
"""The number of a line, and its offset in the settled text."""

PIECE_RECORD = struct.Struct("<QQdQ")
"""An offset in the raw bytes; and for the bytes from there to the next record, the number of the first one's line, the
time, and the stream."""

TEXT_HEADER = struct.Struct("<8sQ")
"""A magic number, and the number of raw bytes that are the settled text before this file's."""

TEXT_MAGIC = b"bassline"

ENTRY_LINES = 512
ENTRY_BYTES = 256 * 1024
"""The index has a record for the first line that begins this many lines or bytes after the previous record's."""

_RUN_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_NARROW = 64


def is_run_id(text: str) -> bool:
    """Return whether a text has the form of a run's id, and so is safe as the name of a folder."""
    return _RUN_ID.fullmatch(text) is not None


class LogParts(Protocol):
    """The files of one log, in a folder or in a bucket."""

    def open(self, *parts: Part) -> Sequence[BlobReader | None]:
        """Open some of the files, all from the same location; None for missing ones. Raises OSError."""


@contextmanager
def open_parts(log: LogParts, *parts: Part) -> Iterator[Sequence[BlobReader | None]]:
    """Open some of a log's files; None for missing ones. Raises OSError."""
    with ExitStack() as stack:
        readers = log.open(*parts)
        for reader in readers:
            if reader is not None:
                stack.enter_context(reader)
        yield readers


@dataclass(frozen=True, slots=True)
class LogFiles:
    """The paths of one log on this machine's disk."""

    raw: Path
    text: Path
    lines: Path
    pieces: Path

    @classmethod
    def of(cls, blobs: Path, run_id: str, row: int) -> LogFiles:
        """Return the paths of a step's log.

        Raises ValueError for a malformed run id, since it may come from a URL.
        """
        if not is_run_id(run_id):
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

    @property
    def closed(self) -> Path:
        """The path of the file that marks a complete log that isn't in the bucket yet."""
        return self.raw.with_name(f"{self.raw.name}.closed")

    def open(self, *parts: Part) -> list[FileReader | None]:
        return [_open(getattr(self, part)) for part in parts]


def _open(path: Path) -> FileReader | None:
    with suppress(FileNotFoundError):
        return FileReader(path)
    return None


class Records:
    """The records of an index file, read one at a time."""

    def __init__(self, reader: BlobReader, record: struct.Struct) -> None:
        self._reader = reader
        self._record = record
        self._count = reader.size // record.size

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> tuple[float, ...]:
        data = self._reader.read(index * self._record.size, self._record.size)
        return self._record.unpack(data)

    def last_at_most(self, value: float, field: int) -> int:
        """Return the index of the last record whose `field` is at most `value`, or -1.

        The records must be sorted by that field.
        """
        low, high = -1, self._count - 1
        while low < high:
            middle = (low + high + 1) // 2
            if self[middle][field] <= value:
                low = middle
            else:
                high = middle - 1
        return low


class LineCounter:
    """Counts the lines and bytes of a text, and makes its index of lines."""

    __slots__ = ("_entry_line", "_entry_offset", "_stride", "lines", "offset")

    def __init__(self, lines: int = 0, offset: int = 0) -> None:
        self.lines = lines
        self.offset = offset
        self._entry_line = lines
        self._entry_offset = offset
        self._stride = 32 * 1024

    def feed(self, text: bytes) -> bytes:
        """Count the next part of the text, and return its index records."""
        count = text.count(b"\n")
        if (
            self.lines + count < self._entry_line + ENTRY_LINES
            and self.offset + len(text) < self._entry_offset + ENTRY_BYTES
        ):
            self.lines += count
            self.offset += len(text)
            return b""
        records = []
        at = 0
        while (end := self._next_entry(text, at)) >= 0:
            self._entry_line = self.lines
            self._entry_offset = self.offset + end
            records.append(LINE_RECORD.pack(self._entry_line, self._entry_offset))
            at = end
        self.offset += len(text)
        return b"".join(records)

    def _next_entry(self, text: bytes, at: int) -> int:
        """Count lines from `at` on, and return the offset of the next line that needs a record, or -1 if none does."""
        enough = max(at, self._entry_offset + ENTRY_BYTES - self.offset - 1)
        far = text.find(b"\n", enough) if enough < len(text) else -1
        limit = len(text) if far < 0 else far
        wanted = self._entry_line + ENTRY_LINES - self.lines
        begun = at
        while at < limit:
            window = min(limit, at + self._stride)
            count = text.count(b"\n", at, window)
            if count >= wanted:
                position = find_newline(text, at, window, wanted)
                self.lines += wanted
                self._stride = max(256, 2 * (position - begun))
                return position + 1
            self.lines += count
            wanted -= count
            at = window
            self._stride = min(32 * 1024, 2 * self._stride)
        if far < 0:
            return -1
        self.lines += 1
        return far + 1


def find_newline(text: bytes, low: int, high: int, n: int) -> int:
    """Return the position of the `n`th newline in `text[low:high]`, which must have that many."""
    while high - low > _NARROW:
        middle = (low + high) // 2
        count = text.count(b"\n", low, middle)
        if count >= n:
            high = middle
        else:
            n -= count
            low = middle
    position = low - 1
    for _ in range(n):
        position = text.index(b"\n", position + 1)
    return position
