"""Text to forms. No form is evaluated here, and any text at all ends in forms or a ReadError.

The syntax is small: atoms, `(…)`, `[…]`, `{…}`, strings, `:keywords`, `^metadata`, paths and
comments. Nesting is kept on a list of our own, so that a deep text costs no Python stack.
"""

from __future__ import annotations

import re
from typing import Any

from bassloop.bass.errors import ReadError
from bassloop.bass.paths import CommandPath, DirPath, ExtendPath, FilePath
from bassloop.bass.values import (
    EMPTY,
    IGNORE,
    Annotated,
    Bind,
    Cons,
    Keyword,
    Pair,
    Range,
    Source,
    Symbol,
    Value,
    wrap_int,
)

MAX_DEPTH = 10_000
MAX_TEXT = 8 << 20

_SPACE = re.compile(r"[\s,]+")
_COMMENT = re.compile(r"(?:;|\#!|\#(?=[ \n]|\Z))([^\n]*)")
_ATOM = re.compile(r"[^\s,()\[\]{}\";]+")
_INTEGER = re.compile(
    r"[+-]?[0-9][0-9_]*\Z|[+-]?0[xX][0-9a-fA-F_]+\Z|[+-]?0[oO][0-7_]+\Z|[+-]?0[bB][01_]+\Z"
)
_STRING = re.compile(r'[^"\\]*')
_ESCAPES = {
    '"': '"',
    "\\": "\\",
    "n": "\n",
    "t": "\t",
    "a": "\a",
    "f": "\f",
    "r": "\r",
    "b": "\b",
    "v": "\v",
}
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_CONSTANTS: dict[str, Value] = {"null": None, "true": True, "false": False, "_": IGNORE}


class _Open:
    """A bracket that is not closed yet."""

    __slots__ = ("bracket", "forms", "metas", "start")

    def __init__(self, bracket: str, start: int) -> None:
        self.bracket, self.start = bracket, start
        self.forms: list[Value] = []
        self.metas: list[Value] = []


def read(text: str, name: str = "-") -> list[Value]:
    """All forms of a text. Raises ReadError, with where and what was expected."""
    return _Reader(Source(name, text)).read()


