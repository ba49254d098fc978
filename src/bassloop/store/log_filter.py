"""Filters that tell which logs can't have a text in them. No I/O.

A filter is a Bloom filter of a log's trigrams: of each three letters or digits of ASCII in a row, with letters in
lower case and all digits as 0. A text whose trigrams aren't all in it is not in the log. One whose trigrams are may
be, so that log is read. Words that differ in digits only count once, which is most of a long log.
"""

from __future__ import annotations

import sys
from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

UNKNOWN = b""
"""The filter of a log that is too varied for one: anything may be in it."""

MIN_BYTES, MAX_BYTES = 32, 8 << 10
"""The size of a filter: there are at least twice as many bits as trigrams. With all that there can be, a third of
the largest one's bits is set."""

MAX_DISTINCT = 1 << 20
"""Bytes of a log's words, each word once, beyond which it gets no filter."""

_PIECE = 64 << 10
"""Bytes that are taken apart without letting other threads run."""

_SPACE = ord(" ")
_KEPT = b"\nabcdefghijklmnopqrstuvwxyz"
_FOLD = bytes(
    ord("0") if chr(code).isdigit() and code < 0x80 else code if code in _KEPT else _SPACE
    for code in b"".join(bytes([code]).lower() for code in range(256))
)
"""What each byte counts as; spaces are between words."""

_LIKE_ASCII = (("\u212a".encode(), b"k"), ("\u017f".encode(), b"s"))
"""The only other characters that differ from an ASCII letter in case alone: the Kelvin sign, and the long s."""


class FilterBuilder:
    """Makes the filter of one log from its text."""

    def __init__(self) -> None:
        self._trigrams: set[int] = set()
        self._words: set[bytes] = set()
        self._distinct = 0

    def add(self, text: bytes) -> bool:
        """Add whole lines, without escape sequences. Returns False once the log is too varied for a filter."""
        if not text.isascii():
            for other, letter in _LIKE_ASCII:
                text = text.replace(other, letter)
        lines = set(text.translate(_FOLD).split(b"\n"))
        new = set(b" ".join(lines).split()) - self._words
        self._words |= new
        words = b" ".join(new)
        self._distinct += len(words)
        for start in range(0, len(words), _PIECE):
            self._trigrams |= _trigrams(words[start : start + _PIECE + 2])
        return self._distinct <= MAX_DISTINCT

    def filter(self) -> bytes:
        """Return the filter."""
        if self._distinct > MAX_DISTINCT:
            return UNKNOWN
        within = [
            trigram
            for trigram in self._trigrams
            if trigram & 0xFF != _SPACE
            and trigram >> 8 & 0xFF != _SPACE
            and trigram >> 16 != _SPACE
        ]
        size = MIN_BYTES
        while size < MAX_BYTES and size * 8 < 2 * len(within):
            size *= 2
        bits = bytearray(size)
        for position in _positions(within, size):
            bits[position >> 3] |= 1 << (position & 7)
        return bytes(bits)


class FilterQuery:
    """A text that filters are asked for, in any case."""

    def __init__(self, text: str) -> None:
        folded = text.encode(errors="replace").translate(_FOLD)
        self._trigrams = sorted(
            int.from_bytes(piece, "little")
            for piece in {folded[at : at + 3] for at in range(len(folded) - 2)}
            if piece.isalnum()
        )
        self._masks: dict[int, list[tuple[int, int]]] = {}

    def may_match(self, filter_: bytes) -> bool:
        """Return False if the log with this filter doesn't have the text in it."""
        if filter_ == UNKNOWN:
            return True
        masks = self._masks.get(len(filter_))
        if masks is None:
            positions = _positions(self._trigrams, len(filter_))
            masks = [(position >> 3, 1 << (position & 7)) for position in positions]
            self._masks[len(filter_)] = masks
        return all(filter_[at] & mask for at, mask in masks)


def _trigrams(text: bytes) -> set[int]:
    """Return all three bytes in a row, also across words, as numbers.

    An array reads four bytes in a row as a number, which is much faster than Python would be. The fourth is
    dropped when each kind is there once.
    """
    padded = text + b"\n"
    quads: set[int] = set()
    for start in range(4):
        numbers = array("I", padded[start : start + (len(padded) - start) // 4 * 4])
        if sys.byteorder == "big":
            numbers.byteswap()
        quads.update(numbers)
    return {quad & 0xFFFFFF for quad in quads}


def _positions(trigrams: Iterable[int], size: int) -> list[int]:
    """Return the bits of trigrams in a filter of `size` bytes, a power of two."""
    last = size * 8 - 1
    return [(trigram * 0x9E3779B1 >> 12) & last for trigram in trigrams]
