"""Where a log points at a line of a file: compilers, linters, tests, tracebacks. Pure.

What is read is a stranger's: lines are cut, expressions take linear time, and the number of marks is
bounded. Whether a path is the repository's is decided elsewhere (:mod:`bassloop.checks.source_locations`).

    file:line: message            file:line:column: message        gcc, clang, go, mypy, shellcheck …
    file(line,column): message    file: line N: message            tsc, msvc; shells
    File "file", line N, in f     … Error: message                 Python
    file:line: in f               E   message                      pytest, short
    E   message                   file:line: Error                 pytest, long
    error[E0308]: message         --> file:line:column             rustc
    panicked at file:line:column: message                          Rust
    panic: message                file:line +0x12                  Go
    file                          line:column  error  message      eslint
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import re2

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAX_LINE = 1_000
MAX_MARKS = 400
MAX_FRAMES = 50
MAX_MESSAGE_LINES = 20
MAX_NUMBER = 9_999_999

_PATH = r"(?P<path>[\pL\pN_.@~+/\\-][^\s:\"'()<>|,;\[\]]{0,299})"
_PLAIN = re2.compile(
    rf"^\s{{0,8}}{_PATH}:(?P<line>\d{{1,7}})(?::(?P<column>\d{{1,5}}))?:\s*(?P<message>\S.*)$"
)
_PAREN = re2.compile(
    rf"^\s{{0,8}}{_PATH}\((?P<line>\d{{1,7}})(?:,(?P<column>\d{{1,5}}))?\)\s*:\s+(?P<message>\S.*)$"
)
_SHELL = re2.compile(rf"^{_PATH}: (?:line )?(?P<line>\d{{1,7}}): (?P<message>\S.*)$")
_LEVEL = re2.compile(
    r"^(?P<level>(?i:fatal error|error|warning|note|info|help|hint))(?:\s*\[(?P<code>[^\]]{1,40})\])?\s*:\s*"
    r"(?P<message>.*)$"
)
_CODED = re2.compile(r"^(?P<level>error|warning) (?P<code>[A-Z]{1,6}\d{1,6}): (?P<message>.*)$")

_FRAME = re2.compile(r'^\s{0,12}File "(?P<path>[^"]{1,300})", line (?P<line>\d{1,7})(?:, in .*)?$')
_RAISED = re2.compile(r"^[\pL_][\pL\pN_.]*(?::\s.*)?$")
_GROUPED = re2.compile(r"^\s*[|+]\s?")
_SAID = re2.compile(r"^E(?:\s{1,12}(?P<message>.*))?$")
_ERROR_NAME = re2.compile(r"^[\pL_][\pL\pN_.]*$")

_RUST = re2.compile(r"^(?P<level>error|warning)(?:\[(?P<code>[A-Z]\d{1,6})\])?: (?P<message>\S.*)$")
_ARROW = re2.compile(rf"^\s*--> {_PATH}:(?P<line>\d{{1,7}}):(?P<column>\d{{1,5}})$")
_PANIC = re2.compile(
    rf"^thread '.{{0,200}}' (?:\(\d+\) )?panicked at {_PATH}:(?P<line>\d{{1,7}}):(?P<column>\d{{1,5}}):$"
)
_OLD_PANIC = re2.compile(
    rf"^thread '.{{0,200}}' panicked at '(?P<message>.*)', {_PATH}:(?P<line>\d{{1,7}}):(?P<column>\d{{1,5}})$"
)

_GO_PANIC = re2.compile(r"^(?:panic|fatal error): (?P<message>\S.*)$")
_GO_FRAME = re2.compile(rf"^\s{_PATH}:(?P<line>\d{{1,7}})(?: \+0x[0-9a-f]{{1,16}})?$")

_FILE = re2.compile(r"^(?P<path>[^\s:\"'()<>|*]{1,300}\.[A-Za-z][A-Za-z0-9]{0,9})$")
_ROW = re2.compile(
    r"^\s{1,8}(?P<line>\d{1,7}):(?P<column>\d{1,5})\s{1,8}(?P<level>error|warning)\s{1,8}(?P<message>\S.*)$"
)
_RULE = re2.compile(r"^(?P<message>.*\S)\s{2,}(?P<code>[@\w/-]{1,80})$")

_TAGGED = re2.compile(r"^(?P<message>.*\S)\s+\[(?P<code>[a-zA-Z-][\w=-]{0,60})\]$")

_LEVELS = {"warning": "warning", "note": "notice", "info": "notice", "help": "notice"}


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file, as a log names it. `column` is None when it does not tell."""

    path: str
    line: int
    column: int | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """What a log says of a line. The first of `places` that is the repository's is meant.

    Args:
        level: ``notice``, ``warning`` or ``failure``.
        title: a rule's or an error's code, where there is one.
    """

    places: tuple[Place, ...]
    message: str
    level: str = "failure"
    title: str | None = None


