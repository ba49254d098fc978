"""Source texts, and ranges in them."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from bassloop.bass.values import Value


@final
class SourceText:
    """A text that forms were read from.

    `name` is what people know it by; `file` is the path value that metadata of what is defined in it will
    show (the name, as a string, unless given).
    """

    __slots__ = ("_starts", "file", "name", "text")

    def __init__(self, text: str, name: str, file: Value = None) -> None:
        self.text = text
        self.name = name
        self.file = name if file is None else file
        self._starts: list[int] | None = None

    def position(self, offset: int) -> tuple[int, int]:
        """Line, from 1, and column, from 0 and in characters, of an offset into the text."""
        starts = self._line_starts()
        line = bisect_right(starts, offset)
        return line, offset - starts[line - 1]

    def line(self, number: int) -> str:
        """The text of a line, counted from 1, without its end."""
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


@final
class Range:
    """A stretch of a source, from offset `start` up to `end`; lines and columns are worked out when asked."""

    __slots__ = ("end", "source", "start")

    def __init__(self, source: SourceText, start: int, end: int) -> None:
        self.source = source
        self.start = start
        self.end = end

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Range)
            and self.source is other.source
            and (self.start, self.end) == (other.start, other.end)
        )

    def __hash__(self) -> int:
        return hash((id(self.source), self.start, self.end))

    @property
    def line(self) -> int:
        """Where it starts: the line, counted from 1."""
        return self.source.position(self.start)[0]

    @property
    def column(self) -> int:
        """Where it starts: the column, counted from 0, in characters."""
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
        """The text it covers."""
        return self.source.text[self.start : self.end]

    def __str__(self) -> str:
        return f"{self.source.name}:{self.line}:{self.column}..{self.end_line}:{self.end_column}"

    __repr__ = __str__
