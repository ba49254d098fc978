"""Compares the files of one log with each other and with its row. Only reads."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bassloop.store.logs.log_files import LINE_RECORD, PIECE_RECORD, TEXT_HEADER, TEXT_MAGIC

if TYPE_CHECKING:
    from pathlib import Path

    from bassloop.store.logs.log_files import LogFiles

_CHUNK = 1024 * 1024


def find_defect(files: LogFiles, raw_bytes: int, lines: int, *, cut: bool) -> str | None:
    """Return what is wrong with a closed log, or None.

    It should have so many raw bytes and lines; if it was cut, it may have more. Raises OSError.
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
        found = _count_lines(files, before)
    except _LogDefect as defect:
        return str(defect)
    if found < lines or (found > lines and not cut):
        return f"it has {found:,} lines, and should have {lines:,}"
    if _size(files.pieces) % PIECE_RECORD.size:
        return "the index of its times is torn"
    return None


class _LogDefect(Exception):
    """Something is wrong with the index of lines."""


def _count_lines(files: LogFiles, before: int) -> int:
    """Return the number of lines of the settled text, having compared the index of lines with it."""
    index = files.lines.read_bytes() if files.lines.exists() else b""
    if len(index) % LINE_RECORD.size:
        raise _LogDefect("the index of its lines is torn")
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
                        raise _LogDefect("the index of its lines is wrong")
                    count += chunk.count(b"\n", counted, at)
                    counted = at
                    if count != record[0]:
                        raise _LogDefect("the index of its lines is wrong")
                    record = next(records, None)
                count += chunk.count(b"\n", counted)
                offset += len(chunk)
                last = chunk[-1:]
    if record is not None and record[1] > offset:
        raise _LogDefect("the index of its lines is longer than its text")
    return count + (last != b"\n")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return os.read(file.fileno(), TEXT_HEADER.size)
