"""The reader: turns text into forms.

It's iterative, with a stack of the open brackets, comments and `^`, so the worst that any text can cause is a
`ReadError`, however deeply it's nested. Every form has its range. A comment beside a form becomes its documentation.
"""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from bassloop.bass.errors import ReadError
from bassloop.bass.path import CommandPath, DirPath, ExtendPath, FilePath
from bassloop.bass.source_text import Range, SourceText
from bassloop.bass.values import (
    EMPTY,
    IGNORE,
    INT_MAX,
    INT_MIN,
    Bind,
    Cons,
    Keyword,
    Located,
    Pair,
    Symbol,
    end_of,
    from_list,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bassloop.bass.values import Value

MAX_DEPTH: Final = 10_000

_SPACES: Final = " ,\t\n\v\f\r\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_SPACE: Final = re.compile(f"[{_SPACES}]*")
_TOKEN: Final = re.compile(rf'[^{_SPACES}";\\()\[\]{{}}^]+')
_STRING: Final = re.compile(r'[^"\\]*')
_LINE: Final = re.compile(r"[^\n]*\n?")
_NUMBER: Final = re.compile(
    r"([+-]?)(?:0[xX]((?:_?[0-9a-fA-F])+)|0[bB]((?:_?[01])+)|0[oO]?((?:_?[0-7])+)|(0|[1-9](?:_?[0-9])*))"
)
_ESCAPES: Final = {
    '"': '"', "\\": "\\", "n": "\n", "t": "\t", "a": "\a", "f": "\f", "r": "\r", "b": "\b", "v": "\v",
}  # fmt: skip
_WORDS: Final[dict[str, Value]] = {"_": IGNORE, "null": None, "true": True, "false": False}
_CLOSING: Final = {"(": ")", "[": "]", "{": "}"}


class _Open:
    """An entry of the reader's stack that waits for forms. `opener` is its bracket, `;` or `^`."""

    __slots__ = ("comment", "forms", "opener", "start")

    def __init__(self, opener: str, start: int, comment: str = "") -> None:
        self.opener = opener
        self.start = start
        self.comment = comment
        self.forms: list[Located] = []


class Reader:
    """An iterator over the forms of a source text, from an offset on.

    Raises `ReadError`, which has the range, for a syntax error. A byte order mark at the beginning is skipped.
    """

    def __init__(self, source: SourceText, start: int = 0) -> None:
        self.source = source
        self._text = source.text
        self._at = start or len(source.text) - len(source.text.removeprefix("\ufeff"))
        self._stack: list[_Open] = []

    def __iter__(self) -> Iterator[Located]:
        while (form := self._next()) is not None:
            yield form

    def _next(self) -> Located | None:
        text = self._text
        stack = self._stack
        while True:
            at = _SPACE.match(text, self._at).end()  # type: ignore[union-attr]
            self._at = at
            if at >= len(text):
                self._end()
                return None
            char = text[at]
            if char in "([{^":
                if len(stack) >= MAX_DEPTH:
                    raise self._error(f"nested more than {MAX_DEPTH:,} levels deep", at, at + 1)
                stack.append(_Open(char, at))
                self._at = at + 1
                continue
            if char == ";":
                self._comment(at)
                continue
            if char == "#" and text[at + 1 : at + 2] in ("!", " "):
                self._at = _LINE.match(text, at).end()  # type: ignore[union-attr]
                continue
            if char in ")]}":
                form: Value = self._close(char, at)
                start = self._start
            else:
                start = at
                form = self._string(at) if char == '"' else self._token(at)
            done = self._deliver(form, start)
            if done is not None:
                return done

    def _deliver(self, form: Value, start: int) -> Located | None:
        """Add a complete form to the innermost open entry of the stack, or return it if nothing is open."""
        stack = self._stack
        while True:
            if form.__class__ is not Located:
                form = Located(form, Range(self.source, start, self._at))
            comment = self._trailing()
            if comment is not None and not form.comment:
                form.comment = comment
            if not stack:
                return form  # type: ignore[no-any-return]
            waiting = stack[-1]
            if waiting.opener == ";":
                form.comment = waiting.comment
            elif waiting.opener == "^":
                waiting.forms.append(form)
                if len(waiting.forms) < 2:
                    return None
                meta, form = waiting.forms
                form.meta = (form.meta or ()) + self._meta(meta)
            else:
                waiting.forms.append(form)
                return None
            stack.pop()

    def _end(self) -> None:
        """Check that nothing is open at the end of the text, except for a comment that no form follows."""
        for waiting in self._stack:
            if waiting.opener != ";":
                what = {"^": "^ must be followed by metadata and a form"}.get(waiting.opener)
                message = what or f"unexpected end: {waiting.opener} is never closed"
                raise self._error(message, waiting.start, waiting.start + 1, incomplete=True)
        self._stack.clear()

    def _close(self, char: str, at: int) -> Value:
        stack = self._stack
        while stack and stack[-1].opener == ";":  # a comment that no form follows
            stack.pop()
        if not stack:
            raise self._error(f"unmatched {char}", at, at + 1)
        opened = stack[-1]
        if opened.opener == "^":
            raise self._error("^ must be followed by metadata and a form", opened.start, at)
        if _CLOSING[opened.opener] != char:
            expected = _CLOSING[opened.opener]
            line, _ = self.source.position(opened.start)
            raise self._error(
                f"unmatched {char}: {opened.opener} of line {line} needs {expected}", at, at + 1
            )
        stack.pop()
        self._at = at + 1
        self._start = opened.start
        if char == "}":
            return Bind(tuple(opened.forms))
        return _list(opened.forms, Pair if char == ")" else Cons)

    def _comment(self, at: int) -> None:
        """Read a comment before a form. Its lines are joined to paragraphs, which lines with only `;` separate."""
        text = self._text
        paragraphs: list[str] = []
        lines: list[str] = []
        start = at
        while True:
            line, at = self._comment_line(at)
            if line:
                lines.append(line)
            else:
                paragraphs.append(" ".join(lines))
                lines = []
            while text[at : at + 1] == " ":
                at += 1
            if text[at : at + 1] != ";":
                break
        if lines:
            paragraphs.append(" ".join(lines))
        self._at = at
        if len(self._stack) >= MAX_DEPTH:
            raise self._error(f"nested more than {MAX_DEPTH:,} levels deep", start, start + 1)
        # Of several comments, with blank lines between them, the first one counts.
        if not (self._stack and self._stack[-1].opener == ";"):
            self._stack.append(_Open(";", start, "\n\n".join(paragraphs)))

    def _comment_line(self, at: int) -> tuple[str, int]:
        text = self._text
        while text[at : at + 1] == ";":
            at += 1
        while text[at : at + 1] == " ":
            at += 1
        end = text.find("\n", at)
        if end < 0:
            return text[at:], len(text)
        return text[at:end], end + 1

    def _trailing(self) -> str | None:
        """Return the comment after a form, on its line; None if there is none."""
        text = self._text
        at = self._at
        while text[at : at + 1] == " ":
            at += 1
        if text[at : at + 1] != ";":
            return None
        comment, self._at = self._comment_line(at)
        return comment

    def _string(self, start: int) -> str:
        text = self._text
        out: list[str] = []
        at = start + 1
        while True:
            end = _STRING.match(text, at).end()  # type: ignore[union-attr]
            out.append(text[at:end])
            mark = text[end : end + 1]
            if mark == '"':
                self._at = end + 1
                return "".join(out)
            escape = text[end + 1 : end + 2]
            if not mark or not escape:
                raise self._error(
                    "unexpected end: the string is never closed", start, start + 1, incomplete=True
                )
            if escape not in _ESCAPES:
                raise self._error(f"no escape sequence: \\{escape}", end, end + 2)
            out.append(_ESCAPES[escape])
            at = end + 2

    def _token(self, at: int) -> Value:
        found = _TOKEN.match(self._text, at)
        if found is None:
            raise self._error(f"unexpected {self._text[at]}", at, at + 1)
        token = found[0]
        self._at = found.end()
        if token in _WORDS:
            return _WORDS[token]
        if token[0].isnumeric() or (token[0] in "+-" and token[1:2].isnumeric()):
            number = _integer(token)
            if number is None:
                raise self._error(f"not a number: {token}", at, self._at)
            return number
        if "/" in token:
            return _path(token)
        if token[0] == "." and token not in (".", ".."):
            return CommandPath(token[1:])
        return _name(token)

    def _meta(self, form: Located) -> tuple[Value, ...]:
        inner = form.form
        if inner.__class__ is Bind:
            return inner.members
        members: list[Value] = []
        if end_of(inner, members) is EMPTY:
            return tuple(members)
        if inner.__class__ is Keyword:
            return (inner, True)
        if inner.__class__ is Symbol or inner.__class__ is str:
            return (Keyword("tag"), inner)
        message = "metadata (^) must be a {…}, a keyword, a symbol or a string"
        raise ReadError(message, form.range)

    def _error(self, message: str, start: int, end: int, incomplete: bool = False) -> ReadError:
        return ReadError(message, Range(self.source, start, end), incomplete)


def _list(forms: list[Located], cell: type[Pair] | type[Cons]) -> Value:
    rest: Value = EMPTY
    dotted = False
    members: list[Located] = []
    for form in forms:
        inner = form.form
        if inner.__class__ is Symbol and inner.name == "&":
            dotted = True
        elif dotted:
            rest = form
        else:
            members.append(form)
    for form in reversed(members):
        rest = cell(form, rest)
    return rest


def _integer(token: str) -> int | None:
    found = _NUMBER.fullmatch(token)
    if found is None:
        return None
    sign, hexadecimal, binary, octal, decimal = found.groups()
    digits = (hexadecimal or binary or octal or decimal).replace("_", "")
    if len(digits) > 64:
        return None
    number = int(digits, 16 if hexadecimal else 2 if binary else 8 if octal else 10)
    number = -number if sign == "-" else number
    return number if INT_MIN <= number <= INT_MAX else None


def _name(token: str) -> Value:
    """Return a symbol, a keyword, or either with lookups: `a:b:c`."""
    head, *keys = token.split(":")
    value: Value = Symbol(head)
    if head == "" and keys:
        value = Keyword(keys.pop(0))
    for key in keys:
        value = from_list((Keyword(key), value))
    return value


def _path(token: str) -> Value:
    head, *names = token.split("/")
    is_dir = names[-1] == ""
    if is_dir:
        names.pop()
    path: Value = DirPath(head) if head in ("", ".", "..") else _name(head)
    for index, name in enumerate(names):
        last = index == len(names) - 1
        path = ExtendPath(path, FilePath(name) if last and not is_dir else DirPath(name))
    return path


def read_source(text: str, name: str) -> list[Located]:
    """Return all forms of a text; `name` is its name in errors. Raises `ReadError`."""
    return list(Reader(SourceText(text, name)))


# --- unfinished text, for prompts and editors: these functions look at characters, not at forms ---

_PIECE: Final = re.compile(
    r"""
      (?P<string> "(?:[^"\\]|\\.)*(?P<closed>"?) )
    | (?P<comment> (?:;|\#[ !])[^\n]* )
    | (?P<bracket> [()\[\]{}] )
    | (?P<word> [^\s,";\\()\[\]{}^]+ )
    """,
    re.VERBOSE | re.DOTALL,
)


class Word(NamedTuple):
    """A word, and the offset where it begins."""

    start: int
    text: str

    @property
    def end(self) -> int:
        """The offset after its last character."""
        return self.start + len(self.text)


def word_before(text: str, offset: int) -> Word | None:
    """Return the part of a word that is before an offset, "" if there is none; None in strings and comments."""
    # The text is cut off at the offset, which makes words and comments shorter, and leaves a string unclosed.
    pieces = deque(_PIECE.finditer(text, 0, offset), maxlen=1)
    found = pieces[0] if pieces else None
    if found is None or found.end() < offset or found.lastgroup == "bracket":
        return Word(offset, "")
    if found["word"] is not None:
        return Word(found.start(), found["word"])
    if found["comment"] is not None or not found["closed"]:
        return None
    return Word(offset, "")


class OpenCall(NamedTuple):
    """A combination that is being typed: the offset of its head, and the index of the current operand, from 0."""

    head: int
    operand: int


def call_around(text: str, offset: int) -> OpenCall | None:
    """Return the call that is being typed at an offset; None if the innermost open bracket isn't a `(` with a head."""
    # For each open bracket: the bracket, the offset of its first form, and the number of its forms.
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
    # A form that ends at the cursor is the current one.
    touching = end == offset and not text[offset - 1 : offset].isspace()
    return OpenCall(head, count - 1 - touching) if count > touching else None


def indentation(text: str) -> int:
    """Return the indentation of the line after a text: past the innermost open bracket."""
    brackets = list(_open_brackets(text))
    if not brackets:
        return 0
    at = brackets[-1]
    column = at - (text.rfind("\n", 0, at) + 1)
    return column + (2 if text[at] == "(" else 1)


def _open_brackets(text: str) -> Iterator[int]:
    """Yield the offsets of the brackets that are open at the end of a text."""
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
    """Return the text that closes the string and the brackets that are open at the end of a text."""
    last = deque(_PIECE.finditer(text), maxlen=1)
    quote = ""
    if last and last[0]["string"] is not None and not last[0]["closed"]:
        escaping = (len(text) - len(text.rstrip("\\"))) % 2
        quote = '\\"' if escaping else '"'
    brackets = [_CLOSING[text[at]] for at in _open_brackets(text)]
    # The text may end in a comment.
    return f"{quote}\n{''.join(reversed(brackets))}"
