"""Hides secrets in what a command prints, also where one comes in two pieces. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

HIDDEN = b"***"
SHORTEST = 3
"""Values shorter than this are not looked for: they would be found everywhere."""


class Mask:
    """Replaces each value by ``***``, in each stream on its own.

    What may be the beginning of a value is held back until it is known whether it is.
    """

    def __init__(self, values: Iterable[str]) -> None:
        wanted = {line for value in values for line in _forms(value) if len(line) >= SHORTEST}
        self._values = sorted(wanted, key=len, reverse=True)
        self._held = {1: b"", 2: b""}

    def feed(self, stream: int, data: bytes) -> bytes:
        """Take bytes in; what can be shown is returned."""
        text = self._replaced(self._held[stream] + data)
        keep = max((_overlap(text, value) for value in self._values), default=0)
        self._held[stream] = text[len(text) - keep :]
        return text[: len(text) - keep]

    def rest(self, stream: int) -> bytes:
        """What was held back, when nothing more comes."""
        held, self._held[stream] = self._held[stream], b""
        return held

    def hide(self, text: str) -> str:
        """The same for a text that is whole."""
        return self._replaced(text.encode(errors="surrogateescape")).decode(errors="replace")

    def _replaced(self, data: bytes) -> bytes:
        for value in self._values:
            data = data.replace(value, HIDDEN)
        return data


def _forms(value: str) -> Iterable[bytes]:
    """A value as it is, and each of its lines: a key of many lines is shown by its lines too."""
    whole = value.encode(errors="surrogateescape")
    yield whole
    yield whole.strip()
    yield from (line.strip() for line in whole.splitlines())


def _overlap(text: bytes, value: bytes) -> int:
    """How many bytes at the end of a text are the beginning of a value."""
    for size in range(min(len(value) - 1, len(text)), 0, -1):
        if text.endswith(value[:size]):
            return size
    return 0
