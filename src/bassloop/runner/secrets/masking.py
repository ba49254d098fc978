"""Mask secrets in everything that leaves the runner, even if a value arrives in pieces. No I/O.

A value is searched for verbatim, line by line, and in its JSON and URL encodings. Base64 is searched for in its three
alignments and both alphabets, ignoring line breaks, since programs wrap it. A character of Base64 that also encodes
bits of the value's neighbours stays visible; it discloses at most four bits of the value.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

HIDDEN = b"***"
SHORTEST = 4
"""The minimum length of a form that is masked. Shorter ones would match everywhere."""
MAX_BREAKS = 4_096
"""Bytes that are held back in addition to a form's length, for the line breaks of a wrapped form."""

Span = tuple[int, int]

_PROBE = 8
_BREAKS = re.compile(rb"[\r\n]+")
_ESCAPE = re.compile(rb"%[0-9A-Fa-f]{2}")
_PARTIAL_ESCAPE = re.compile(rb"%[0-9A-Fa-f]?\Z")
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


class Mask:
    """Replaces each value, in all its forms, with ``***``."""

    def __init__(self, values: Iterable[str]) -> None:
        known = list(values)
        plain = _searched(form for value in known for form in plain_forms(value))
        base64 = _searched(form for value in known for form in base64_forms(value))
        self._searches: Sequence[tuple[Callable[[bytes], _View], tuple[bytes, ...]]] = (
            (_unchanged, plain),
            (_percent_decoded, plain),
            (_without_breaks, base64),
        )
        self.longest = max(map(len, (*plain, *base64)), default=0)

    def __bool__(self) -> bool:
        return self.longest > 0

    def hide(self, text: str) -> str:
        """Return a complete text, masked."""
        if not self:
            return text
        stream = self.stream()
        data = stream.feed(text.encode(errors="surrogateescape")) + stream.rest()
        return data.decode(errors="replace")

    def stream(self) -> MaskedStream:
        """Return a masker for one stream of bytes."""
        return MaskedStream(self)

    def find(self, text: bytes) -> tuple[list[Span], int]:
        """Return the spans of values, in order and without overlaps, and where another value may begin.

        The second result is the index from which the end of the text may be the beginning of a value.
        """
        spans: list[Span] = []
        end = len(text)
        searched: set[tuple[bytes, tuple[bytes, ...]]] = set()
        for view_of, forms in self._searches:
            view = view_of(text)
            if (view.data, forms) in searched:
                continue  # the text contains nothing in this encoding
            searched.add((view.data, forms))
            begin = view.partial
            for form in forms:
                for index in _occurrences(view.data, form):
                    # A line break that was removed after the last byte isn't part of the value.
                    last = view.locate(index + len(form) - 1)
                    stop = view.locate(index + len(form))
                    is_decoded = view_of is _percent_decoded
                    spans.append((view.locate(index), stop if is_decoded else last + 1))
                if (started := _partial_occurrence(view.data, form)) is not None:
                    begin = min(begin, view.locate(started))
            end = min(end, begin)
        return _merged(spans), end


class MaskedStream:
    """Masks one stream. Holds back what may be the beginning of a value until that's decided."""

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
        self._held = b""
        self._hidden = 0
        """How many bytes at the beginning of `_held` belong to a value that is already masked."""
        self.found = False
        """Whether anything was masked."""

    def feed(self, data: bytes) -> bytes:
        """Take bytes, and return those that can be shown."""
        if not self._mask or not data:
            return data
        text = self._held + data
        spans, end = self._find(text)
        end = max(end, len(text) - 3 * self._mask.longest - MAX_BREAKS)
        shown = self._masked(text, spans, end)
        self._held = text[end:]
        self._hidden = next((stop - end for start, stop in spans if start < end < stop), 0)
        return shown

    def rest(self) -> bytes:
        """Return the bytes that were held back, at the end of the stream."""
        text, self._held = self._held, b""
        if not text:
            return b""
        spans, _ = self._find(text)
        shown = self._masked(text, spans, len(text))
        self._hidden = 0
        return shown

    def _find(self, text: bytes) -> tuple[list[Span], int]:
        spans, end = self._mask.find(text)
        if self._hidden:
            spans = _merged([(0, self._hidden), *spans])
        self.found = self.found or bool(spans)
        return spans, end

    def _masked(self, text: bytes, spans: list[Span], end: int) -> bytes:
        parts, at = [], 0
        for start, stop in spans:
            if start >= end:
                break
            parts.append(text[at:start])
            if start > 0 or not self._hidden:  # otherwise the asterisks were returned before
                parts.append(HIDDEN)
            at = stop
        parts.append(text[at:end])
        return b"".join(parts)


