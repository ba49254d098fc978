"""Read untrusted tar archives.

Python's tarfile trusts archives: it reads extended headers of any size into memory, parses them in quadratic time,
recurses into any number of them, and fills the holes of sparse files. Here, headers have a size limit and are parsed
once.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
import zlib
from typing import TYPE_CHECKING, BinaryIO, cast

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_HEADERS = 256 << 10
"""The size limit for the headers of one member, in bytes."""

MAX_RECORDS = 1_000
"""How many records the extended headers of one member may have: 50,000 would fit in them, and take long."""

MAX_NAME = 4_096
"""The length limit for a path, in bytes, which is Linux's."""

MAX_SIZE = 1 << 60

UNPACK_ERRORS = (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error)
"""The exceptions that reading an invalid compressed archive raises."""

_PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_EXTENDED = (*_PAX, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)


class BadTar(ValueError):
    """The data isn't a tar archive, or exceeds a limit. The message says why."""


class TarHeaderReader:
    """Parses the headers of one member. No I/O.

    Attributes:
        wanted: the number of bytes to feed next; 0 when the member is complete, or the archive has ended.
        member: the member; None until its headers are complete, and at the archive's end.
    """

    def __init__(self) -> None:
        self.wanted = tarfile.BLOCKSIZE
        self.member: tarfile.TarInfo | None = None
        self._extended: tarfile.TarInfo | None = None
        self._left = MAX_HEADERS
        self._records_left = MAX_RECORDS
        self._records: dict[str, bytes] = {}

    def feed(self, data: bytes) -> None:
        """Take the next `wanted` bytes. Raises BadTar."""
        if len(data) < self.wanted:
            raise BadTar("it ends in the middle of a header")
        if self._extended is not None:
            self._take_extended(self._extended, data[: self._extended.size])
            return
        if not any(data):
            self.wanted = 0
            return
        try:
            header = tarfile.TarInfo.frombuf(data, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise BadTar(f"there is a header that is none: {error}") from error
        if not 0 <= header.size <= MAX_SIZE:
            raise BadTar("a member has a size that it can't have")
        if header.type not in _EXTENDED:
            self.member, self.wanted = self._completed(header), 0
            return
        self._left -= tarfile.BLOCKSIZE + header.size
        if self._left < 0:
            raise BadTar(f"the headers of a member have more than {MAX_HEADERS >> 10} KiB")
        self._extended, self.wanted = header, _whole_blocks(header.size)
        if not self.wanted:
            self._take_extended(header, b"")

    def _take_extended(self, header: tarfile.TarInfo, content: bytes) -> None:
        self._extended, self.wanted = None, tarfile.BLOCKSIZE
        if header.type in _PAX:
            for key, value in _pax_records(content):
                self._records_left -= 1
                if self._records_left < 0:
                    raise BadTar(f"the headers of a member have more than {MAX_RECORDS:,} records")
                self._records[key] = value
        elif header.type != tarfile.XGLTYPE:
            key = "path" if header.type == tarfile.GNUTYPE_LONGNAME else "linkpath"
            self._records.setdefault(key, content.partition(b"\0")[0])

    def _completed(self, member: tarfile.TarInfo) -> tarfile.TarInfo:
        """Return a member with the values of its extended headers."""
        records = self._records
        if member.type == tarfile.GNUTYPE_SPARSE or any(
            key.startswith("GNU.sparse.") for key in records
        ):
            raise BadTar("there is a sparse file in it")
        member.name = _text(records, "path", member.name).rstrip("/")
        member.linkname = _text(records, "linkpath", member.linkname).rstrip("/")
        member.uname = _text(records, "uname", member.uname)
        member.gname = _text(records, "gname", member.gname)
        member.size = _number(records, "size", member.size)
        member.uid = _number(records, "uid", member.uid)
        member.gid = _number(records, "gid", member.gid)
        return member


def content_size(member: tarfile.TarInfo) -> int:
    """Return the size of a member's content in bytes, without padding."""
    return 0 if member.type in _WITHOUT_CONTENT else member.size


_WITHOUT_CONTENT = (
    tarfile.LNKTYPE,
    tarfile.SYMTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.DIRTYPE,
    tarfile.FIFOTYPE,
)


def read_members(file: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """Yield the members of an archive. The content of each is at its `offset_data`. Raises BadTar.

    The caller may move the file's position between two members.
    """
    at = 0
    while True:
        reader, began = TarHeaderReader(), at
        while reader.wanted:
            data = file.read(reader.wanted)
            if not data and at == began > 0:
                return
            reader.feed(data)
            at += len(data)
        member = reader.member
        if member is None:
            return
        member.offset, member.offset_data = began, at
        yield member
        at += _whole_blocks(content_size(member))
        if at > member.offset_data:
            file.seek(at - 1)
            if not file.read(1):
                raise BadTar("it ends in the middle of a file")
        else:
            file.seek(at)


def uncompressed(file: BinaryIO) -> BinaryIO:
    """Return a file with the decompressed content, or the file itself if it isn't compressed.

    Reading raises UNPACK_ERRORS.
    """
    start = file.read(6)
    file.seek(0)
    if start.startswith(b"\x1f\x8b"):
        return cast("BinaryIO", gzip.GzipFile(fileobj=file))
    if start.startswith(b"BZh"):
        return cast("BinaryIO", bz2.BZ2File(file))
    if start.startswith(b"\xfd7zXZ"):
        return cast("BinaryIO", lzma.LZMAFile(file))
    return file


def _whole_blocks(size: int) -> int:
    return size + -size % tarfile.BLOCKSIZE


def _pax_records(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the records of an extended header, `LENGTH KEY=VALUE`, each with a newline. Raises BadTar."""
    at = 0
    while at < len(content):
        space = content.find(b" ", at, at + 10)
        digits = content[at:space] if space > at else b""
        end = at + int(digits) if digits.isdigit() else 0
        key, equals, value = content[space + 1 : end - 1].partition(b"=")
        if not space < end <= len(content) or content[end - 1 : end] != b"\n" or not equals:
            raise BadTar("an extended header isn't one")
        yield key.decode("utf-8", "surrogateescape"), value
        at = end


def _text(records: dict[str, bytes], key: str, otherwise: str) -> str:
    text = records.get(key)
    if text is None:
        return otherwise
    if len(text) > MAX_NAME:
        raise BadTar(f"a member has a {key} of more than {MAX_NAME:,} bytes")
    return text.decode("utf-8", "surrogateescape")


def _number(records: dict[str, bytes], key: str, otherwise: int) -> int:
    digits = records.get(key)
    if digits is None:
        return otherwise
    if not digits.isdigit() or len(digits) > 19 or int(digits) > MAX_SIZE:
        raise BadTar(f"a member has a {key} that it can't have")
    return int(digits)
