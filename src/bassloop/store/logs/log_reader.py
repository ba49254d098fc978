"""Reads the files of a log, in bounded reads whatever its size. Blocking: runs in a thread."""

from __future__ import annotations

import contextlib
import heapq
import time
from typing import TYPE_CHECKING, NamedTuple

from bassloop.store.logs.log_files import (
    ENTRY_BYTES,
    LINE_RECORD,
    PIECE_RECORD,
    TEXT_HEADER,
    LogParts,
    Records,
    find_newline,
    open_parts,
)
from bassloop.store.records import LineGap, LineTime, LogPiece, LogText

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bassloop.store.blobs import BlobReader

LINE_LIMIT = 128 * 1024
"""The maximum number of bytes that are returned of one line. A longer line is cut, and says so."""

READ_LIMIT = 4 * 1024 * 1024
"""The number of bytes after which `read_lines` stops."""

VISIT_SECONDS = 0.1
"""How long a thread scans one log before others get a turn."""

_CHUNK = 64 * 1024
_RECORDS_AT_ONCE = 4096


class TextPosition(NamedTuple):
    """The number of a line, and its offset in the settled text."""

    line: int
    offset: int


class PiecePosition(NamedTuple):
    """The number of a piece, and the offset in the raw file from which to continue reading it."""

    piece: int = 0
    offset: int = 0


