"""Find mistakes and pitfalls in scripts.

There are two kinds of findings: syntax errors and unbound names are errors, and words of a command that don't mean what
they look like are warnings.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bassloop import bass
from bassloop.tools.expected_checks import SilentHost
from bassloop.tools.formatter import tokens
from bassloop.tools.lsp.analysis import analyse

if TYPE_CHECKING:
    from collections.abc import Iterator

_NUMBER = re.compile(r"[+-]?\d")
_CONSTANTS = {"true", "false", "null", "_", "&"}


@dataclass(frozen=True, slots=True)
class LintMessage:
    """One finding. Lines and columns count from 1."""

    file: str
    line: int
    column: int
    level: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.level}: {self.text}"


def lint_bass(text: str, name: str) -> list[LintMessage]:
    """Return the findings in a script, in order. Never raises."""
    found = []
    for problem in analyse(text).problems:
        message = problem.message
        if message.startswith("not a number"):
            message += ' (a word that begins with a digit needs quotes: "1.5")'
        # The language server shows these as less than errors, since somebody may still be typing. Here they are errors.
        level = "error" if message.startswith("unbound") else problem.severity
        found.append(_message(text, name, problem.span.start, level, message))
    found += [_message(text, name, at, "warning", why) for at, why in _surprising_words(text)]
    return sorted(found, key=lambda each: (each.line, each.column))


def _message(text: str, name: str, offset: int, level: str, message: str) -> LintMessage:
    line = text.count("\n", 0, offset) + 1
    return LintMessage(name, line, offset - (text.rfind("\n", 0, offset) + 1) + 1, level, message)


def _surprising_words(text: str) -> Iterator[tuple[int, str]]:
    """Yield the words of `($ …)` that aren't passed as they are written, with the reason."""
    stack: list[str] = []
    operator_expected = False
    for token in tokens(text):
        if token.kind == "open":
            stack.append("")
            operator_expected = token.text == "("
            continue
        if token.kind == "close":
            if stack:
                stack.pop()
        elif token.kind == "atom" and stack:
            if operator_expected:
                stack[-1] = token.text
            elif stack[-1] == "$" and (why := _surprise(token.text)):
                yield token.start, why
            elif stack[-1] == "$" and text[token.start - 1 : token.start] == ",":
                yield token.start - 1, "a comma is white space: quote the whole word to keep it"
        operator_expected = operator_expected and token.kind == "comment"


def _surprise(word: str) -> str | None:
    if word.startswith(".") and word.strip(".") and "/" not in word:
        return f'{word} is the command {word[1:]}; for the text write "{word}"'
    if word in _CONSTANTS:
        return f'{word} is a value of the language; for the text write "{word}"'
    if _NUMBER.match(word) and str(_integer(word)) != word:
        return f'{word} is a number, and passed as {_integer(word)}; for the text write "{word}"'
    if ":" in word.strip(":") and not word.startswith("$"):
        return f'{word} is looked up, as a member; for the text write "{word}"'
    return None


def _integer(word: str) -> int | str:
    try:
        value = bass.run_now(bass.immediate_session(SilentHost()).evaluate(word, "word", None))
    except bass.BassError:
        return word
    return value if isinstance(value, int) else word
