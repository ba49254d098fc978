"""Format Bass: indentation, spaces and blank lines, but not line breaks.

Formatted text has the same forms and comments as the original, and formatting it again changes nothing. The rules, for
the innermost bracket that is open at the start of a line:

- members of ``[`` and ``{`` are aligned with the first one;
- the bodies of ``def``, ``fn``, ``let``, ``from`` and other forms (see `BODY`) are indented by two;
- arguments of other forms are aligned with the first argument if that's on the operator's line, and indented by two if
  it isn't;
- closing brackets directly follow the last member, and there is at most one blank line between forms.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

BODY = frozenset(
    {
        "case", "cd", "cond", "curryfn", "def", "defn", "defop", "do", "each", "fn", "for", "from", "if",
        "let", "module", "op", "provide", "when",
    }
)  # fmt: skip
"""Forms whose later members are a body, even if there are arguments on the operator's line."""

_SPACES = " ,\t\n\v\f\r\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_TOKEN = re.compile(
    rf"""(?P<space>[{_SPACES}]+)
    | (?P<comment>;[^\n]*|\#[!\ ][^\n]*)
    | (?P<string>"(?:[^"\\]|\\.)*"?)
    | (?P<open>[(\[{{])
    | (?P<close>[)\]}}])
    | (?P<meta>\^)
    | (?P<atom>[^{_SPACES}";\\()\[\]{{}}^]+|.)""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(slots=True)
class Token:
    """A token at an offset, the number of line breaks before it, and whether there is any space before it."""

    kind: str
    text: str
    newlines: int
    spaced: bool
    start: int


@dataclass(slots=True)
class _Open:
    """An open bracket, and the columns of its members."""

    bracket: str
    column: int
    members: int = 0
    operator: str = ""
    first_argument: int | None = None

    @property
    def indent(self) -> int:
        """The column of the next line's first member."""
        if self.bracket != "(":
            return self.column + 1
        if self.members == 0:
            return self.column + 1
        if self.operator in BODY or self.first_argument is None:
            return self.column + 2
        return self.first_argument


def format_bass(text: str) -> str:
    """Return a Bass text, formatted. If it isn't valid Bass, it's formatted as far as possible."""
    writer = _Writer()
    for token in tokens(text):
        writer.add(token)
    return writer.text()


def tokens(text: str) -> Iterator[Token]:
    """Yield a text's tokens; white space belongs to the token after it."""
    newlines, spaced = 0, False
    for match in _TOKEN.finditer(text):
        kind = str(match.lastgroup)
        if kind == "space":
            newlines += match[0].count("\n")
            spaced = True
            continue
        shown = match[0].rstrip() if kind == "comment" else match[0]
        yield Token(kind, shown, newlines, spaced, match.start())
        newlines, spaced = 0, False


class _Writer:
    def __init__(self) -> None:
        self._out: list[str] = []
        self._column = 0
        self._open: list[_Open] = []
        self._after_comment = False
        self._glued = False

    def text(self) -> str:
        """Return everything that was written, with one line break at the end."""
        return "".join(self._out).rstrip("\n") + "\n" if self._out else ""

    def add(self, token: Token) -> None:
        """Write a token at its position."""
        if token.kind == "close":
            self._close(token)
            return
        self._place(token)
        if self._open and token.kind != "comment" and not self._glued:
            self._count(token)
        self._write(token.text)
        self._after_comment = token.kind == "comment"
        self._glued = token.kind == "meta"
        if token.kind == "open":
            self._open.append(_Open(token.text, self._column - 1))

    def _place(self, token: Token) -> None:
        """Write the white space before a token."""
        if not self._out:
            return
        if token.newlines or self._after_comment:
            blank = token.newlines > 1 and not self._just_opened()
            if self._just_opened() and token.kind != "comment" and not self._after_comment:
                return
            self._out.append("\n\n" if blank else "\n")
            indent = self._open[-1].indent if self._open else 0
            self._out.append(" " * indent)
            self._column = indent
        elif token.spaced and not self._just_opened():
            self._write("  " if token.kind == "comment" and token.text.startswith(";") else " ")

    def _just_opened(self) -> bool:
        return (
            bool(self._open)
            and self._out[-1] == self._open[-1].bracket
            and self._open[-1].members == 0
        )

    def _count(self, token: Token) -> None:
        opened = self._open[-1]
        opened.members += 1
        if opened.members == 1 and token.kind == "atom":
            opened.operator = token.text
        elif opened.members == 2 and not (token.newlines or self._after_comment):
            opened.first_argument = self._column

    def _close(self, token: Token) -> None:
        if self._after_comment:
            self._out.append("\n")
            indent = self._open[-1].indent if self._open else 0
            self._out.append(" " * indent)
            self._column = indent
        self._write(token.text)
        self._after_comment = self._glued = False
        if self._open:
            self._open.pop()

    def _write(self, text: str) -> None:
        self._out.append(text)
        _, newline, last = text.rpartition("\n")
        self._column = len(last) if newline else self._column + len(text)
