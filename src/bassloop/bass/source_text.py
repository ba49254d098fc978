"""Source texts, and ranges in them."""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple, final


@final
class SourceText:
    """A text that forms are read from.

    `name` is its name in messages. `file` is the value of `:file` in the metadata of definitions, by default the name.
    `standard` is true for the modules of std.
    """

    __slots__ = ("_starts", "file", "name", "standard", "text")

    def __init__(
        self, text: str, name: str, file: object = None, *, standard: bool = False
    ) -> None:
        self.text = text
        self.name = name
        self.file = name if file is None else file
        self.standard = standard
        self._starts: list[int] | None = None

    def position(self, offset: int) -> tuple[int, int]:
        """Return the line, from 1, and the column, from 0 and in characters, of an offset into the text."""
        starts = self._line_starts()
        line = bisect_right(starts, offset)
        return line, offset - starts[line - 1]

    def line(self, number: int) -> str:
        """Return the text of a line, counted from 1, without its end; "" if there is no such line."""
        starts = self._line_starts()
        if not 0 < number <= len(starts):
            return ""
        end = starts[number] - 1 if number < len(starts) else len(self.text)
        return self.text[starts[number - 1] : end].rstrip("\r")

    def _line_starts(self) -> list[int]:
        if self._starts is None:
            starts = [0]
            find = self.text.find
            at = find("\n")
            while at >= 0:
                starts.append(at + 1)
                at = find("\n", at + 1)
            self._starts = starts
        return self._starts


class Range(NamedTuple):
    """A part of a source text, from offset `start` up to `end`. Lines and columns are computed on demand."""

    source: SourceText
    start: int
    end: int

    @property
    def line(self) -> int:
        """The line that it starts on, counted from 1."""
        return self.source.position(self.start)[0]

    @property
    def column(self) -> int:
        """The column that it starts at, counted from 0, in characters."""
        return self.source.position(self.start)[1]

    @property
    def end_line(self) -> int:
        """The line that it ends on."""
        return self.source.position(self.end)[0]

    @property
    def end_column(self) -> int:
        """The column after its last character."""
        return self.source.position(self.end)[1]

    @property
    def text(self) -> str:
        """The text that it covers."""
        return self.source.text[self.start : self.end]

    def __repr__(self) -> str:
        return f"{self.source.name}:{self.line}:{self.column}..{self.end_line}:{self.end_column}"
