"""Hides secrets in what leaves the runner, also where one comes in pieces. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.runner.secrets import forms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from bassloop.runner.secrets.forms import View

HIDDEN = b"***"
_PROBE = 8
MAX_BREAKS = 4_096
"""Bytes beyond a form's own that are held back for it: more line breaks are no wrapped form."""

Span = tuple[int, int]


class Mask:
    """Replaces each value, in all of its forms, by ``***``.

    Args:
        values: what is hidden; texts shorter than `forms.SHORTEST` are not looked for.
    """

    def __init__(self, values: Iterable[str]) -> None:
        known = list(values)
        plain = forms.long_enough(each for value in known for each in forms.plain_forms(value))
        base64 = forms.long_enough(each for value in known for each in forms.base64_forms(value))
        self._views: Sequence[tuple[Callable[[bytes], View], tuple[bytes, ...]]] = (
            (forms.as_it_is, plain),
            (forms.decoded, plain),
            (forms.without_breaks, base64),
        )
        self.longest = max(map(len, (*plain, *base64)), default=0)

    def __bool__(self) -> bool:
        return self.longest > 0

    def hide(self, text: str) -> str:
        """A text that is whole, with nothing of a secret in it."""
        if not self:
            return text
        stream = self.stream()
        data = stream.feed(text.encode(errors="surrogateescape")) + stream.rest()
        return data.decode(errors="replace")

    def stream(self) -> MaskedStream:
        """A stream of bytes that are hidden as they come."""
        return MaskedStream(self)

    def found(self, text: bytes) -> tuple[list[Span], int]:
        """Where values are in a text, in order and apart; and where its end may begin another."""
        spans: list[Span] = []
        end = len(text)
        seen: set[tuple[bytes, tuple[bytes, ...]]] = set()
        for look, wanted in self._views:
            view = look(text)
            if (view.data, wanted) in seen:
                continue  # nothing is encoded in it
            seen.add((view.data, wanted))
            begin = view.begun
            for form in wanted:
                for index in _places(view.data, form):
                    last = view.place(index + len(form) - 1)
                    stop = view.place(index + len(form))
                    # What was left out after its last byte, a line break, is no part of it.
                    spans.append((view.place(index), stop if look is forms.decoded else last + 1))
                if (started := _begun(view.data, form)) is not None:
                    begin = min(begin, view.place(started))
            end = min(end, begin)
        return _merged(spans), end


class MaskedStream:
    """One stream. What may be the beginning of a value is held back until it is known whether it is."""

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
        self._held = b""
        self._hidden = 0
        self.found = False
        """Whether something was hidden."""

    def feed(self, data: bytes) -> bytes:
        """Take bytes in; what can be shown is returned."""
        if not self._mask or not data:
            return data
        text = self._held + data
        spans, end = self._spans(text)
        end = max(end, len(text) - 3 * self._mask.longest - MAX_BREAKS)
        shown = self._shown(text, spans, end)
        self._held = text[end:]
        self._hidden = next((stop - end for start, stop in spans if start < end < stop), 0)
        return shown

    def rest(self) -> bytes:
        """What was held back, when nothing more comes."""
        text, self._held = self._held, b""
        if not text:
            return b""
        spans, _ = self._spans(text)
        shown = self._shown(text, spans, len(text))
        self._hidden = 0
        return shown

    def _spans(self, text: bytes) -> tuple[list[Span], int]:
        spans, end = self._mask.found(text)
        if self._hidden:
            spans = _merged([(0, self._hidden), *spans])
        self.found = self.found or bool(spans)
        return spans, end

    def _shown(self, text: bytes, spans: list[Span], end: int) -> bytes:
        """The text up to `end`; what is hidden at its beginning was told before."""
        parts, at = [], 0
        for start, stop in spans:
            if start >= end:
                break
            parts.append(text[at:start])
            if start > 0 or not self._hidden:
                parts.append(HIDDEN)
            at = stop
        parts.append(text[at:end])
        return b"".join(parts)


def _places(data: bytes, form: bytes) -> Iterator[int]:
    index = data.find(form)
    while index >= 0:
        yield index
        index = data.find(form, index + 1)


def _begun(data: bytes, form: bytes) -> int | None:
    """Where the longest end of some data that is the beginning of a form begins."""
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
    """The same places in order, those that overlap as one."""
    merged: list[Span] = []
    for start, stop in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((start, stop))
    return merged
