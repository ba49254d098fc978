"""Find failures in the JSON that tools print: documents over many lines, and objects in one line each.

The rules for the tools' objects are in :mod:`rules.json_output`. JSON isn't trusted, so its size is bounded.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import re2

from bassloop.failures.failure import (
    AT,
    MAX_LINE,
    MAX_MESSAGE_LINES,
    Failure,
    Location,
    clean_line,
    is_library,
)
from bassloop.failures.rules.json_output import JSON_RULES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from bassloop.failures.failure import Rank
    from bassloop.failures.rules.json_output import JSONRule

MAX_CHARACTERS = 1 << 20
MAX_OBJECTS = 20_000
"""The limits on the JSON that is read from a log. While a document is parsed, no other thread runs."""

MAX_FOUND = 200
MAX_DEPTH = 40

_ESCAPE = re2.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_FRAME = re2.compile(rf"^\s+(?:at\s|.*\bat .*\()?.*?\(?{AT}\)?$")


@dataclass(frozen=True, slots=True)
class _Object:
    """An object of a document, and the objects that contain it, innermost first."""

    value: dict[str, Any]
    around: tuple[dict[str, Any], ...]


class JSONDocuments:
    """The JSON of a log, and the failures in it. `is_cut` is true if there is more JSON than is read."""

    def __init__(self) -> None:
        self.failures: list[Failure] = []
        self.is_cut = False
        self._ranges: list[tuple[int, int]] = []
        self._first = 0
        self._lines: list[str] = []
        self._left = MAX_CHARACTERS
        self._objects = MAX_OBJECTS

    def feed(self, number: int, line: str) -> None:
        """Process the next line."""
        if self._lines:
            self._take(line)
            # Every tool that prints a document over many lines ends it at the first column.
            if line.rstrip() in ("}", "]") and self._lines:
                self._read(self._first, self._lines)
                self._lines = []
            return
        text = line.strip()
        if text in ("{", "[", "[{"):
            self._first = number
            self._take(line)
        elif text[:1] in ("{", "[") and text[-1] in ("}", "]") and text[1:2] in ('"', "{"):
            if len(text) > self._left:
                self.is_cut = True
                return
            self._left -= len(text)
            self._read(number, [text])

    def covers(self, first: int, last: int) -> bool:
        """Return whether these lines belong to a document with failures."""
        return any(start <= first and last <= end for start, end in self._ranges)

    def failures_of_others(self, known: Collection[tuple[str, Rank]]) -> list[Failure]:
        """Return the failures of tools whose failures weren't found in the text."""
        unique: dict[object, Failure] = {}
        for failure in self.failures:
            if (failure.tool, failure.rank) not in known:
                unique.setdefault(failure.test or (failure.message, failure.locations), failure)
        return list(unique.values())

    def _take(self, line: str) -> None:
        self._left -= len(line)
        self._lines.append(line)
        if self._left <= 0:
            self._lines = []
            self.is_cut = True

    def _read(self, first: int, lines: Sequence[str]) -> None:
        text = "\n".join(lines)
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            return
        before = len(self.failures)
        start = line = 0
        for each in self._walk(document):
            for rule in JSON_RULES:
                if len(self.failures) < MAX_FOUND and _fits(rule, each):
                    message = _message(rule, each)
                    found = _start_of_line((message, _field(each, rule.test)), text, start)
                    line += text.count("\n", start, found)
                    start = found
                    self.failures.append(_failure(rule, each, message, first + line))
                    break
        if len(self.failures) > before:
            self._ranges.append((first, first + len(lines) - 1))

    def _walk(self, document: object) -> Iterator[_Object]:
        """Return the objects of a document in order."""
        waiting: list[tuple[object, tuple[dict[str, Any], ...]]] = [(document, ())]
        while waiting:
            value, around = waiting.pop()
            if isinstance(value, dict):
                if self._objects == 0:
                    self.is_cut = True
                    return
                self._objects -= 1
                yield _Object(value, around)
                around = (value, *around)
                value = list(value.values())
            if isinstance(value, list) and len(around) < MAX_DEPTH:
                waiting += [
                    (each, around) for each in reversed(value) if isinstance(each, dict | list)
                ]


def _fits(rule: JSONRule, found: _Object) -> bool:
    for field, values in rule.has.items():
        value = _field(found, field)
        if value is None or (values and (isinstance(value, dict | list) or value not in values)):
            return False
    return True


def _field(found: _Object, path: str | None) -> Any:
    """Return the value of a field, or None if there is none."""
    if path is None:
        return None
    if path.startswith("^"):
        values = (_value(each, path[1:]) for each in (found.value, *found.around))
        return next((value for value in values if isinstance(value, str)), None)
    return _value(found.value, path)


def _value(value: Any, path: str) -> Any:
    for key in path.split("."):
        if isinstance(value, list):
            if key.startswith("["):
                wanted = [each for each in value if isinstance(each, dict) and each.get(key[1:-1])]
                value = next(iter(wanted or value), None)
            else:
                index = int(key) if key.isdigit() else len(value)
                value = value[index] if index < len(value) else None
        elif isinstance(value, dict):
            value = value.get(key.strip("[]"))
        else:
            return None
    return value


def _message(rule: JSONRule, found: _Object) -> str:
    """Return the message without its stack trace."""
    fields = (_field(found, path) for path in rule.message)
    text = next((field for field in fields if isinstance(field, str)), "")
    lines: list[str] = []
    for line in _ESCAPE.sub("", text[: MAX_LINE * 10]).splitlines():
        if line.lstrip().startswith("at ") and lines:
            break
        if cleaned := " ".join(clean_line(line).split()):
            lines.append(cleaned)
    return "\n".join(lines[:MAX_MESSAGE_LINES])


def _locations(rule: JSONRule, found: _Object) -> tuple[Location, ...]:
    stack = _field(found, rule.stack)
    if isinstance(stack, str):
        frames = [_FRAME.search(line) for line in stack[: MAX_LINE * 10].splitlines()]
        places = [
            Location(
                frame["path"].removeprefix("file://"), int(frame["line"]), _number(frame["column"])
            )
            for frame in frames
            if frame is not None
        ]
        own = [place for place in places if not is_library(place.path)]
        return tuple((own or places)[:2])
    path, line, column = (_field(found, field) for field in (*rule.at, None, None, None)[:3])
    line, column = _number(line), _number(column)
    if not isinstance(path, str) or not path or line is None:
        return ()
    path = clean_line(path).removeprefix("file://").removeprefix("./")
    line += 1 - rule.first_line
    return (Location(path, line, column),) if path and line > 0 else ()


def _number(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:9])
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 <= value < 10**8 else None


def _failure(rule: JSONRule, found: _Object, message: str, line: int) -> Failure:
    code = _field(found, rule.code)
    if message and isinstance(code, str | int) and code:
        first, newline, rest = message.partition("\n")
        message = f"{first} [{clean_line(str(code))}]{newline}{rest}"
    test = _field(found, rule.test)
    named = " ".join(clean_line(test).split()) if isinstance(test, str) else None
    return Failure(rule.tool, rule.rank, message, named, _locations(rule, found), line, line)


def _start_of_line(texts: Sequence[object], document: str, start: int) -> int:
    """Return where the first line begins, at `start` or later, that contains the beginning of one of these texts.

    If there is none, this is `start`, where a line must begin.
    """
    for text in texts:
        if isinstance(text, str) and text:
            needle = json.dumps(text.partition("\n")[0], ensure_ascii=False)[1:30].rstrip('"')
            at = document.find(needle, start)
            if at >= 0:
                return max(document.rfind("\n", start, at) + 1, start)
    return start
