"""Sources, which values are read from one at a time, and sinks, which take them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, final

from bassloop.bass.errors import BassError, EndOfSource
from bassloop.bass.pair import from_list
from bassloop.bass.values import Object, Text, Value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bassloop.bass.machine import Machine


class Source(Object):
    """What `next` reads from. Sources have state: each value is read once."""

    __slots__ = ()
    kind = "source"

    def next(self, machine: Machine) -> Value:
        """The next value. Raises `EndOfSource` after the last."""
        raise NotImplementedError

    def parts(self) -> Iterator[Text | Value]:
        yield Text("<source: ")
        yield from self.inside()
        yield Text(">")

    def inside(self) -> Iterator[Text | Value]:
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

    def inside(self) -> Iterator[Text | Value]:
        if not self._values:
            yield Text("empty")
        for index, value in enumerate(self._values):
            if index:
                yield Text(" ")
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

    def inside(self) -> Iterator[Text | Value]:
        yield Text("<cross: [")
        for index, source in enumerate(self._sources):
            if index:
                yield Text(" ")
            yield source
        yield Text("]>")


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
        from bassloop.bass.jsonread import END, NEED_MORE

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

    def inside(self) -> Iterator[Text | Value]:
        yield Text(self._decoder.name)


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

    def parts(self) -> Iterator[Text | Value]:
        yield Text(f"<sink: {self._name}>")


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

    def parts(self) -> Iterator[Text | Value]:
        yield Text("<sink: ")
        if not self.values:
            yield Text("empty")
        for index, value in enumerate(self.values):
            if index:
                yield Text(" ")
            yield value
        yield Text(">")


def no_source(name: str) -> BassError:
    """A protocol of `read` that there is not."""
    return BassError(
        f"read: there is no protocol :{name}; there are :raw, :json, :lines, :unix-table and :tar"
    )