# --- the forms in which a value may be printed --------------------------------------------------------


def plain_forms(value: str) -> Iterator[bytes]:
    """Generate the value, its lines, and their JSON and URL encodings."""
    for part in _parts(value):
        yield part
        text = part.decode(errors="surrogateescape")
        for is_ascii in (True, False):
            yield json.dumps(text, ensure_ascii=is_ascii)[1:-1].encode(errors="surrogateescape")
        yield part.replace(b" ", b"+")


def base64_forms(value: str) -> Iterator[bytes]:
    """Generate the characters that appear in the Base64 of any text that contains the value, in both alphabets."""
    for part in _parts(value):
        for before in range(3):
            whole = b64encode(b"\0" * before + part).rstrip(b"=")
            first = (before * 8 + 5) // 6  # characters that depend on what comes before the value
            last = (before + len(part)) * 8 // 6  # those after it depend on what follows the value
            yield whole[first:last]
            yield whole[first:last].translate(_URL_SAFE)


def _parts(value: str) -> Iterator[bytes]:
    whole = value.encode(errors="surrogateescape")
    yield whole
    yield whole.strip()
    for line in whole.splitlines():
        yield line.strip()


def _searched(forms: Iterable[bytes]) -> tuple[bytes, ...]:
    """Return the forms that are long enough, each once, longest first."""
    return tuple(sorted({each for each in forms if len(each) >= SHORTEST}, key=len, reverse=True))


# --- the views of a text that are searched ------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _View:
    """A decoded text, and how its bytes map to the original text.

    Args:
        partial: where in the original an incomplete escape begins; its length if there is none.
        cuts: the indexes in `data` where bytes of the original were removed.
        offsets: for each cut, by how much the bytes after it were moved.
    """

    data: bytes
    partial: int
    cuts: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)

    def locate(self, index: int) -> int:
        """Return where in the original the byte at `index` of the view begins."""
        cut = bisect_right(self.cuts, index)
        return index + (self.offsets[cut - 1] if cut else 0)


def _unchanged(text: bytes) -> _View:
    return _View(text, len(text))


def _without_breaks(text: bytes) -> _View:
    """Remove line breaks."""
    if b"\n" not in text and b"\r" not in text:
        return _unchanged(text)
    view = _View(text.translate(None, b"\r\n"), len(text))
    removed = 0
    for found in _BREAKS.finditer(text):
        view.cuts.append(found.start() - removed)
        removed += len(found[0])
        view.offsets.append(removed)
    return view


def _percent_decoded(text: bytes) -> _View:
    """Replace each ``%XX`` with its byte; other characters are unchanged."""
    if b"%" not in text:
        return _unchanged(text)
    partial = _PARTIAL_ESCAPE.search(text)
    whole = text[: partial.start()] if partial else text
    data = _ESCAPE.sub(lambda found: bytes.fromhex(found[0][1:].decode()), whole)
    view = _View(data, len(whole))
    for number, found in enumerate(_ESCAPE.finditer(whole), 1):
        view.cuts.append(found.start() - 2 * (number - 1) + 1)
        view.offsets.append(2 * number)
    return view


def _occurrences(data: bytes, form: bytes) -> Iterator[int]:
    index = data.find(form)
    while index >= 0:
        yield index
        index = data.find(form, index + 1)


def _partial_occurrence(data: bytes, form: bytes) -> int | None:
    """Return where the longest suffix of the data begins that is a prefix of the form, or None."""
    first = max(0, len(data) - len(form) + 1)
    probe = form[:_PROBE]
    index = data.find(probe, first)
    while index >= 0:
        if form.startswith(data[index:]):
            return index
        index = data.find(probe, index + 1)
    for index in range(max(first, len(data) - _PROBE + 1), len(data)):
        if form.startswith(data[index:]):
            return index
    return None


def _merged(spans: Iterable[Span]) -> list[Span]:
    """Return the spans in order, with overlapping ones merged."""
    merged: list[Span] = []
    for start, stop in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((start, stop))
    return merged
