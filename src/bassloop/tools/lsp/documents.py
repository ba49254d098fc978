"""The texts that an editor has open, the files that they use, and what is known of each."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bassloop.tools.lsp.analysis import Analysis, analyse

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_FILE: Final = 1 << 20
"""Bytes of a file that is looked at because a script uses it."""

MAX_DEPTH: Final = 20
"""How many files, each used by the one before, are looked at."""

STD: Final = Path(str(resources.files("bassloop.bass") / "std"))
"""Where the modules of std are. What they see beside Ground is theirs alone."""


class Documents:
    """Analyses, made when they are asked for and kept until what they are of changes.

    Args:
        opened: the text of an open document by its path, None if it is not open.
    """

    def __init__(self, opened: Callable[[Path], str | None]) -> None:
        self._opened = opened
        self._known: dict[Path | str, tuple[str, Analysis]] = {}
        self._loading: set[Path] = set()

    def analysis(self, text: str, path: Path | None, key: str) -> Analysis:
        """What is known of a text; `path` is where it is, if it is in a file, `key` what it is kept under."""
        at = path if path is not None else key
        kept = self._known.get(at)
        if kept is not None and kept[0] == text:
            return kept[1]
        made = analyse(text, _internals(path), lambda name: self._used(name, path))
        self._known[at] = (text, made)
        return made

    def forget(self, path: Path | None = None, key: str = "") -> None:
        """A document was closed, or files that are used have changed (then everything is forgotten)."""
        if path is None and not key:
            self._known.clear()
        else:
            self._known.pop(path if path is not None else key, None)

    def at(self, path: Path) -> Analysis | None:
        """What is known of a file, open or not; None if it cannot be read."""
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
        # Modules that use each other would never be done with.
        if path is None or path in self._loading or len(self._loading) >= MAX_DEPTH:
            return None
        self._loading.add(path)
        try:
            return self.at(path)
        finally:
            self._loading.discard(path)


def beside(user: Path | None, name: str) -> Path | None:
    """The file that `*dir*/name` is in a script; None if the script is in no file."""
    if user is None or "\0" in name:
        return None
    return user.parent / name


def _internals(path: Path | None) -> tuple[str, ...]:
    if path is None or path.parent != STD:
        return ()
    from bassloop.bass.ground import internal

    return tuple(internal().vars)
