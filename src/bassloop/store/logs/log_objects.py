"""A log as objects in a bucket: chunks while it is being written, and an end that completes it.

- `logs/<run>/<row>/<number>`: a chunk, which contains what was appended to the raw bytes, the settled text
  and the pieces since the chunk before it.
- `logs/<run>/<row>/end`: the sizes of all chunks, both complete indexes, and what was appended after the last
  chunk. A short log consists of this object alone.

Objects are never replaced. A step's log is opened only once, on one node, so only that one writes its chunks. If
two nodes try to end it, such as a node that was believed dead and its heir, only one succeeds. Chunks that the end
doesn't list aren't part of the log.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from bassloop.store.blobs import FileBlobs, NothingToClose
from bassloop.store.logs.log_files import LogFiles, is_run_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from bassloop.store.blobs import BlobReader, Blobs, Bucket
    from bassloop.store.logs.log_files import LogParts, Part


_CHUNK_HEADER = struct.Struct("<8sQQQ")
_CHUNK_MAGIC = b"basschnk"
_END_HEADER = struct.Struct("<8sQQQQQQQ")
_END_MAGIC = b"bassend1"
_SIZES = struct.Struct("<QQQ")

LOGS = "logs"
"""The prefix of the names of all logs."""


class GrowingSizes(NamedTuple):
    """The sizes of those files of a log that are shipped in chunks. The index of lines can be derived from the text."""

    raw: int = 0
    text: int = 0
    pieces: int = 0

    def plus(self, other: GrowingSizes) -> GrowingSizes:
        return GrowingSizes(*(a + b for a, b in zip(self, other, strict=True)))

    def minus(self, other: GrowingSizes) -> GrowingSizes:
        """Return the differences, or 0 where they would be negative."""
        return GrowingSizes(*(max(0, a - b) for a, b in zip(self, other, strict=True)))

    def at_most(self, limit: int) -> GrowingSizes:
        return GrowingSizes(*(min(size, limit) for size in self))

    def total(self) -> int:
        return sum(self)


NOTHING = GrowingSizes()


def total_sizes(chunks: Iterable[GrowingSizes]) -> GrowingSizes:
    """Return the sums of the sizes of chunks."""
    total = NOTHING
    for each in chunks:
        total = total.plus(each)
    return total


class LogDamaged(OSError):
    """An object of a log is malformed or incomplete."""


def log_prefix(run_id: str, row: int) -> str:
    """Return the prefix of a log's objects. Raises ValueError for a malformed run id."""
    if not is_run_id(run_id):
        raise ValueError(f"{run_id!r} is not the id of a run")
    return f"logs/{run_id}/{int(row)}"


def chunk_name(run_id: str, row: int, number: int) -> str:
    """Return the name of a chunk, numbered from 0."""
    return f"{log_prefix(run_id, row)}/{number:08d}"


def end_name(run_id: str, row: int) -> str:
    """Return the name of the object that ends a log."""
    return f"{log_prefix(run_id, row)}/end"


def pack_chunk(raw: bytes, text: bytes, pieces: bytes) -> bytes:
    """Return the bytes of a chunk."""
    header = _CHUNK_HEADER.pack(_CHUNK_MAGIC, len(raw), len(text), len(pieces))
    return b"".join((header, raw, text, pieces))


def chunk_size(sizes: GrowingSizes) -> int:
    """Return the size of a chunk's object, from the sizes of its parts."""
    return _CHUNK_HEADER.size + sizes.total()


def read_chunk_sizes(bucket: Bucket, name: str) -> GrowingSizes:
    """Return the sizes of a chunk's parts. Raises OSError."""
    header = bucket.fetch(name, 0, _CHUNK_HEADER.size)
    if len(header) < _CHUNK_HEADER.size or not header.startswith(_CHUNK_MAGIC):
        raise LogDamaged(f"{name} is not a chunk of a log")
    return GrowingSizes(*_CHUNK_HEADER.unpack(header)[1:])


