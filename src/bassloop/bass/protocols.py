"""The protocols of `read`: how bytes become values."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING, Any, Final

from bassloop.bass.annotated import Annotated
from bassloop.bass.errors import BassError
from bassloop.bass.files import FSPath, MemoryFiles
from bassloop.bass.jsonread import END, NEED_MORE, JSONStream
from bassloop.bass.pair import from_list
from bassloop.bass.pathname import clean
from bassloop.bass.paths import DirPath, FilePath
from bassloop.bass.scope import Scope
from bassloop.bass.stream import no_source

if TYPE_CHECKING:
    from collections.abc import Callable

    from bassloop.bass.stream import Decoder
    from bassloop.bass.values import Value

MAX_LINE: Final = 16 << 20
MAX_WHOLE: Final = 64 << 20


def text_of(data: bytes) -> str:
    """Bytes as a string; those that are no UTF-8 are kept as they are."""
    return data.decode("utf-8", "surrogateescape")


class RawDecoder:
    """All of it as one string."""

    name = "<raw source>"

    def __init__(self) -> None:
        self._data = bytearray()
        self._closed = False
        self._read = False

    def feed(self, data: bytes) -> None:
        self._data += data
        if len(self._data) > MAX_WHOLE:
            raise BassError(
                f"read: more than {MAX_WHOLE >> 20} MiB at once; read it by :lines, or export it"
            )

    def close(self) -> None:
        self._closed = True

    def next(self) -> Value:
        if not self._closed:
            return NEED_MORE
        if self._read:
            return END
        self._read = True
        return text_of(bytes(self._data))


class JSONDecoder(JSONStream):
    """JSON values, one after another."""

    __slots__ = ()
    name = "internal"


class LineDecoder:
    """Lines without their ends."""

    name = "<line source>"

    def __init__(self) -> None:
        self._data = b""
        self._lines: list[bytes] = []
        self._closed = False

    def feed(self, data: bytes) -> None:
        *lines, self._data = (self._data + data).split(b"\n")
        lines.reverse()
        self._lines = lines + self._lines
        if len(self._data) > MAX_LINE:
            raise BassError(f"read: a line is longer than {MAX_LINE >> 20} MiB")

    def close(self) -> None:
        self._closed = True
        if self._data:
            self._lines.insert(0, self._data)
            self._data = b""

    def next(self) -> Value:
        if self._lines:
            return self.value(text_of(self._lines.pop().removesuffix(b"\r")))
        return END if self._closed else NEED_MORE

    def value(self, line: str) -> Value:
        """What a line becomes."""
        return line


class TableDecoder(LineDecoder):
    """Lists of the words on each line."""

    name = "<unixTable source>"

    def value(self, line: str) -> Value:
        return from_list(line.split())


class TarDecoder:
    """The files of an archive, in memory, with what the archive says of them as metadata."""

    name = "<tar source>"

    def __init__(self) -> None:
        self._data = bytearray()
        self._archive: tarfile.TarFile | None = None
        self._closed = False

    def feed(self, data: bytes) -> None:
        self._data += data
        if len(self._data) > MAX_WHOLE:
            raise BassError(f"read: the archive is larger than {MAX_WHOLE >> 20} MiB")

    def close(self) -> None:
        self._closed = True

    def next(self) -> Value:
        if not self._closed:
            return NEED_MORE
        try:
            if self._archive is None:
                if not self._data:
                    return END
                held = io.BytesIO(bytes(self._data))
                self._archive = tarfile.open(fileobj=held)  # noqa: SIM115 - it is in memory
            member = self._archive.next()
            if member is None:
                return END
            file = self._archive.extractfile(member) if member.isreg() else None
            return _member(member, file.read() if file else b"")
        except tarfile.TarError as error:
            raise BassError(f"read: this is no tar archive: {error}") from error


def _member(member: tarfile.TarInfo, content: bytes) -> Value:
    name = clean(member.name.lstrip("/"))
    if name == ".." or name.startswith("../"):
        raise BassError(f"read: the archive has a member with an impossible name: {member.name!r}")
    about: dict[str, Any] = {
        "type": text_of(member.type),
        "name": member.name + "/" * member.isdir(),
    }
    if member.linkname:
        about["link"] = member.linkname
    about |= {"size": member.size, "mode": member.mode, "uid": member.uid, "gid": member.gid}
    if member.uname:
        about["uname"] = member.uname
    if member.gname:
        about["gname"] = member.gname
    if member.isdir():
        return Annotated(FSPath(MemoryFiles({}), DirPath(name)), Scope(about))
    return Annotated(FSPath(MemoryFiles({name: content}), FilePath(name)), Scope(about))


_DECODERS: Final[dict[str, Callable[[], Decoder]]] = {
    "raw": RawDecoder, "json": JSONDecoder, "lines": LineDecoder, "unix-table": TableDecoder, "tar": TarDecoder,
}  # fmt: skip


def decoder(name: str) -> Decoder:
    """A decoder of the protocol of this name. Raises `BassError` if there is none."""
    make = _DECODERS.get(name)
    if make is None:
        raise no_source(name)
    return make()
