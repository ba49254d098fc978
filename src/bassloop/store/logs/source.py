"""The reading end of a log's files: short reads, whatever the log's size. Blocking."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, NamedTuple

from bassloop.store.logs.counting import nth_newline
from bassloop.store.logs.formats import (
    ENTRY_BYTES,
    LINE_RECORD,
    PIECE_RECORD,
    TEXT_HEADER,
    LogFiles,
    Records,
)
from bassloop.store.model import LineTime, LogText

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LINE_LIMIT = 128 * 1024
"""Bytes of one line that are read; a longer one is cut, with a notice where it was."""

READ_LIMIT = 4 * 1024 * 1024
"""Bytes of lines in one answer."""

VISIT_SECONDS = 0.1
"""How long a thread goes through a log before another has its turn."""

_CHUNK = 64 * 1024


class TextPlace(NamedTuple):
    """The number of a line, and where in the settled text it begins."""

    line: int
    offset: int


class LogSource:
    """The settled text of a log: the plain beginning of the raw file, then the text file."""

    def __init__(self, raw: int, text: int | None, index: Records | None, lines: int) -> None:
        self._raw = raw
        self._text = text
        self._index = index
        self._lines = lines
        self._before = self._end = os.fstat(raw).st_size
        header = b"" if text is None else os.pread(text, TEXT_HEADER.size, 0)
        if text is not None and len(header) == TEXT_HEADER.size:
            (_, self._before) = TEXT_HEADER.unpack(header)
            self._end = self._before + os.fstat(text).st_size - TEXT_HEADER.size

    def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes of settled text; empty at the end."""
        if offset < self._before:
            return os.pread(self._raw, min(size, self._before - offset), offset)
        if self._text is None:
            return b""
        return os.pread(self._text, size, offset - self._before + TEXT_HEADER.size)

    def lines(self, start: int, stop: int) -> Iterator[bytes]:
        """Lines `start` to `stop`, those that there are, each without its line ending."""
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

    def text(self, start: int, size: int) -> LogText:
        """About `size` bytes of whole lines from line `start` on; at least one, if it is there."""
        found: list[bytes] = []
        length = 0
        for line in self.lines(start, self._lines):
            found.append(line)
            length += len(line) + 1
            if length >= size:
                break
        return LogText(start, len(found), b"".join(line + b"\n" for line in found))

    def place(self, line: int) -> TextPlace:
        """Where a line begins: not later than it, in a log that has no such line."""
        number, offset = self._entry(line)
        while number < min(line, self._lines):
            chunk = self.read(offset, _CHUNK)
            ended = chunk.count(b"\n")
            if not chunk or number + ended >= line:
                if chunk:
                    offset += nth_newline(chunk, 0, len(chunk), line - number) + 1
                    number = line
                break
            number += ended
            offset += len(chunk)
        return TextPlace(number, offset)

    def block(self, place: TextPlace, size: int) -> tuple[LogText, TextPlace]:
        """About `size` bytes of whole lines from a place on, as they stand in the files, and the
        place after them. A line that is longer than that alone is cut as in `lines`."""
        line, offset = place
        left = self._lines - line
        data = self.read(offset, size) if left > 0 else b""
        # What is read may end where the plain text does, in the middle of a line.
        while (
            data and len(data) < size and (more := self.read(offset + len(data), size - len(data)))
        ):
            data += more
        if not data:
            return LogText(line, 0, b""), place
        whole = data.rfind(b"\n") + 1
        if not whole and offset + len(data) < self._end and len(data) >= size:
            end = self._end_of_long(line, offset + len(data))
            text = _bounded(data, end - offset - 1) + b"\n"
            return LogText(line, 1, text), TextPlace(line + 1, end)
        if offset + len(data) < self._end or data.count(b"\n") >= left:
            data = data[:whole]
        lines = data.count(b"\n")
        if lines > left:
            data = data[: nth_newline(data, 0, len(data), left) + 1]
            lines = left
        elif not data.endswith(b"\n"):
            data += b"\n"
            lines += 1
        return LogText(line, lines, data), TextPlace(line + lines, offset + len(data))

    def _entry(self, line: int) -> tuple[int, int]:
        at = -1 if self._index is None else self._index.last_at_most(line, 0)
        if self._index is None or at < 0:
            return 0, 0
        number, offset = self._index[at]
        return int(number), int(offset)

    def _end_of_long(self, line: int, offset: int) -> int:
        """Where the line after a long one begins. Unless it is the last, one longer than an index
        entry's bytes is followed by an entry: no more than that is ever searched."""
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
def open_source(files: LogFiles, lines: int) -> Iterator[LogSource | None]:
    """The settled text of a log of which `lines` lines are known to be there; None if nothing was
    ever written. Raises OSError."""
    with contextlib.ExitStack() as stack:
        try:
            raw = stack.enter_context(files.raw.open("rb", buffering=0))
        except FileNotFoundError:
            yield None
            return
        text = index = None
        with contextlib.suppress(FileNotFoundError):
            text = stack.enter_context(files.text.open("rb", buffering=0)).fileno()
        with contextlib.suppress(FileNotFoundError):
            descriptor = stack.enter_context(files.lines.open("rb", buffering=0)).fileno()
            index = Records(descriptor, LINE_RECORD)
        yield LogSource(raw.fileno(), text, index, lines)


