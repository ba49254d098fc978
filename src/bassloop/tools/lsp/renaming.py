"""Renaming a name within its text.

A new name may be one that something else is called there, or no name at all. Rather than to foresee all that, the
renamed text is analysed: every occurrence must still mean the same, and nothing else may.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.tools.lsp.features import occurrences
from bassloop.tools.lsp.text_model import TextSpan

if TYPE_CHECKING:
    from collections.abc import Callable

    from bassloop.tools.lsp.analysis import Analysis


class RenameError(Exception):
    """The name can't be renamed so; the message says why."""


def renameable(found: Analysis, offset: int) -> TextSpan | None:
    """Return the span of the name at an offset, or None if it can't be renamed."""
    return next((span for span, _ in occurrences(found, offset) if offset in span), None)


def rename(
    found: Analysis, offset: int, name: str, analyse: Callable[[str], Analysis]
) -> list[TextSpan]:
    """Return the spans that have to be replaced by the new name, in order. Raises RenameError.

    Args:
        analyse: analyses the text with the new name.
    """
    spans = [span for span, _ in occurrences(found, offset)]
    if not spans:
        raise RenameError("only a name that this file binds can be renamed")
    if name == found.text[spans[0].start : spans[0].end]:
        return []
    renamed, moved, end = [], [], 0
    for span in spans:
        renamed.append(found.text[end : span.start])
        start = sum(map(len, renamed))
        renamed.append(name)
        moved.append(TextSpan(start, start + len(name)))
        end = span.end
    again = analyse("".join([*renamed, found.text[end:]]))
    if len(again.problems) > len(found.problems):
        raise RenameError(f"{name!r} can't be a name here: {again.problems[0].message}")
    if [span for span, _ in occurrences(again, moved[0].start)] != moved:
        raise RenameError(f"{name!r} means something else here already, or is no name")
    return spans