class LogReader:
    """The settled text of a log: the plain beginning of the raw file, then the text file."""

    def __init__(
        self, raw: BlobReader, text: BlobReader | None, index: Records | None, lines: int
    ) -> None:
        self._raw = raw
        self._text = text
        self._index = index
        self._lines = lines
        self._before = self._end = raw.size
        header = b"" if text is None else text.read(0, TEXT_HEADER.size)
        if text is not None and len(header) == TEXT_HEADER.size:
            (_, self._before) = TEXT_HEADER.unpack(header)
            self._end = self._before + text.size - TEXT_HEADER.size

    def read(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes of settled text, or nothing at its end."""
        if offset < self._before:
            return self._raw.read(offset, min(size, self._before - offset))
        if self._text is None:
            return b""
        return self._text.read(offset - self._before + TEXT_HEADER.size, size)

    def lines(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield the existing lines from `start` to `stop`, without their line endings."""
        stop = min(stop, self._lines)
        line, offset = self._entry(start)
        buffer = b""
        at = 0
        while line < stop:
            newline = buffer.find(b"\n", at)
            if newline >= 0:
                if line >= start:
                    yield _bounded(buffer[at:newline].rstrip(b"\r"), newline - at)
                at = newline + 1
                line += 1
                continue
            buffer = buffer[at:]
            at = 0
            chunk = self.read(offset, _CHUNK)
            offset += len(chunk)
            buffer += chunk
            if not chunk:
                if line >= start:
                    yield _bounded(buffer.rstrip(b"\r"), len(buffer))
                return
            if len(buffer) > LINE_LIMIT and buffer.find(b"\n") < 0:
                begin = offset - len(buffer)
                offset = self._end_of_long(line, offset)
                if line >= start:
                    yield _bounded(buffer, offset - begin - 1)
                buffer = b""
                line += 1

    def find(self, line: int) -> TextPosition:
        """Return the position of a line, or of the end of the log if it has no such line."""
        number, offset = self._entry(line)
        while number < min(line, self._lines):
            chunk = self.read(offset, _CHUNK)
            ended = chunk.count(b"\n")
            if not chunk or number + ended >= line:
                if chunk:
                    offset += find_newline(chunk, 0, len(chunk), line - number) + 1
                    number = line
                break
            number += ended
            offset += len(chunk)
        return TextPosition(number, offset)

    def block(self, position: TextPosition, size: int) -> tuple[LogText, TextPosition]:
        """Return about `size` bytes of unmodified whole lines, and the position after them.

        A single line longer than that is cut as in `lines`.
        """
        line, offset = position
        left = self._lines - line
        data = self.read(offset, size) if left > 0 else b""
        # A read ends at the end of the raw file's part, which may be in the middle of a line.
        while (
            data and len(data) < size and (more := self.read(offset + len(data), size - len(data)))
        ):
            data += more
        if not data:
            return LogText(line, 0, b""), position
        whole = data.rfind(b"\n") + 1
        if not whole and offset + len(data) < self._end and len(data) >= size:
            end = self._end_of_long(line, offset + len(data))
            text = _bounded(data, end - offset - 1) + b"\n"
            return LogText(line, 1, text), TextPosition(line + 1, end)
        if offset + len(data) < self._end or data.count(b"\n") >= left:
            data = data[:whole]
        lines = data.count(b"\n")
        if lines > left:
            data = data[: find_newline(data, 0, len(data), left) + 1]
            lines = left
        elif not data.endswith(b"\n"):
            data += b"\n"
            lines += 1
        return LogText(line, lines, data), TextPosition(line + lines, offset + len(data))

    def _entry(self, line: int) -> tuple[int, int]:
        at = -1 if self._index is None else self._index.last_at_most(line, 0)
        if self._index is None or at < 0:
            return 0, 0
        number, offset = self._index[at]
        return int(number), int(offset)

    def _end_of_long(self, line: int, offset: int) -> int:
        """Return the offset of the line after a long one.

        Every line longer than ENTRY_BYTES, except for the last, is followed by one with an index record, so at
        most that many bytes are searched.
        """
        if self._index is not None:
            after = self._index.last_at_most(line, 0) + 1
            if after < len(self._index):
                number, begin = self._index[after]
                if number == line + 1:
                    return int(begin)
        stop = offset + ENTRY_BYTES
        while offset < stop and (chunk := self.read(offset, _CHUNK)):
            newline = chunk.find(b"\n")
            if newline >= 0:
                return offset + newline + 1
            offset += len(chunk)
        return self._end + 1


def _bounded(line: bytes, length: int) -> bytes:
    if len(line) <= LINE_LIMIT:
        return line
    cut = line[:LINE_LIMIT]
    whole = cut.decode("utf-8", "ignore").encode()
    head = whole if LINE_LIMIT - len(whole) < 4 else cut
    return head + f" \u2026 [cut here: this line has {length:,} bytes]".encode()


@contextlib.contextmanager
def open_reader(log: LogParts, lines: int) -> Iterator[LogReader | None]:
    """Open a log, of which `lines` lines are settled; None if nothing was ever written. Raises OSError."""
    with open_parts(log, "text", "lines", "raw") as (text, index, raw):
        if raw is None:
            yield None
            return
        yield LogReader(raw, text, None if index is None else Records(index, LINE_RECORD), lines)


def read_lines(log: LogParts, lines: int, start: int, stop: int) -> list[bytes]:
    """Return lines `start` to `stop`, or fewer if the log ends or READ_LIMIT is reached."""
    found: list[bytes] = []
    length = 0
    with open_reader(log, lines) as reader:
        if reader is not None:
            for line in reader.lines(max(0, start), stop):
                found.append(line)
                length += len(line)
                if length >= READ_LIMIT:
                    break
    return found


def find_position(log: LogParts, lines: int, line: int) -> TextPosition:
    """Return the result of `LogReader.find`."""
    with open_reader(log, lines) as reader:
        return TextPosition(0, 0) if reader is None else reader.find(line)


def read_block(
    log: LogParts, lines: int, position: TextPosition, size: int
) -> tuple[LogText, TextPosition]:
    """Return the result of `LogReader.block`."""
    with open_reader(log, lines) as reader:
        if reader is None:
            return LogText(position.line, 0, b""), position
        return reader.block(position, size)


def visit_blocks(
    log: LogParts,
    lines: int,
    start: TextPosition | int,
    size: int,
    visit: Callable[[LogText], bool],
) -> TextPosition | None:
    """Call `visit` with blocks from a position or line on, for VISIT_SECONDS.

    Returns the position to continue from, or None if `visit` returned False or the end was reached.
    """
    until = time.perf_counter() + VISIT_SECONDS
    with open_reader(log, lines) as reader:
        if reader is None:
            return None
        at = reader.find(start) if isinstance(start, int) else start
        while True:
            text, at = reader.block(at, size)
            if not text.lines or not visit(text):
                return None
            if time.perf_counter() >= until:
                return at


def read_raw(log: LogParts, offset: int, size: int) -> bytes:
    """Return up to `size` bytes as received; none at the end of the log."""
    with open_parts(log, "raw") as (raw,):
        return b"" if raw is None else raw.read(offset, size)


def read_times(log: LogParts, start: int, stop: int, limit: int) -> list[LineTime]:
    """Return the times of lines `start` to `stop`, oldest first, at most `limit`."""
    with open_parts(log, "pieces") as (pieces,):
        if pieces is None:
            return []
        records = Records(pieces, PIECE_RECORD)
        found: list[LineTime] = []
        for index in range(max(0, records.last_at_most(start, 1)), len(records)):
            _, line, at, stream = records[index]
            if line >= stop:
                break
            if found and found[-1].line == line:
                found.pop()
            elif len(found) == limit:
                break
            found.append(LineTime(int(line), at, int(stream)))
    return found


def read_pieces(
    log: LogParts, position: PiecePosition, size: int
) -> tuple[list[LogPiece], PiecePosition]:
    """Return about `size` bytes of pieces from a position on, and the position after them.

    Returns no pieces at the end of the log. A longer piece is returned in parts. Raises OSError.
    """
    number, offset = position
    found: list[LogPiece] = []
    with open_parts(log, "pieces", "raw") as (pieces, raw):
        if pieces is None or raw is None:
            return [], position
        records = Records(pieces, PIECE_RECORD)
        while number < len(records) and size > 0 and len(found) < _RECORDS_AT_ONCE:
            begin, _, at, _ = records[number]
            end = int(records[number + 1][0]) if number + 1 < len(records) else raw.size
            start = max(int(begin), offset)
            data = raw.read(start, min(end - start, size))
            found.append(LogPiece(at, data))
            size -= len(data)
            offset = start + len(data)
            number += offset >= end or not data
    return found, PiecePosition(number, offset)


def read_gaps(log: LogParts, seconds: float, limit: int) -> list[LineGap]:
    """Return the `limit` longest gaps of at least `seconds` between pieces, in the order of lines. Raises OSError."""
    longest: list[tuple[float, int]] = []
    before: float | None = None
    with open_parts(log, "pieces") as (pieces,):
        offset, size = 0, _RECORDS_AT_ONCE * PIECE_RECORD.size
        while pieces is not None and (data := pieces.read(offset, size)):
            offset += len(data)
            whole = len(data) // PIECE_RECORD.size * PIECE_RECORD.size
            for _, line, at, _ in PIECE_RECORD.iter_unpack(memoryview(data)[:whole]):
                if before is not None and at - before >= seconds:
                    push = heapq.heappush if len(longest) < limit else heapq.heappushpop
                    push(longest, (at - before, line))
                before = at
    return sorted((LineGap(line, gap) for gap, line in longest), key=lambda gap: gap.line)
