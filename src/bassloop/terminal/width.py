"""The width of text in columns."""

from __future__ import annotations

import re
from functools import lru_cache

from wcwidth import wcwidth

_ALL_NARROW = re.compile(
    "[\x20-\x7e\xa1-\xac\xae-\u02ff\u2010-\u2027\u2190-\u2199\u2500-\u25fc\u2800-\u28ff]*+"
)
"""Characters of one column each, those that progress bars and tables are drawn with included."""

TAB = 8


@lru_cache(maxsize=1 << 14)
def character_width(character: str) -> int:
    """Columns of one character: 0 for a combining one and for controls, 2 for a wide one."""
    return max(0, wcwidth(character))


def is_narrow(text: str) -> bool:
    """Return True if all characters are known to take one column each."""
    return _ALL_NARROW.fullmatch(text) is not None


def text_width(text: str) -> int:
    """Columns of text without escapes and tabs."""
    if is_narrow(text):
        return len(text)
    return sum(map(character_width, text))


def next_stop(column: int) -> int:
    """The column that a tab leads to."""
    return (column // TAB + 1) * TAB
