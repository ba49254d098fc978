"""The writing end of a log's files. Blocking: it lives in a thread, one flush at a time."""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bassloop.store.logs.counting import LineCounter
from bassloop.store.logs.formats import (
    LINE_RECORD,
    PIECE_RECORD,
    TEXT_HEADER,
    TEXT_MAGIC,
    LogFiles,
    Records,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SAME_TIME = 0.01
"""Seconds within which pieces of one stream share a record of their time."""

_CHUNK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes as received, and the settled text that became known with them. `plain` says that all
    settled text up to here is the beginning of the raw bytes; `line` is the line that was being
    written when the piece came."""

    raw: bytes
    text: bytes
    plain: bool
    line: int
    stream: int
    at: float


class LogSink:
    """Appends pieces to the files of one log. Files are opened for each flush, so that a thousand
    open logs cost no file descriptors."""

    def __init__(self, files: LogFiles) -> None:
        self._files = files
        self._counter = LineCounter()
        self._plain = True
        self._partial = False
        self._last_piece: tuple[float, int] | None = None
        self._last_line = 0
        self.raw_bytes = 0

    @property
    def lines(self) -> int:
        return self._counter.lines

    def write(self, pieces: Sequence[Piece]) -> None:
        """Append the pieces: data first, then what points at it. Raises OSError; then none of them is
        in the files, and they may be written again."""
        before = copy.copy(self._counter), self._plain, self._partial, self._last_piece
        before_line, before_bytes = self._last_line, self.raw_bytes
        sizes = [_size(path) for path in self._files.all]
        try:
            self._write(pieces)
        except BaseException:
            self._counter, self._plain, self._partial, self._last_piece = before
            self._last_line, self.raw_bytes = before_line, before_bytes
            for path, size in zip(self._files.all, sizes, strict=True):
                _cut(path, size)
            raise

    def _write(self, pieces: Sequence[Piece]) -> None:
        if self.raw_bytes == 0:
            self._files.raw.parent.mkdir(parents=True, exist_ok=True)
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
            raise ValueError("more text was settled than received: it cannot be the raw text")
        _append(self._files.raw, b"".join(piece.raw for piece in pieces))
        self.raw_bytes = offset
        _append(self._files.text, header + b"".join(copied))
        _append(self._files.lines, b"".join(index))
        _append(self._files.pieces, b"".join(times))

    def close(self) -> None:
        """Settle what is left of a plain log, count a last line that has no newline, and make the
        data durable. Raises OSError."""
        if self._plain:
            self._settle_rest()
        if self._partial:
            self._counter.lines += 1
            self._partial = False
        for path in (self._files.raw, self._files.text):
            if path.exists():
                with path.open("rb") as file:
                    os.fsync(file.fileno())

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


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _cut(path: Path, size: int | None) -> None:
    """Make a file as it was before."""
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


@dataclass(frozen=True, slots=True)
class Repaired:
    raw_bytes: int
    lines: int


def repair(files: LogFiles) -> Repaired:
    """Make the files of a log that was never closed consistent again: whole records, whole lines.

    Raw bytes are left as they are. Settled text that begins behind the end of the raw bytes that it
    continues is dropped: a power failure may take the one and leave the other. A last settled line
    without its newline is not counted, since nobody knows whether it was whole. Raises OSError.
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
    _truncate(files.pieces, PIECE_RECORD.size)
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
    return Repaired(raw_bytes, counter.lines)


def _resume(files: LogFiles, available: int) -> LineCounter:
    """A counter that goes on from the last record of the index that points at data we have."""
    _truncate(files.lines, LINE_RECORD.size)
    if not files.lines.exists():
        return LineCounter()
    with files.lines.open("r+b", buffering=0) as file:
        records = Records(file.fileno(), LINE_RECORD)
        last = records.last_at_most(available, 1)
        file.truncate((last + 1) * LINE_RECORD.size)
        if last < 0:
            return LineCounter()
        line, offset = records[last]
        return LineCounter(int(line), int(offset))


def _truncate(path: Path, size: int) -> None:
    if path.exists():
        os.truncate(path, path.stat().st_size // size * size)
