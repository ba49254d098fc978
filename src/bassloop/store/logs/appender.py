"""Appends to the files of a log, and repairs them after a crash. Blocking: runs in a thread."""

from __future__ import annotations

import copy
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from bassloop.store.blobs import FileReader
from bassloop.store.logs.log_files import (
    LINE_RECORD,
    PIECE_RECORD,
    TEXT_HEADER,
    TEXT_MAGIC,
    LineCounter,
    LogFiles,
    Records,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

SAME_TIME = 0.01
"""Pieces of one stream that arrive within this many seconds share a record."""

_CHUNK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes as received, and the text that they settled.

    Args:
        plain: all settled text so far equals the beginning of the raw bytes.
        line: the number of the line that was being written when the piece arrived.
    """

    raw: bytes
    text: bytes
    plain: bool
    line: int
    stream: int
    at: float


class MayBeTakenOver(OSError):
    """This node hasn't renewed its lease in time, so another node may own the log now."""


class LogAppender:
    """Appends pieces to the files of one log.

    Opens the files in each call, so that a thousand open logs need no file descriptors.

    Args:
        may_write: returns False once another node, which may share the folder, may have taken over the log.
    """

    def __init__(self, files: LogFiles, may_write: Callable[[], bool] = lambda: True) -> None:
        self._files = files
        self._may_write = may_write
        self._counter = LineCounter()
        self._plain = True
        self._partial = False
        self._last_piece: tuple[float, int] | None = None
        self._last_line = 0
        self.raw_bytes = 0
        self.text_file_bytes = 0
        self.pieces_file_bytes = 0

    @property
    def lines(self) -> int:
        return self._counter.lines

    def write(self, pieces: Sequence[Piece]) -> None:
        """Append pieces: data first, then the records that point at it.

        Raises OSError, in particular MayBeTakenOver. Then none of the pieces is in the files, and the call may
        be repeated.
        """
        self._check_fence()
        before = copy.copy(self._counter), self._plain, self._partial, self._last_piece
        before_line, before_bytes = self._last_line, self.raw_bytes
        sizes = [_size(path) for path in self._files.all]
        try:
            self._write(pieces)
        except BaseException:
            self._counter, self._plain, self._partial, self._last_piece = before
            self._last_line, self.raw_bytes = before_line, before_bytes
            for path, size in zip(self._files.all, sizes, strict=True):
                _restore_size(path, size)
            raise

    def _write(self, pieces: Sequence[Piece]) -> None:
        if self.raw_bytes == 0:
            _create(self._files.raw)
        index: list[bytes] = []
        copied: list[bytes] = []
        times: list[bytes] = []
        offset = self.raw_bytes
        header = b""
        for piece in pieces:
            if piece.raw:
                times.append(self._time(piece, offset))
                offset += len(piece.raw)
            if self._plain and not piece.plain:
                self._plain = False
                header = TEXT_HEADER.pack(TEXT_MAGIC, self._counter.offset)
            if piece.text:
                if not self._plain:
                    copied.append(piece.text)
                index.append(self._counter.feed(piece.text))
                self._partial = not piece.text.endswith(b"\n")
        if self._plain and self._counter.offset > offset:
            raise ValueError("more text was settled than received, so it isn't the raw text")
        _append(self._files.raw, b"".join(piece.raw for piece in pieces))
        self.raw_bytes = offset
        text, pieces_data = header + b"".join(copied), b"".join(times)
        _append(self._files.text, text)
        _append(self._files.lines, b"".join(index))
        _append(self._files.pieces, pieces_data)
        self.text_file_bytes += len(text)
        self.pieces_file_bytes += len(pieces_data)

    def close(self) -> None:
        """Settle the rest of a plain log, count a last line without a newline, and sync the data. Raises OSError."""
        self._check_fence()
        if self._plain:
            self._settle_rest()
        if self._partial:
            self._counter.lines += 1
            self._partial = False
        for path in (self._files.raw, self._files.text):
            if path.exists():
                with path.open("rb") as file:
                    os.fsync(file.fileno())

    def _check_fence(self) -> None:
        if not self._may_write():
            raise MayBeTakenOver("another node may have taken over")

    def _settle_rest(self) -> None:
        if self._counter.offset == self.raw_bytes:
            return
        with self._files.raw.open("rb", buffering=0) as raw:
            raw.seek(self._counter.offset)
            while chunk := raw.read(_CHUNK):
                _append(self._files.lines, self._counter.feed(chunk))
                self._partial = not chunk.endswith(b"\n")

    def _time(self, piece: Piece, offset: int) -> bytes:
        line = self._last_line = max(self._last_line, piece.line)
        if self._last_piece is not None:
            at, stream = self._last_piece
            if stream == piece.stream and 0 <= piece.at - at < SAME_TIME:
                return b""
        self._last_piece = (piece.at, piece.stream)
        return PIECE_RECORD.pack(offset, line, piece.at, piece.stream)


def _create(path: Path) -> None:
    """Create a file and its folder, which is removed while it's empty when another log of the run has been shipped."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            path.touch()
            return


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _restore_size(path: Path, size: int | None) -> None:
    if size is None:
        path.unlink(missing_ok=True)
    elif path.exists():
        os.truncate(path, size)


def _append(path: Path, data: bytes) -> None:
    if data:
        with path.open("ab", buffering=0) as file:
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]


class LogSize(NamedTuple):
    """The raw bytes and the lines of a log."""

    raw_bytes: int
    lines: int


def repair_log(files: LogFiles) -> LogSize:
    """Make the files of a log that was never closed consistent: whole records and whole lines. Raises OSError.

    Leaves the raw bytes unchanged. Removes the settled text if the raw bytes before it are incomplete, since a
    power failure may lose the latter and not the former. Drops a last settled line without a newline, since it
    may be incomplete.
    """
    raw_bytes = files.raw.stat().st_size if files.raw.exists() else 0
    before, copied = raw_bytes, 0
    if files.text.exists():
        with files.text.open("rb") as file:
            header = file.read(TEXT_HEADER.size)
        if len(header) == TEXT_HEADER.size and TEXT_HEADER.unpack(header)[1] <= raw_bytes:
            before = TEXT_HEADER.unpack(header)[1]
            copied = files.text.stat().st_size - TEXT_HEADER.size
        else:
            files.text.unlink()
    _drop_partial_record(files.pieces, PIECE_RECORD.size)
    counter = _resume(files, before + copied)
    whole = counter.offset
    for path, shift, end in (
        (files.raw, 0, before),
        (files.text, before - TEXT_HEADER.size, before + copied),
    ):
        if counter.offset >= end:
            continue
        with path.open("rb", buffering=0) as file:
            file.seek(counter.offset - shift)
            while chunk := file.read(min(end - counter.offset, _CHUNK)):
                newline = chunk.rfind(b"\n")
                if newline >= 0:
                    whole = counter.offset + newline + 1
                _append(files.lines, counter.feed(chunk))
    if copied:
        os.truncate(files.text, TEXT_HEADER.size + max(0, whole - before))
    return LogSize(raw_bytes, counter.lines)


def _resume(files: LogFiles, available: int) -> LineCounter:
    """Return a counter that continues after the last index record that points at available data."""
    _drop_partial_record(files.lines, LINE_RECORD.size)
    if not files.lines.exists():
        return LineCounter()
    with FileReader(files.lines) as reader:
        records = Records(reader, LINE_RECORD)
        last = records.last_at_most(available, 1)
        os.truncate(files.lines, (last + 1) * LINE_RECORD.size)
        if last < 0:
            return LineCounter()
        line, offset = records[last]
        return LineCounter(int(line), int(offset))


def _drop_partial_record(path: Path, size: int) -> None:
    if path.exists():
        os.truncate(path, path.stat().st_size // size * size)