def read_lines(files: LogFiles, lines: int, start: int, stop: int) -> list[bytes]:
    """Lines `start` to `stop`, fewer where the log ends or the answer becomes too long."""
    found: list[bytes] = []
    length = 0
    with open_source(files, lines) as source:
        if source is not None:
            for line in source.lines(max(0, start), stop):
                found.append(line)
                length += len(line)
                if length >= READ_LIMIT:
                    break
    return found


def read_text(files: LogFiles, lines: int, start: int, size: int) -> LogText:
    """See `LogSource.text`."""
    with open_source(files, lines) as source:
        return LogText(start, 0, b"") if source is None else source.text(start, size)


def find_place(files: LogFiles, lines: int, line: int) -> TextPlace:
    """See `LogSource.place`."""
    with open_source(files, lines) as source:
        return TextPlace(0, 0) if source is None else source.place(line)


def read_block(
    files: LogFiles, lines: int, place: TextPlace, size: int
) -> tuple[LogText, TextPlace]:
    """See `LogSource.block`."""
    with open_source(files, lines) as source:
        if source is None:
            return LogText(place.line, 0, b""), place
        return source.block(place, size)


def visit_blocks(
    files: LogFiles,
    lines: int,
    place: TextPlace | int,
    size: int,
    visit: Callable[[LogText], bool],
) -> TextPlace | None:
    """Call `visit` with blocks from a place (or a line) on for a while. The place to go on from; None
    when it returned False, or there is no more."""
    until = time.perf_counter() + VISIT_SECONDS
    with open_source(files, lines) as source:
        if source is None:
            return None
        at = source.place(place) if isinstance(place, int) else place
        while True:
            text, at = source.block(at, size)
            if not text.lines or not visit(text):
                return None
            if time.perf_counter() >= until:
                return at


def read_raw(files: LogFiles, offset: int, size: int) -> bytes:
    """Up to `size` bytes as received; empty at the end, and when there is nothing."""
    try:
        with files.raw.open("rb", buffering=0) as file:
            return os.pread(file.fileno(), size, offset)
    except FileNotFoundError:
        return b""


def read_times(files: LogFiles, start: int, stop: int, limit: int) -> list[LineTime]:
    """The times that hold for lines `start` to `stop`, oldest first, `limit` at most."""
    try:
        file = files.pieces.open("rb", buffering=0)
    except FileNotFoundError:
        return []
    with file:
        records = Records(file.fileno(), PIECE_RECORD)
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