def marks(lines: Iterable[str], limit: int = MAX_MARKS) -> list[Mark]:
    """The marks in a log's lines (without colours), in order, each once, `limit` of them at most."""
    found: dict[Mark, None] = {}
    for mark in _marks(_clean(line) for line in lines):
        found.setdefault(mark)
        if len(found) >= limit:
            break
    return list(found)


def _clean(line: str) -> str:
    """A line as the expressions take it: Unicode that can be encoded, printable, not too long."""
    cut = line[:MAX_LINE].encode(errors="replace").decode().rstrip()
    if cut.isprintable():
        return cut
    return "".join(char if char.isprintable() else " " for char in cut).rstrip()


@dataclass(eq=False)
class _State:
    """What was read before that a later line may belong to."""

    frames: list[Place] = field(default_factory=list)
    python: bool = False
    said: list[str] = field(default_factory=list)
    since_said: int = 0
    head: tuple[str, str, str | None] | None = None
    panic: Place | None = None
    file: str | None = None
    go: str | None = None
    stack: list[Place] = field(default_factory=list)


def _marks(lines: Iterable[str]) -> Iterator[Mark]:
    state = _State()
    for line in lines:
        yield from _mark(state, line)
    yield from _short_end(state)
    yield from _go_end(state)


def _mark(state: _State, line: str) -> Iterator[Mark]:
    """What one more line makes of the state."""
    if state.panic is not None:
        place, state.panic = state.panic, None
        yield Mark((place,), line.strip() or "panicked")
        return
    if said := _SAID.match(line):
        _hear(state, said["message"] or "")
        return
    state.since_said += 1
    if state.said and not state.python and state.frames:
        yield from _short_end(state)
    bare = _GROUPED.sub("", line) if state.python or "|" in line[:40] else line
    if frame := _FRAME.match(bare):
        _step(state, Place(frame["path"], _number(frame["line"])), python=True)
        return
    if state.python and state.frames:
        if bare.startswith(" ") or not bare:
            return
        yield from _python_end(state, bare)
        return
    if state.go is not None:
        if frame := _GO_FRAME.match(line):
            state.stack.append(_place(frame, column=False))
            del state.stack[MAX_FRAMES:]
        elif not line.strip() and state.stack:
            yield from _go_end(state)
        if line[:1].isspace() or not line:
            return
    elif panic := _GO_PANIC.match(line):
        state.go = panic["message"]
        return
    yield from _simple(state, line)


def _go_end(state: _State) -> Iterator[Mark]:
    """A goroutine's stack, innermost first, and why it was shown."""
    if state.go is not None and state.stack:
        yield Mark(tuple(state.stack), state.go, title="panic")
    state.go, state.stack = None, []


def _hear(state: _State, message: str) -> None:
    if state.since_said > 1:
        state.said.clear()
    state.since_said = 0
    if len(state.said) < MAX_MESSAGE_LINES:
        state.said.append(message)


def _step(state: _State, place: Place, *, python: bool) -> None:
    if state.python != python:
        state.frames.clear()
    state.python = python
    if place.line:
        state.frames.append(place)
        del state.frames[:-MAX_FRAMES]


