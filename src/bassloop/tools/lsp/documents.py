"""The texts that are open in the editor, the files that they use, and positions in them."""

from __future__ import annotations

import re
from bisect import bisect_right
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bassloop.bass.builtins import internal
from bassloop.tools.lsp.analysis import Analysis, analyse

if TYPE_CHECKING:
    from collections.abc import Callable

_END: Final = re.compile(r"\r\n|\n|\r")
_WIDTH: Final = {"utf-8": 1, "utf-16": 2, "utf-32": 4}

MAX_FILE: Final = 1 << 20
"""The size limit in bytes for files that scripts use."""

MAX_DEPTH: Final = 20
"""The maximum length of a chain of files, each of which uses the next."""

STD: Final = Path(str(resources.files("bassloop.bass") / "std"))
"""The folder of the standard modules, which may use internal names."""


class Documents:
    """Analyses of texts, made on demand and cached until the text changes.

    Args:
        opened: returns the text of an open document by its path, or None if it isn't open.
    """

    def __init__(self, opened: Callable[[Path], str | None]) -> None:
        self._opened = opened
        self._analyses: dict[Path | str, tuple[str, Analysis]] = {}
        self._loading: set[Path] = set()

    def analysis(self, text: str, path: Path | None, key: str) -> Analysis:
        """Return the analysis of a text. `path` is its file, if it has one, and else `key` identifies it."""
        at = path if path is not None else key
        cached = self._analyses.get(at)
        if cached is not None and cached[0] == text:
            return cached[1]
        made = analyse(text, _internals(path), lambda name: self._used(name, path))
        self._analyses[at] = (text, made)
        return made

    def forget(self, path: Path | None = None, key: str = "") -> None:
        """Drop the analysis of a document that was closed. Without arguments, drop all, because files have changed."""
        if path is None and not key:
            self._analyses.clear()
        else:
            self._analyses.pop(path if path is not None else key, None)

    def at(self, path: Path) -> Analysis | None:
        """Return the analysis of a file, open or not; None if it can't be read."""
        text = self._opened(path)
        if text is None:
            try:
                if path.stat().st_size > MAX_FILE:
                    return None
                text = path.read_text(encoding="utf-8")
            except (OSError, ValueError):
                return None
        return self.analysis(text, path, "")

    def _used(self, name: str, user: Path | None) -> Analysis | None:
        path = beside(user, name)
        # Files may use each other circularly.
        if path is None or path in self._loading or len(self._loading) >= MAX_DEPTH:
            return None
        self._loading.add(path)
        try:
            return self.at(path)
        finally:
            self._loading.discard(path)


def beside(user: Path | None, name: str) -> Path | None:
    """Return the file that `*dir*/name` refers to in a script; None if the script isn't in a file."""
    if user is None or "\0" in name:
        return None
    return user.parent / name


def _internals(path: Path | None) -> tuple[str, ...]:
    if path is None or path.parent != STD:
        return ()
    return tuple(internal().vars)


class Positions:
    """Converts between offsets and the protocol's positions: lines from 0, and code units of an encoding.

    Every position has an offset; one after the end of a line is the same as the end.
    """

    def __init__(self, text: str, encoding: str = "utf-16") -> None:
        self._text = text
        self._codec = {"utf-8": "utf-8", "utf-32": "utf-32-le"}.get(encoding, "utf-16-le")
        self._width = _WIDTH.get(encoding, 2)
        self._starts = [0]
        self._ends: list[int] = []
        for end in _END.finditer(text):
            self._ends.append(end.start())
            self._starts.append(end.end())
        self._ends.append(len(text))

    def position(self, offset: int) -> tuple[int, int]:
        """Return the line of an offset, and the code units before it in that line."""
        offset = max(0, min(offset, len(self._text)))
        line = bisect_right(self._starts, offset) - 1
        before = self._text[self._starts[line] : min(offset, self._ends[line])]
        return line, self._units(before)

    def offset(self, line: int, units: int) -> int:
        """Return the offset of a position."""
        if line < 0:
            return 0
        if line >= len(self._starts):
            return len(self._text)
        start, end = self._starts[line], self._ends[line]
        at = start
        left = units
        while at < end and left > 0:
            left -= self._units(self._text[at])
            # Never in the middle of a character.
            at += left >= 0
        return at

    def _units(self, text: str) -> int:
        if text.isascii():
            return len(text)
        return len(text.encode(self._codec, "surrogatepass")) // self._width
