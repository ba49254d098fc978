"""Sources, which values are read from one at a time, and sinks, which take them."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING, Any, Final, Protocol, final

from bassloop.bass.annotated import WithMeta
from bassloop.bass.errors import BassError, EndOfSource
from bassloop.bass.filesystem import FSPath, MemoryFiles
from bassloop.bass.json_stream import END, NEED_MORE, JSONStream
from bassloop.bass.pair import from_list
from bassloop.bass.path import DirPath, FilePath, clean
from bassloop.bass.scope import Scope
from bassloop.bass.values import Object, Value, Verbatim

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bassloop.bass.machine import Machine
    from bassloop.bass.values import Value


class Source(Object):
    """What `next` reads from. Sources have state: each value is read once."""

    __slots__ = ()
    kind = "source"

    def next(self, machine: Machine) -> Value:
        """The next value. Raises `EndOfSource` after the last."""
        raise NotImplementedError

    def parts(self) -> Iterator[Verbatim | Value]:
        yield Verbatim("<source: ")
        yield from self.inside()
        yield Verbatim(">")

    def inside(self) -> Iterator[Verbatim | Value]:
        """What it prints within its brackets."""
        raise NotImplementedError


@final
class ListSource(Source):
    """The members of a list. It prints all of them, those that have been read too."""

    __slots__ = ("_at", "_values")

    def __init__(self, values: list[Value]) -> None:
        self._values = values
        self._at = 0

    def next(self, machine: Machine) -> Value:
        if self._at >= len(self._values):
            raise EndOfSource
        self._at += 1
        return self._values[self._at - 1]

    def inside(self) -> Iterator[Verbatim | Value]:
        if not self._values:
            yield Verbatim("empty")
        for index, value in enumerate(self._values):
            if index:
                yield Verbatim(" ")
            yield value


@final
class AcrossSource(Source):
    """Lists of the latest value of each of several sources, a value of each that has one more at a time."""

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

    def inside(self) -> Iterator[Verbatim | Value]:
        yield Verbatim("<cross: [")
        for index, source in enumerate(self._sources):
            if index:
                yield Verbatim(" ")
            yield source
        yield Verbatim("]>")


class Decoder(Protocol):
    """A protocol of `read`: bytes in, values out."""

    name: str
    """How a source of it prints."""

    def feed(self, data: bytes) -> None:
        """Add bytes."""

    def close(self) -> None:
        """Say that there are no more."""

    def next(self) -> Value:
        """The next value, `jsonread.NEED_MORE` or `jsonread.END`."""


@final
class BytesSource(Source):
    """Values out of bytes that arrive in pieces; `pull` waits for the next piece, b"" after the last."""

    __slots__ = ("_decoder", "_ended", "_pull")

    def __init__(self, decoder: Decoder, pull: Callable[[Machine], bytes]) -> None:
        self._decoder = decoder
        self._pull = pull
        self._ended = False

    def next(self, machine: Machine) -> Value:
        from bassloop.bass.json_stream import END, NEED_MORE

        while True:
            value = self._decoder.next()
            if value is END:
                raise EndOfSource
            if value is not NEED_MORE:
                return value
            data = b"" if self._ended else self._pull(machine)
            if data:
                machine.meter.allocate(len(data))
                self._decoder.feed(data)
            else:
                self._ended = True
                self._decoder.close()

    def inside(self) -> Iterator[Verbatim | Value]:
        yield Verbatim(self._decoder.name)


class Sink(Object):
    """What `emit` writes to."""

    __slots__ = ("_emit", "_name")
    kind = "sink"

    def __init__(self, name: str, emit: Callable[[Value, Machine], None]) -> None:
        self._name = name
        self._emit = emit

    def emit(self, value: Value, machine: Machine) -> None:
        """Write a value. Raises `BassError` if it cannot be written there."""
        self._emit(value, machine)

    def parts(self) -> Iterator[Verbatim | Value]:
        yield Verbatim(f"<sink: {self._name}>")


@final
class Collected(Sink):
    """A sink that keeps what is emitted to it."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        super().__init__("", self._keep)
        self.values: list[Value] = []

    def _keep(self, value: Value, machine: Machine) -> None:
        machine.meter.allocate(64)
        self.values.append(value)

    def parts(self) -> Iterator[Verbatim | Value]:
        yield Verbatim("<sink: ")
        if not self.values:
            yield Verbatim("empty")
        for index, value in enumerate(self.values):
            if index:
                yield Verbatim(" ")
            yield value
        yield Verbatim(">")


def no_source(name: str) -> BassError:
    """A protocol of `read` that there is not."""
    return BassError(
        f"read: there is no protocol :{name}; there are :raw, :json, :lines, :unix-table and :tar"
    )


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
        return WithMeta(FSPath(MemoryFiles({}), DirPath(name)), Scope(about))
    return WithMeta(FSPath(MemoryFiles({name: content}), FilePath(name)), Scope(about))


_DECODERS: Final[dict[str, Callable[[], Decoder]]] = {
    "raw": RawDecoder, "json": JSONDecoder, "lines": LineDecoder, "unix-table": TableDecoder, "tar": TarDecoder,
}  # fmt: skip


def decoder(name: str) -> Decoder:
    """A decoder of the protocol of this name. Raises `BassError` if there is none."""
    make = _DECODERS.get(name)
    if make is None:
        raise no_source(name)
    return make()
