"""What a text is about at a place in it, for who helps with writing: prompts and editors.

It looks at characters and not at forms, so it has an answer for texts that are no programs yet.
"""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_PIECE: Final = re.compile(
    r"""
      (?P<string> "(?:[^"\\]|\\.)*(?P<closed>"?) )
    | (?P<comment> (?:;|\#[ !])[^\n]* )
    | (?P<bracket> [()\[\]{}] )
    | (?P<word> [^\s,";\\()\[\]{}^]+ )
    """,
    re.VERBOSE | re.DOTALL,
)
_CLOSING: Final = {"(": ")", "[": "]", "{": "}"}


class Word(NamedTuple):
    """A word, and the offset at which it begins."""

    start: int
    text: str

    @property
    def end(self) -> int:
        """The offset after its last character."""
        return self.start + len(self.text)


def word_before(text: str, offset: int) -> Word | None:
    """What stands of a word before an offset, "" if that is none; None inside strings and comments."""
    # A word or comment that goes on behind the offset is what it is before it, a string is not.
    pieces = deque(_PIECE.finditer(text, 0, offset), maxlen=1)
    found = pieces[0] if pieces else None
    if found is None or found.end() < offset or found.lastgroup == "bracket":
        return Word(offset, "")
    if found["word"] is not None:
        return Word(found.start(), found["word"])
    if found["comment"] is not None or not found["closed"]:
        return None
    return Word(offset, "")


def word_at(text: str, offset: int) -> Word | None:
    """The word that an offset is in, or at the end of; None where there is none."""
    for found in _PIECE.finditer(text):
        if found.start() > offset:
            return None
        if found["word"] is not None and found.end() >= offset:
            return Word(found.start(), found["word"])
    return None


class OpenCall(NamedTuple):
    """A combination that is being written: where its head begins, and which operand is, counted from 0."""

    head: int
    operand: int


def call_around(text: str, offset: int) -> OpenCall | None:
    """The innermost `(…)` that is open at an offset and has a head; None if there is none."""
    # For each open bracket: which it is, where its first form begins, and how many forms it has.
    stack: list[tuple[str, int, int]] = []
    end = 0
    for found in _PIECE.finditer(text, 0, offset):
        end = found.end()
        bracket = found["bracket"]
        if bracket is not None and bracket not in _CLOSING:
            if stack and _CLOSING[stack[-1][0]] == bracket:
                stack.pop()
            continue
        if found["comment"] is not None:
            continue
        if stack:
            opened, first, count = stack.pop()
            stack.append((opened, found.start() if count == 0 else first, count + 1))
        if bracket is not None:
            stack.append((bracket, 0, 0))
    if not stack or stack[-1][0] != "(" or stack[-1][2] == 0:
        return None
    _, head, count = stack[-1]
    # A form that the cursor touches is the one that is being written.
    touching = end == offset and not text[offset - 1 : offset].isspace()
    return OpenCall(head, count - 1 - touching) if count > touching else None


def indentation(text: str) -> int:
    """How far a line that follows the text is to be moved to the right: past the bracket that is open."""
    brackets = list(_open_brackets(text))
    if not brackets:
        return 0
    at = brackets[-1]
    column = at - (text.rfind("\n", 0, at) + 1)
    return column + (2 if text[at] == "(" else 1)


def _open_brackets(text: str) -> Iterator[int]:
    """The offsets of the brackets that are open at the end of a text."""
    stack: list[int] = []
    for found in _PIECE.finditer(text):
        bracket = found["bracket"]
        if bracket is None:
            continue
        if bracket in _CLOSING:
            stack.append(found.start())
        elif stack and _CLOSING[text[stack[-1]]] == bracket:
            stack.pop()
    yield from stack


def closers(text: str) -> str:
    """What closes all that is open at the end of a text: a string, and brackets."""
    last = deque(_PIECE.finditer(text), maxlen=1)
    quote = ""
    if last and last[0]["string"] is not None and not last[0]["closed"]:
        escaping = (len(text) - len(text.rstrip("\\"))) % 2
        quote = '\\"' if escaping else '"'
    brackets = [_CLOSING[text[at]] for at in _open_brackets(text)]
    # The text may end in a comment.
    return f"{quote}\n{''.join(reversed(brackets))}"
