"""Sources, which values are read from one at a time, and sinks, which take them; the protocols of `read`."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final, Protocol, final

from bassloop.bass.errors import BassError, EndOfSource
from bassloop.bass.filesystem import FSPath, MemoryFiles
from bassloop.bass.json_stream import END, NEED_MORE, JSONStream
from bassloop.bass.path import DirPath, FilePath, clean
from bassloop.bass.printer import PRINTED, Parts, Verbatim, spaced
from bassloop.bass.values import Object, Scope, Value, WithMeta, from_list, text_of
from bassloop.tar_archive import UNPACK_ERRORS, BadTar, read_members, uncompressed

if TYPE_CHECKING:
    import tarfile
    from collections.abc import Callable, Iterator

    from bassloop.bass.machine import Machine

MAX_LINE: Final = 16 << 20
MAX_WHOLE: Final = 64 << 20
"""The maximum number of bytes in a line, and in all for protocols that read everything at once."""

# --- sources ---


class Source(Object):
    """A source, which `next` reads from. Sources have state: each value is read once."""

    __slots__ = ()
    kind = "source"

    def next(self, machine: Machine) -> Value:
        """Return the next value. Raises `EndOfSource` after the last."""
        raise NotImplementedError

    def description(self) -> Parts:
        """Yield the parts to print within `<source: >`."""
        raise NotImplementedError


@final
class ListSource(Source):
    """A source of the members of a list. It prints all of them, even those that have been read."""

    __slots__ = ("_at", "_values")

    def __init__(self, values: list[Value]) -> None:
        self._values = values
        self._at = 0

    def next(self, machine: Machine) -> Value:
        if self._at >= len(self._values):
            raise EndOfSource
        self._at += 1
        return self._values[self._at - 1]

    def description(self) -> Parts:
        return spaced(self._values or [Verbatim("empty")])


@final
class AcrossSource(Source):
    """A source of lists with the latest value of each of several sources.

    Each step reads a value from every source that hasn't ended.
    """

    __slots__ = ("_latest", "_over", "_sources", "_started")

    def __init__(self, sources: list[Source]) -> None:
        self._sources = sources
        self._latest: list[Value] = [None] * len(sources)
        self._over = [False] * len(sources)
        self._started = False

    def next(self, machine: Machine) -> Value:
        if not self._sources:
            raise EndOfSource
        fresh = False
        for index, source in enumerate(self._sources):
            if self._over[index]:
                continue
            try:
                self._latest[index] = source.next(machine)
                fresh = True
            except EndOfSource:
                if not self._started:
                    raise
                self._over[index] = True
        if not fresh:
            raise EndOfSource
        self._started = True
        return from_list(self._latest)

    def description(self) -> Parts:
        yield Verbatim("<cross: [")
        yield from spaced(self._sources)
        yield Verbatim("]>")


class Decoder(Protocol):
    """A protocol of `read`: bytes in, values out."""

    name: str
    """How a source with this decoder prints."""

    def feed(self, data: bytes) -> None:
        """Add bytes."""

    def close(self) -> None:
        """Mark the end of the bytes."""

    def next(self) -> Value:
        """Return the next value, `json_stream.NEED_MORE` or `json_stream.END`."""


@final
class BytesSource(Source):
    """A source of values that are decoded from bytes. `pull` waits for the next bytes, and returns b"" at the end.

    Once it has failed, it fails each time: what was read so far must not look complete.
    """

    __slots__ = ("_decoder", "_ended", "_failure", "_pull")

    def __init__(self, decoder: Decoder, pull: Callable[[Machine], bytes]) -> None:
        self._decoder = decoder
        self._pull = pull
        self._ended = False
        self._failure: BassError | None = None

    def next(self, machine: Machine) -> Value:
        if self._failure is not None:
            raise self._failure.copy()
        try:
            value = self._decoded(machine)
        except BassError as error:
            self._failure = error.copy()
            raise
        if value is END:
            raise EndOfSource
        return value

    def _decoded(self, machine: Machine) -> Value:
        """Return the next value, or `END`."""
        while True:
            value = self._decoder.next()
            if value is not NEED_MORE:
                return value
            data = b"" if self._ended else self._pull(machine)
            if data:
                self._decoder.feed(data)
            else:
                self._ended = True
                self._decoder.close()

    def description(self) -> Parts:
        yield Verbatim(self._decoder.name)


@PRINTED.of(Source)
def _source(source: Source) -> Parts:
    yield Verbatim("<source: ")
    yield from source.description()
    yield Verbatim(">")


# --- sinks ---


class Sink(Object):
    """A sink, which `emit` writes to."""

    __slots__ = ("_emit", "name")
    kind = "sink"

    def __init__(self, name: str, emit: Callable[[Value, Machine], None]) -> None:
        self.name = name
        self._emit = emit

    def emit(self, value: Value, machine: Machine) -> None:
        """Write a value. Raises `BassError` if it can't be written there."""
        self._emit(value, machine)