def _python_end(state: _State, raised: str) -> Iterator[Mark]:
    """The line after a traceback says what was raised, if it looks like it."""
    places, state.frames, state.python = tuple(reversed(state.frames)), [], False
    if _RAISED.match(raised):
        yield Mark(places, raised)


def _short_end(state: _State) -> Iterator[Mark]:
    """pytest's short traceback: the frames, then what was said."""
    if state.frames and state.said and not state.python:
        yield Mark(tuple(reversed(state.frames)), "\n".join(state.said).strip() or "failed")
    if not state.python:
        state.frames = []
    state.said = []


def _simple(state: _State, line: str) -> Iterator[Mark]:
    """Formats of one line, and of a line and the one before it."""
    if head := _RUST.match(line):
        state.head = (head["level"], head["message"], head["code"])
        return
    if arrow := _ARROW.match(line):
        if state.head is not None:
            level, message, code = state.head
            state.head = None
            yield Mark((_place(arrow),), message, _LEVELS.get(level, "failure"), code)
        return
    if panic := _PANIC.match(line):
        state.panic = _place(panic)
        return
    if panic := _OLD_PANIC.match(line):
        yield Mark((_place(panic),), panic["message"] or "panicked")
        return
    if row := _ROW.match(line):
        if state.file is not None:
            yield _linted(state.file, row)
        return
    if named := _FILE.match(line):
        state.file = named["path"]
        return
    if line and not line[0].isspace():
        state.file = None
    for form in (_PLAIN, _PAREN, _SHELL):
        if found := form.match(line):
            place = _place(found, column=form is not _SHELL)
            if place.line and _looks_like_a_file(place.path):
                yield from _plain(state, place, found["message"])
            return


def _plain(state: _State, place: Place, message: str) -> Iterator[Mark]:
    if message.startswith("in ") and " " not in message[3:].strip():
        _step(state, place, python=False)  # a frame of pytest's short traceback
        return
    if state.said and state.since_said <= 2 and _ERROR_NAME.match(message):
        told = "\n".join(state.said).strip() or message
        state.said = []
        yield Mark((place,), told, title=message)
        return
    for form in (_CODED, _LEVEL):
        if levelled := form.match(message):
            level = _LEVELS.get(levelled["level"].lower(), "failure")
            told = levelled["message"] or message
            code = levelled["code"]
            if code is None and (tagged := _TAGGED.match(told)):
                told, code = tagged["message"], tagged["code"]
            yield Mark((place,), told, level, code)
            return
    yield Mark((place,), message)


def _linted(path: str, row: re2.Match) -> Mark:
    message, code = row["message"], None
    if ruled := _RULE.match(message):
        message, code = ruled["message"], ruled["code"]
    place = Place(path, _number(row["line"]), _number(row["column"]) or None)
    return Mark((place,), message, _LEVELS.get(row["level"], "failure"), code)


def _place(found: re2.Match, *, column: bool = True) -> Place:
    at = _number(found["column"] or "") if column else 0
    return Place(found["path"], _number(found["line"]), at or None)


def _number(digits: str) -> int:
    return min(int(digits), MAX_NUMBER) if digits else 0


_HOSTS = frozenset({"com", "org", "net", "io", "dev", "local", "internal", "localhost", "test"})
_NAMES = frozenset({"Makefile", "Dockerfile", "Containerfile", "Justfile", "Rakefile", "BUILD"})


def _looks_like_a_file(path: str) -> bool:
    """Whether a text before a colon and a number is more likely a file than a host or a time."""
    if "//" in path:
        return False
    name = path.replace("\\", "/").rpartition("/")[2]
    stem, dot, extension = name.rpartition(".")
    if not dot or not stem:
        return name in _NAMES or ("/" in path and path[0] != "@" and name[:1].isalpha())
    if not extension[:1].isalpha() or not extension.isalnum() or len(extension) > 10:
        return False
    return "/" in path or extension.lower() not in _HOSTS
