"""Whether one log is whole: its four files against each other and against its row. Reads only."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bassloop.store.logs.formats import LINE_RECORD, PIECE_RECORD, TEXT_HEADER, TEXT_MAGIC

if TYPE_CHECKING:
    from pathlib import Path

    from bassloop.store.logs.formats import LogFiles

_CHUNK = 1024 * 1024


def trouble(files: LogFiles, raw_bytes: int, lines: int, *, cut: bool) -> str | None:
    """What is wrong with a closed log that should have so many raw bytes and lines; None if nothing.

    Of a log that was cut, more than its row says may be there. Raises OSError.
    """
    size = _size(files.raw)
    if size < raw_bytes:
        return f"{raw_bytes - size:,} of its {raw_bytes:,} bytes are missing"
    if size > raw_bytes and not cut:
        return f"it has {size - raw_bytes:,} bytes more than its {raw_bytes:,}"
    before = size
    if files.text.exists():
        header = _start(files.text)
        if len(header) < TEXT_HEADER.size or not header.startswith(TEXT_MAGIC):
            return "its settled text is torn"
        before = int(TEXT_HEADER.unpack(header)[1])
        if before > size:
            return "its settled text goes on from bytes that are missing"
    try:
        found = _lines(files, before)
    except _Torn as torn:
        return str(torn)
    if found < lines or (found > lines and not cut):
        return f"it has {found:,} lines, and should have {lines:,}"
    if _size(files.pieces) % PIECE_RECORD.size:
        return "the index of its times is torn"
    return None


class _Torn(Exception):
    pass


def _lines(files: LogFiles, before: int) -> int:
    """Lines of the settled text, counted, while the index of lines is held against it."""
    index = files.lines.read_bytes() if files.lines.exists() else b""
    if len(index) % LINE_RECORD.size:
        raise _Torn("the index of its lines is torn")
    records = iter(LINE_RECORD.iter_unpack(index))
    record = next(records, None)
    offset, count, last = 0, 0, b"\n"
    for path, skipped, end in ((files.raw, 0, before), (files.text, TEXT_HEADER.size, None)):
        if not path.exists():
            continue
        with path.open("rb") as file:
            file.seek(skipped)
            left = end
            while chunk := file.read(_CHUNK if left is None else min(_CHUNK, left)):
                left = None if left is None else left - len(chunk)
                counted = 0
                while record is not None and record[1] < offset + len(chunk):
                    at = record[1] - offset
                    if at < counted or (chunk[at - 1 : at] if at else last) != b"\n":
                        raise _Torn("the index of its lines is wrong")
                    count += chunk.count(b"\n", counted, at)
                    counted = at
                    if count != record[0]:
                        raise _Torn("the index of its lines is wrong")
                    record = next(records, None)
                count += chunk.count(b"\n", counted)
                offset += len(chunk)
                last = chunk[-1:]
    if record is not None and record[1] > offset:
        raise _Torn("the index of its lines is longer than its text")
    return count + (last != b"\n")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return os.read(file.fileno(), TEXT_HEADER.size)
