"""The forms in which a secret may be printed, and the views of a text in which they are looked for. Pure.

A value is looked for as it is, line by line, and as JSON has it. Base64 is looked for in all three
alignments, in what is left of the text without its line breaks: programs wrap it; a character that has
bits of its neighbours too stays, and tells four bits of it at most. Whatever an encoder
of URLs leaves as it is, a text whose ``%XX`` are decoded has the value in it.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SHORTEST = 4
"""What is shorter is not looked for: it would be found everywhere."""

_BREAKS = re.compile(rb"[\r\n]+")
_ESCAPE = re.compile(rb"%[0-9A-Fa-f]{2}")
_BEGUN = re.compile(rb"%[0-9A-Fa-f]?\Z")
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


def plain_forms(value: str) -> Iterator[bytes]:
    """The value, its lines, and how JSON writes them."""
    for part in _parts(value):
        yield part
        text = part.decode(errors="surrogateescape")
        for is_ascii in (True, False):
            yield json.dumps(text, ensure_ascii=is_ascii)[1:-1].encode(errors="surrogateescape")
        yield part.replace(b" ", b"+")


def base64_forms(value: str) -> Iterator[bytes]:
    """What Base64 of any text with the value in it has in it, in both of its alphabets."""
    for part in _parts(value):
        for before in range(3):
            whole = b64encode(b"\0" * before + part).rstrip(b"=")
            first = (before * 8 + 5) // 6  # characters that depend on what is before
            last = (before + len(part)) * 8 // 6  # and, after these, on what comes then
            yield whole[first:last]
            yield whole[first:last].translate(_URL_SAFE)


def _parts(value: str) -> Iterator[bytes]:
    whole = value.encode(errors="surrogateescape")
    yield whole
    yield whole.strip()
    for line in whole.splitlines():
        yield line.strip()


def long_enough(forms: Iterable[bytes]) -> tuple[bytes, ...]:
    """Those that are looked for, each once."""
    return tuple(sorted({each for each in forms if len(each) >= SHORTEST}, key=len, reverse=True))


@dataclass(frozen=True, slots=True)
class View:
    """A text as it is searched, and where its bytes are in the text itself.

    Args:
        data: what is searched.
        ends: for each cut, where it is in `data`.
        offsets: how far what comes after each cut is behind its place in the text.
        begun: where in the text something begins whose end has not come; its length when nothing does.
    """

    data: bytes
    begun: int
    ends: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)

    def place(self, index: int) -> int:
        """Where in the text the byte `index` of the view begins."""
        cut = bisect_right(self.ends, index)
        return index + (self.offsets[cut - 1] if cut else 0)


def as_it_is(text: bytes) -> View:
    """The text itself."""
    return View(text, len(text))


def without_breaks(text: bytes) -> View:
    """The text without line breaks."""
    if b"\n" not in text and b"\r" not in text:
        return as_it_is(text)
    view = View(text.translate(None, b"\r\n"), len(text))
    gone = 0
    for found in _BREAKS.finditer(text):
        view.ends.append(found.start() - gone)
        gone += len(found[0])
        view.offsets.append(gone)
    return view


def decoded(text: bytes) -> View:
    """The text with each ``%XX`` as the byte that it stands for."""
    if b"%" not in text:
        return as_it_is(text)
    begun = _BEGUN.search(text)
    whole = text[: begun.start()] if begun else text
    data = _ESCAPE.sub(lambda found: bytes.fromhex(found[0][1:].decode()), whole)
    view = View(data, len(whole))
    for number, found in enumerate(_ESCAPE.finditer(whole), 1):
        view.ends.append(found.start() - 2 * (number - 1) + 1)
        view.offsets.append(2 * number)
    return view