class _Reader:
    def __init__(self, source: Source) -> None:
        self.source, self.text = source, source.text
        self.at = 0
        self._line, self._line_start = 1, 0
        self._counted = 0
        self._comment: list[str] = []
        self._last: tuple[list[Value], int] | None = None

    def read(self) -> list[Value]:
        if len(self.text) > MAX_TEXT:
            raise ReadError(f"{self.source.name} is longer than {MAX_TEXT:,} characters")
        stack = [_Open("", 0)]
        while self._skip(stack):
            start, char = self.at, self.text[self.at]
            if char in _CLOSING:
                if len(stack) > MAX_DEPTH:
                    raise self._error(f"brackets are nested more than {MAX_DEPTH:,} deep", start)
                opened = _Open(char, start)
                stack.append(opened)
                opened.metas = []
                self.at += 1
            elif char in ")]}":
                self._close(stack, start, char)
            elif char == "^":
                self.at += 1
                stack[-1].metas.append(start)
            elif char == '"':
                self._add(stack, self._string(), start)
            else:
                self._add(stack, self._atom(), start)
        if len(stack) > 1:
            raise self._error(f"this {stack[-1].bracket} is never closed", stack[-1].start)
        if stack[0].metas:
            raise self._error("^ needs metadata and a form after it", self.at - 1)
        return stack[0].forms

    # --- white space and comments ---

    def _skip(self, stack: list[_Open]) -> bool:
        """Go to the next form. Comments before a form, or after one on its line, belong to it."""
        text = self.text
        while True:
            space = _SPACE.match(text, self.at)
            if space:
                self.at = space.end()
                if "\n" in space.group():
                    self._last = None
            if self.at >= len(text):
                return False
            comment = _COMMENT.match(text, self.at)
            if comment is None:
                return True
            self.at = comment.end()
            self._note(comment.group(1), shebang=text.startswith("#!", comment.start()))

    def _note(self, comment: str, *, shebang: bool) -> None:
        if shebang:
            return
        said = comment.lstrip(";").strip()
        if self._last is None:
            self._comment.append(said)
            return
        forms, index = self._last
        form = forms[index]
        if type(form) is Annotated and not form.comment:
            form.comment = said
        elif type(form) is not Annotated:
            forms[index] = Annotated(form, comment=said, range=getattr(form, "range", None))
        self._last = None

    # --- forms ---

    def _add(self, stack: list[_Open], form: Value, start: int) -> None:
        top = stack[-1]
        where = self._range(start)
        if type(form) in (Pair, Cons, Bind):
            form.range = where
        comment, self._comment = " ".join(self._comment).strip(), []
        if top.metas and not isinstance(top.metas[-1], _Meta):
            top.metas[-1] = _Meta(form)
            return
        while top.metas and isinstance(top.metas[-1], _Meta):
            form = Annotated(form, meta=top.metas.pop().form, range=where)
        if comment or type(form) is Symbol:
            form = Annotated(form, comment=comment, range=where)
        top.forms.append(form)
        self._last = (top.forms, len(top.forms) - 1)

    def _close(self, stack: list[_Open], start: int, char: str) -> None:
        opened = stack[-1]
        if not opened.bracket:
            raise self._error(f"this {char} closes nothing", start)
        if _CLOSING[opened.bracket] != char:
            raise self._error(
                f"this {char} can't close {opened.bracket}, which began at line {self._position(opened.start)[0]}",
                start,
            )
        if opened.metas:
            raise self._error("^ needs metadata and a form after it", start)
        self.at += 1
        stack.pop()
        self._comment = []
        if char == "}":
            form: Value = Bind(opened.forms)
        else:
            form = self._linked(opened, Pair if char == ")" else Cons)
        self._add(stack, self._path_after(form), opened.start)

    def _linked(self, opened: _Open, kind: Any) -> Value:
        forms = opened.forms
        end: Value = EMPTY
        for index, form in enumerate(forms):
            if type(form) is Annotated and type(form.value) is Symbol and form.value.name == "&":
                rest = forms[index + 1 :]
                end, forms = (rest[-1] if rest else EMPTY), forms[:index]
                break
        result = end
        for form in reversed(forms):
            result = kind(form, result)
        return result

    def _path_after(self, form: Value) -> Value:
        """`{…}/child` and the like are two forms in Bass; only symbols are extended by a path."""
        return form

    # --- atoms ---

    def _string(self) -> str:
        start, parts = self.at, []
        self.at += 1
        while True:
            run = _STRING.match(self.text, self.at)
            assert run is not None
            parts.append(run.group())
            self.at = run.end()
            if self.at >= len(self.text):
                raise self._error('this " is never closed', start)
            if self.text[self.at] == '"':
                self.at += 1
                return "".join(parts)
            escaped = self.text[self.at + 1 : self.at + 2]
            if escaped not in _ESCAPES or not escaped:
                raise self._error(
                    f"\\{escaped} is no escape; known are {' '.join(_ESCAPES)}", self.at
                )
            parts.append(_ESCAPES[escaped])
            self.at += 2

    def _atom(self) -> Value:
        start = self.at
        found = _ATOM.match(self.text, start)
        assert found is not None
        word = found.group()
        self.at = found.end()
        if word in _CONSTANTS:
            return _CONSTANTS[word]
        if _INTEGER.match(word):
            return self._integer(word, start)
        if word[0] == ":" and len(word) > 1:
            return self._keyword(word[1:], start)
        if word[0].isdigit():
            raise self._error(f"{word} is neither a number nor a name", start)
        if "/" in word or word[0] == ".":
            return self._path(word, start)
        return self._name(word, start)

    def _integer(self, word: str, start: int) -> int:
        try:
            digits = word.replace("_", "")
            octal = re.match(r"[+-]?0[0-7]+\Z", digits)
            number = int(digits, 8) if octal else int(digits, 0)
        except ValueError as error:
            raise self._error(f"{word} is no integer", start) from error
        if wrap_int(number) != number:
            raise self._error(f"{word} does not fit into 64 bits", start)
        return number

    def _keyword(self, name: str, start: int) -> Value:
        if ":" in name or "/" in name:
            raise self._error(f":{name} is no keyword: it has a : or / in it", start)
        return Keyword(name)

    def _name(self, word: str, start: int) -> Value:
        """`a`, or `a:b:c`, which looks up c in b in a."""
        first, *rest = word.split(":")
        if not first or not all(rest):
            raise self._error(f"{word} is no name", start)
        form: Value = Symbol(first)
        where = self._range(start)
        for name in rest:
            form = Pair(Keyword(name), Pair(form, EMPTY), where)
        return form

    def _path(self, word: str, start: int) -> Value:
        if word in ("/",):
            return DirPath("/")
        first, _, rest = word.partition("/")
        if first in ("", ".", ".."):
            return _path_of(word)
        if first.startswith(".") and "/" not in word:
            return CommandPath(first[1:])
        if first.startswith("."):
            raise self._error(f"{word} is no path: it must begin with ./, ../ or /", start)
        base = self._name(first, start)
        if not rest:
            return ExtendPath(base, DirPath("."))
        return ExtendPath(base, _path_of("./" + rest))

    # --- positions ---

    def _range(self, start: int) -> Range:
        line, column = self._position(start)
        end_line, end_column = self._position(self.at)
        return Range(self.source, line, column, end_line, end_column)

    def _position(self, at: int) -> tuple[int, int]:
        """Line and column of an offset; offsets mostly grow, so counting goes on from the last."""
        if at < self._counted:
            self._line, self._line_start, self._counted = self._back(at)
        newlines = self.text.count("\n", self._counted, at)
        if newlines:
            self._line += newlines
            self._line_start = self.text.rfind("\n", self._counted, at) + 1
        self._counted = at
        return self._line, at - self._line_start + 1

    def _back(self, at: int) -> tuple[int, int, int]:
        line = self._line - self.text.count("\n", at, self._counted)
        return line, self.text.rfind("\n", 0, at) + 1, at

    def _error(self, message: str, start: int) -> ReadError:
        self.at = max(self.at, start + 1)
        line, column = self._position(start)
        return ReadError(message, Range(self.source, line, column, line, column + 1))


class _Meta:
    """Metadata that waits for its form."""

    __slots__ = ("form",)

    def __init__(self, form: Value) -> None:
        self.form = form


def _path_of(text: str) -> FilePath | DirPath:
    if text in (".", ".."):
        return FilePath(text)
    if text.endswith("/"):
        return DirPath(text.rstrip("/") or "/")
    return FilePath(text)