@final
class Collected(Sink):
    """A sink that collects the values in a list."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        super().__init__("", self._add)
        self.values: list[Value] = []

    def _add(self, value: Value, machine: Machine) -> None:
        self.values.append(value)


@PRINTED.of(Sink)
def _sink(sink: Sink) -> Parts:
    yield Verbatim(f"<sink: {sink.name}>")


@PRINTED.of(Collected)
def _collected(sink: Collected) -> Parts:
    yield Verbatim("<sink: ")
    yield from spaced(sink.values or [Verbatim("empty")])
    yield Verbatim(">")


# --- the protocols of `read` ---


class RawDecoder:
    """A decoder of everything as one string."""

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
    """A decoder of JSON values, one after another."""

    __slots__ = ()
    name = "internal"


class LineDecoder:
    """A decoder of lines, without their line breaks."""

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
        """Return the value of a line."""
        return line


class TableDecoder(LineDecoder):
    """A decoder of lines, each as a list of its words."""

    name = "<unixTable source>"

    def value(self, line: str) -> Value:
        return from_list(line.split())


class TarDecoder:
    """A decoder of a tar archive's members, as files in memory with their headers as metadata."""

    name = "<tar source>"

    def __init__(self) -> None:
        self._data = bytearray()
        self._members: Iterator[tarfile.TarInfo] | None = None
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
        if not self._data:
            return END
        try:
            if self._members is None:
                self._data = _whole(self._data)
                self._members = read_members(io.BytesIO(self._data))
            member = next(self._members, None)
        except (BadTar, *UNPACK_ERRORS) as error:
            raise BassError(f"read: this isn't a tar archive: {error}") from error
        if member is None:
            return END
        start = member.offset_data
        content = bytes(self._data[start : start + member.size]) if member.isreg() else b""
        return _member(member, content)


def _whole(data: bytearray) -> bytearray:
    """Return an archive, uncompressed. Raises `BassError` if it's too large, and `UNPACK_ERRORS`."""
    whole = bytearray(uncompressed(io.BytesIO(data)).read(MAX_WHOLE + 1))
    if len(whole) > MAX_WHOLE:
        raise BassError(f"read: the archive is larger than {MAX_WHOLE >> 20} MiB")
    return whole


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
        return WithMeta(FSPath(MemoryFiles({}), DirPath(name)), Scope(about))
    return WithMeta(FSPath(MemoryFiles({name: content}), FilePath(name)), Scope(about))


_DECODERS: Final[dict[str, Callable[[], Decoder]]] = {
    "raw": RawDecoder, "json": JSONDecoder, "lines": LineDecoder, "unix-table": TableDecoder, "tar": TarDecoder,
}  # fmt: skip


def decoder(name: str) -> Decoder:
    """Return a decoder for the protocol of this name. Raises `BassError` if there is none."""
    make = _DECODERS.get(name)
    if make is None:
        names = ", ".join(f":{each}" for each in list(_DECODERS)[:-1])
        raise BassError(f"read: there is no protocol :{name}; there are {names} and :tar")
    return make()