def unpack_chunk(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Return the raw bytes, the text and the pieces in a chunk."""
    _, raw, text, _ = _CHUNK_HEADER.unpack_from(data)
    at = _CHUNK_HEADER.size
    return data[at : at + raw], data[at + raw : at + raw + text], data[at + raw + text :]


@dataclass(frozen=True, slots=True)
class LogEnd:
    """The header of the object that ends a log.

    Args:
        sizes: the sizes of the whole log. The text may be shorter than in the chunks, if the node that wrote it
            was killed in the middle of a line.
        lines: the number of settled lines.
        index_bytes: the size of the index of lines.
        cut: the end of the log is missing.
        chunks: the sizes of each chunk's parts.
    """

    sizes: GrowingSizes
    lines: int
    index_bytes: int
    cut: bool
    chunks: tuple[GrowingSizes, ...]

    @property
    def chunked(self) -> GrowingSizes:
        """The total sizes of what is in the chunks."""
        return total_sizes(self.chunks)

    @property
    def rest(self) -> GrowingSizes:
        """The sizes of what was appended after the last chunk, and is in this object."""
        return self.sizes.minus(self.chunked)

    @property
    def header_bytes(self) -> int:
        return _END_HEADER.size + len(self.chunks) * _SIZES.size

    @property
    def total_bytes(self) -> int:
        """The size of the object."""
        return (
            self.header_bytes
            + self.index_bytes
            + self.sizes.pieces
            + self.rest.raw
            + self.rest.text
        )

    def pack(self, index: bytes, pieces: bytes, raw: bytes, text: bytes) -> bytes:
        """Return the whole object: this header, both indexes, and the rest of the raw bytes and the text."""
        header = _END_HEADER.pack(
            _END_MAGIC, *self.sizes, self.lines, self.index_bytes, self.cut, len(self.chunks)
        )
        return b"".join(
            (header, *(_SIZES.pack(*each) for each in self.chunks), index, pieces, raw, text)
        )


def read_end(bucket: Bucket, run_id: str, row: int) -> LogEnd:
    """Return the header of a log's end. Raises FileNotFoundError if the log isn't complete, and OSError."""
    name = end_name(run_id, row)
    header = bucket.read(name, 0, _END_HEADER.size)
    if len(header) < _END_HEADER.size or not header.startswith(_END_MAGIC):
        raise LogDamaged(f"{name} is not the end of a log")
    _, raw, text, pieces, lines, index_bytes, cut, count = _END_HEADER.unpack(header)
    table = bucket.read(name, _END_HEADER.size, count * _SIZES.size)
    if len(table) < count * _SIZES.size:
        raise LogDamaged(f"{name} is shorter than it should be")
    chunks = tuple(GrowingSizes(*each) for each in _SIZES.iter_unpack(table))
    return LogEnd(GrowingSizes(raw, text, pieces), lines, index_bytes, bool(cut), chunks)


class _Span(NamedTuple):
    """A range of an object, which is a part of a file."""

    name: str
    offset: int
    size: int


class SpanReader(NothingToClose):
    """One file of a log in a bucket, composed of ranges of objects."""

    def __init__(self, bucket: Bucket, spans: Sequence[_Span], size: int) -> None:
        self._bucket = bucket
        self._spans = spans
        self._starts = [0, *accumulate(span.size for span in spans)][:-1]
        self.size = size

    def read(self, offset: int, size: int) -> bytes:
        found = bytearray()
        size = min(size, self.size - offset)
        while size > 0:
            at = bisect_right(self._starts, offset) - 1
            span = self._spans[at]
            within = offset - self._starts[at]
            wanted = min(size, span.size - within)
            data = self._bucket.read(span.name, span.offset + within, wanted)
            if len(data) < wanted:
                raise LogDamaged(f"{span.name} is shorter than it should be")
            found += data
            offset += wanted
            size -= wanted
        return bytes(found)


class StoredLog:
    """The files of a complete log in a bucket."""

    def __init__(self, bucket: Bucket, run_id: str, row: int) -> None:
        self._bucket = bucket
        self._run_id = run_id
        self._row = row
        self._name = end_name(run_id, row)

    def open(self, *parts: Part) -> list[BlobReader | None]:
        try:
            end = read_end(self._bucket, self._run_id, self._row)
        except FileNotFoundError:
            return [None for _ in parts]
        return [self._open(end, part) for part in parts]

    def _open(self, end: LogEnd, part: Part) -> BlobReader | None:
        index = end.header_bytes
        pieces = index + end.index_bytes
        raw = pieces + end.sizes.pieces
        match part:
            case "lines":
                spans, size = [_Span(self._name, index, end.index_bytes)], end.index_bytes
            case "pieces":
                spans, size = [_Span(self._name, pieces, end.sizes.pieces)], end.sizes.pieces
            case "raw":
                spans = self._chunks(end, lambda each: (0, each.raw))
                spans.append(_Span(self._name, raw, end.rest.raw))
                return SpanReader(self._bucket, _not_empty(spans), end.sizes.raw)
            case "text":
                spans = self._chunks(end, lambda each: (each.raw, each.text))
                spans.append(_Span(self._name, raw + end.rest.raw, end.rest.text))
                size = end.sizes.text
        return SpanReader(self._bucket, _not_empty(spans), size) if size else None

    def _chunks(self, end: LogEnd, where: Callable[[GrowingSizes], tuple[int, int]]) -> list[_Span]:
        spans = []
        for number, sizes in enumerate(end.chunks):
            offset, size = where(sizes)
            name = chunk_name(self._run_id, self._row, number)
            spans.append(_Span(name, _CHUNK_HEADER.size + offset, size))
        return spans


def _not_empty(spans: Sequence[_Span]) -> list[_Span]:
    return [span for span in spans if span.size]


class ShippedLog:
    """A log in this machine's folder, or in the bucket once it is complete there."""

    def __init__(self, files: LogFiles, stored: StoredLog) -> None:
        self._files = files
        self._stored = stored

    def open(self, *parts: Part) -> Sequence[BlobReader | None]:
        readers = self._files.open(*parts)
        # The raw file is removed first. If it still exists, all files existed when they were opened.
        if self._files.raw.exists():
            return readers
        for reader in readers:
            if reader is not None:
                reader.close()
        return self._stored.open(*parts)


def find_log(blobs: Blobs, run_id: str, row: int) -> LogParts:
    """Return the files of a log. Raises ValueError for a malformed run id."""
    files = LogFiles.of(blobs.folder, run_id, row)
    if blobs.bucket is None:
        return files
    return ShippedLog(files, StoredLog(blobs.bucket, run_id, row))


def log_sizes(blobs: Blobs) -> dict[str, int]:
    """Return the bytes of each run's logs, by the run's id. Raises OSError."""
    sizes: Counter[str] = Counter()
    for place in places(blobs):
        sizes.update(place.sizes(LOGS))
    return dict(sizes)


def remove_logs(blobs: Blobs, run_id: str) -> None:
    """Remove a run's logs. Idempotent. Raises OSError."""
    for place in places(blobs):
        place.remove(f"{LOGS}/{run_id}")


def places(blobs: Blobs) -> list[Blobs]:
    """Return all locations of blobs: the folder, and the bucket if there is one."""
    return [blobs] if blobs.bucket is None else [FileBlobs(blobs.folder), blobs]
