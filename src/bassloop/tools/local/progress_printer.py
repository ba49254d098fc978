"""Prints the progress of thunks, a line at a time: starts, output, ends."""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from bassloop.wire import progrock_pb2 as progrock

NAME_SHOWN: Final = 100
LINE_SHOWN: Final = 4_000
_CONTROL: Final = re.compile(r"\x1b\[[0-9;]*m|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class ProgressPrinter:
    """Prints the updates of one call."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._shown: dict[str, str] = {}
        self._decoders: dict[str, codecs.IncrementalDecoder] = {}
        self._lines: dict[str, str] = {}

    def update(self, update: progrock.StatusUpdate) -> None:
        """Print what is new in an update."""
        for log in update.logs:
            self._log(log.vertex, log.data)
        for vertex in update.vertexes:
            if not vertex.internal:
                self._vertex(vertex)

    def close(self) -> None:
        """Print last lines that don't end in a newline."""
        for vertex, line in self._lines.items():
            if line:
                self._line(vertex, line)
        self._lines.clear()

    def _vertex(self, vertex: progrock.Vertex) -> None:
        name = _plain(vertex.name)[:NAME_SHOWN]
        if vertex.id not in self._shown and vertex.HasField("started"):
            self._shown[vertex.id] = name
            self._say(f"=> {name}" + (" (cached)" if vertex.cached else ""))
        if vertex.HasField("completed") and not vertex.cached and vertex.id in self._shown:
            line = self._lines.pop(vertex.id, "")
            if line:
                self._line(vertex.id, line)
            seconds = (vertex.completed.ToNanoseconds() - vertex.started.ToNanoseconds()) / 1e9
            failed = _plain(vertex.error) if vertex.HasField("error") else ""
            self._say(f"<= {name}: {failed or 'done'} ({seconds:.2f} s)")

    def _log(self, vertex: str, data: bytes) -> None:
        decoder = self._decoders.get(vertex)
        if decoder is None:
            decoder = self._decoders[vertex] = codecs.getincrementaldecoder("utf-8")("replace")
        text = self._lines.get(vertex, "") + decoder.decode(data)
        *lines, rest = text.split("\n")
        for line in lines:
            self._line(vertex, line)
        while len(rest) > LINE_SHOWN:
            self._line(vertex, rest[:LINE_SHOWN])
            rest = rest[LINE_SHOWN:]
        self._lines[vertex] = rest

    def _line(self, vertex: str, line: str) -> None:
        self._say(f"   {_plain(line.removesuffix(chr(13)).rpartition(chr(13))[2])}")


def _plain(text: str) -> str:
    """Return text without control characters and colours."""
    return _CONTROL.sub("", text)
