"""Find the locations in a log that name a line of a file: compilers, linters, tests, tracebacks. No I/O.

Logs aren't trusted: lines are truncated, patterns take linear time, and the number of annotations is bounded.
Annotations have any level, including warnings. :mod:`scan` finds the causes of a run's failure with the rules for each
tool. They are added to the annotations if they aren't among them.

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
from functools import cached_property
from typing import TYPE_CHECKING, Any

import re2

from bassloop.failures.failure import Failure, Location, Rank, clean_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAX_FOUND = 400
MAX_FRAMES = 50
MAX_BETWEEN_FRAMES = 30
"""The maximum number of lines after Go's panic, or after a frame of its stack, before the next frame."""

MAX_MESSAGE_LINES = 20
MAX_NUMBER = 9_999_999


class _Pattern:
    """A pattern that is compiled when it's first used. Most programs use none, and compiling all of them takes 25
    ms."""

    def __init__(self, text: str) -> None:
        self._text = text

    @cached_property
    def _compiled(self) -> Any:
        return re2.compile(self._text)

    @cached_property
    def match(self) -> Any:
        """The pattern's `match`."""
        return self._compiled.match

    @cached_property
    def sub(self) -> Any:
        """The pattern's `sub`."""
        return self._compiled.sub


_PATH = r"(?P<path>[\pL\pN_.@~+/\\-][^\s:\"'()<>|,;\[\]]{0,299})"
_PLAIN = _Pattern(
    rf"^\s{{0,8}}{_PATH}:(?P<line>\d{{1,7}})(?::(?P<column>\d{{1,5}}))?:\s*(?P<message>\S.*)$"
)
_PAREN = _Pattern(
    rf"^\s{{0,8}}{_PATH}\((?P<line>\d{{1,7}})(?:,(?P<column>\d{{1,5}}))?\)\s*:\s+(?P<message>\S.*)$"
)
_SHELL = _Pattern(rf"^{_PATH}: (?:line )?(?P<line>\d{{1,7}}): (?P<message>\S.*)$")
_LEVEL = _Pattern(
    r"^(?P<level>(?i:fatal error|error|warning|note|info|help|hint))(?:\s*\[(?P<code>[^\]]{1,40})\])?\s*:\s*"
    r"(?P<message>.*)$"
)
_CODED = _Pattern(r"^(?P<level>error|warning) (?P<code>[A-Z]{1,6}\d{1,6}): (?P<message>.*)$")

_FRAME = _Pattern(r'^\s{0,12}File "(?P<path>[^"]{1,300})", line (?P<line>\d{1,7})(?:, in .*)?$')
_RAISED = _Pattern(r"^[\pL_][\pL\pN_.]*(?::\s.*)?$")
_GROUPED = _Pattern(r"^\s*[|+]\s?")
_MESSAGE = _Pattern(r"^E(?:\s{1,12}(?P<message>.*))?$")
_ERROR_NAME = _Pattern(r"^[\pL_][\pL\pN_.]*$")

_RUST = _Pattern(r"^(?P<level>error|warning)(?:\[(?P<code>[A-Z]\d{1,6})\])?: (?P<message>\S.*)$")
_ARROW = _Pattern(rf"^\s*--> {_PATH}:(?P<line>\d{{1,7}}):(?P<column>\d{{1,5}})$")
_PANIC = _Pattern(
    rf"^thread '.{{0,200}}' (?:\(\d+\) )?panicked at {_PATH}:(?P<line>\d{{1,7}}):(?P<column>\d{{1,5}}):$"
)
_OLD_PANIC = _Pattern(
    rf"^thread '.{{0,200}}' panicked at '(?P<message>.*)', {_PATH}:(?P<line>\d{{1,7}}):(?P<column>\d{{1,5}})$"
)

_GO_PANIC = _Pattern(r"^(?:panic|fatal error): (?P<message>\S.*)$")
_GO_FRAME = _Pattern(rf"^\s{_PATH}:(?P<line>\d{{1,7}})(?: \+0x[0-9a-f]{{1,16}})?$")

_FILE = _Pattern(r"^(?P<path>[^\s:\"'()<>|*]{1,300}\.[A-Za-z][A-Za-z0-9]{0,9})$")
_ROW = _Pattern(
    r"^\s{1,8}(?P<line>\d{1,7}):(?P<column>\d{1,5})\s{1,8}(?P<level>error|warning)\s{1,8}(?P<message>\S.*)$"
)
_RULE = _Pattern(r"^(?P<message>.*\S)\s{2,}(?P<code>[@\w/-]{1,80})$")

_TAGGED = _Pattern(r"^(?P<message>.*\S)\s+\[(?P<code>[a-zA-Z-][\w=-]{0,60})\]$")

_LEVELS = {"warning": "warning", "note": "notice", "info": "notice", "help": "notice"}


@dataclass(frozen=True, slots=True)
class LogAnnotation:
    """A log's message about a line of a file: the first of `locations` that is in the repository.

    Args:
        level: ``notice``, ``warning`` or ``failure``.
        title: a rule's or an error's code, if there is one.
    """

    locations: tuple[Location, ...]
    message: str
    level: str = "failure"
    title: str | None = None


def find_annotations(
    lines: Iterable[str], failures: Iterable[Failure] = (), limit: int = MAX_FOUND
) -> list[LogAnnotation]:
    """Return the annotations in a log's lines (without colours), in order, each once.

    Args:
        failures: the failures that the rules found in the same lines. Those at locations without an annotation are
            appended.
        limit: the maximum number of annotations.
    """
    found: dict[LogAnnotation, None] = {}
    for annotation in _annotations(map(clean_line, lines)):
        found.setdefault(annotation)
        if len(found) >= limit:
            break
    places = {(each.path, each.line) for annotation in found for each in annotation.locations}
    for failure in failures:
        known = any((each.path, each.line) in places for each in failure.locations)
        if failure.locations and failure.rank >= Rank.ERROR and not known and len(found) < limit:
            message = failure.message or "failed"
            found.setdefault(LogAnnotation(failure.locations, message, title=failure.test))
    return list(found)


@dataclass(eq=False)
class _State:
    """Incomplete annotations, which a later line may complete.

    Args:
        frames: the frames of a traceback, outermost first: Python's if `python` is set, otherwise pytest's short ones.
        message: pytest's lines that begin with ``E``.
        since_message: the number of lines since the last of these.
        rust_error: the level, message and code of an error with its location on a later line.
        rust_panic: the location of a panic whose message is on a later line.
        eslint_file: the file that the following rows are about.
        go_panic: the message of a panic, which precedes its stack.
        go_stack: the stack's frames, innermost first.
        since_frame: the number of lines since the last of these, or since the panic.
    """

    frames: list[Location] = field(default_factory=list)
    python: bool = False
    message: list[str] = field(default_factory=list)
    since_message: int = 0
    rust_error: tuple[str, str, str | None] | None = None
    rust_panic: Location | None = None
    eslint_file: str | None = None
    go_panic: str | None = None
    go_stack: list[Location] = field(default_factory=list)
    since_frame: int = 0


def _annotations(lines: Iterable[str]) -> Iterator[LogAnnotation]:
    state = _State()
    for line in lines:
        yield from _feed(state, line)
    yield from _short_end(state)
    yield from _go_end(state)


def _feed(state: _State, line: str) -> Iterator[LogAnnotation]:
    """Process the next line."""
    if state.rust_panic is not None:
        location, state.rust_panic = state.rust_panic, None
        yield LogAnnotation((location,), line.strip() or "panicked")
        return
    if match := _MESSAGE.match(line):
        _add_message(state, match["message"] or "")
        return
    state.since_message += 1
    if state.message and not state.python and state.frames:
        yield from _short_end(state)
    bare = _GROUPED.sub("", line) if state.python or "|" in line[:40] else line
    if frame := _FRAME.match(bare):
        _add_frame(state, Location(frame["path"], _number(frame["line"])), python=True)
        return
    if state.python and state.frames:
        if bare.startswith(" ") or not bare:
            return
        yield from _python_end(state, bare)
        return
    if state.go_panic is not None:
        state.since_frame += 1
        if frame := _GO_FRAME.match(line):
            state.go_stack.append(_location(frame, column=False))
            del state.go_stack[MAX_FRAMES:]
            state.since_frame = 0
        elif state.since_frame > MAX_BETWEEN_FRAMES or (not line.strip() and state.go_stack):
            yield from _go_end(state)
    if state.go_panic is not None:
        if line[:1].isspace() or not line:
            return
    elif panic := _GO_PANIC.match(line):
        state.go_panic, state.since_frame = panic["message"], 0
        return
    yield from _match_line(state, line)


def _go_end(state: _State) -> Iterator[LogAnnotation]:
    """Return the annotation of a Go panic whose stack has ended."""
    if state.go_panic is not None and state.go_stack:
        yield LogAnnotation(tuple(state.go_stack), state.go_panic, title="panic")
    state.go_panic, state.go_stack = None, []


def _add_message(state: _State, message: str) -> None:
    if state.since_message > 1:
        state.message.clear()
    state.since_message = 0
    if len(state.message) < MAX_MESSAGE_LINES:
        state.message.append(message)


def _add_frame(state: _State, location: Location, *, python: bool) -> None:
    if state.python != python:
        state.frames.clear()
    state.python = python
    if location.line:
        state.frames.append(location)
        del state.frames[:-MAX_FRAMES]


def _python_end(state: _State, raised: str) -> Iterator[LogAnnotation]:
    """Return the annotation of a Python traceback, if the line after it looks like an exception."""
    locations, state.frames, state.python = tuple(reversed(state.frames)), [], False
    if _RAISED.match(raised):
        yield LogAnnotation(locations, raised)


def _short_end(state: _State) -> Iterator[LogAnnotation]:
    """Return the annotation of pytest's short traceback: the frames, then the message."""
    if state.frames and state.message and not state.python:
        yield LogAnnotation(
            tuple(reversed(state.frames)), "\n".join(state.message).strip() or "failed"
        )
    if not state.python:
        state.frames = []
    state.message = []


def _match_line(state: _State, line: str) -> Iterator[LogAnnotation]:
    """Match formats that take one line, or two consecutive ones."""
    if head := _RUST.match(line):
        state.rust_error = (head["level"], head["message"], head["code"])
        return
    if arrow := _ARROW.match(line):
        if state.rust_error is not None:
            level, message, code = state.rust_error
            state.rust_error = None
            yield LogAnnotation((_location(arrow),), message, _LEVELS.get(level, "failure"), code)
        return
    if panic := _PANIC.match(line):
        state.rust_panic = _location(panic)
        return
    if panic := _OLD_PANIC.match(line):
        yield LogAnnotation((_location(panic),), panic["message"] or "panicked")
        return
    if row := _ROW.match(line):
        if state.eslint_file is not None:
            yield _from_eslint(state.eslint_file, row)
        return
    if named := _FILE.match(line):
        state.eslint_file = named["path"]
        return
    if line and not line[0].isspace():
        state.eslint_file = None
    for form in (_PLAIN, _PAREN, _SHELL):
        if found := form.match(line):
            location = _location(found, column=form is not _SHELL)
            if location.line and _looks_like_a_file(location.path):
                yield from _plain(state, location, found["message"])
            return


def _plain(state: _State, location: Location, message: str) -> Iterator[LogAnnotation]:
    if message.startswith("in ") and " " not in message[3:].strip():
        _add_frame(state, location, python=False)  # a frame of pytest's short traceback
        return
    if state.message and state.since_message <= 2 and _ERROR_NAME.match(message):
        text = "\n".join(state.message).strip() or message
        state.message = []
        yield LogAnnotation((location,), text, title=message)
        return
    for form in (_CODED, _LEVEL):
        if levelled := form.match(message):
            level = _LEVELS.get(levelled["level"].lower(), "failure")
            text = levelled["message"] or message
            code = levelled["code"]
            if code is None and (tagged := _TAGGED.match(text)):
                text, code = tagged["message"], tagged["code"]
            yield LogAnnotation((location,), text, level, code)
            return
    yield LogAnnotation((location,), message)


def _from_eslint(path: str, row: re2.Match) -> LogAnnotation:
    message, code = row["message"], None
    if ruled := _RULE.match(message):
        message, code = ruled["message"], ruled["code"]
    location = Location(path, _number(row["line"]), _number(row["column"]) or None)
    return LogAnnotation((location,), message, _LEVELS.get(row["level"], "failure"), code)


def _location(found: re2.Match, *, column: bool = True) -> Location:
    at = _number(found["column"] or "") if column else 0
    return Location(found["path"], _number(found["line"]), at or None)


def _number(digits: str) -> int:
    return min(int(digits), MAX_NUMBER) if digits else 0


_HOSTS = frozenset({"com", "org", "net", "io", "dev", "local", "internal", "localhost", "test"})
_NAMES = frozenset({"Makefile", "Dockerfile", "Containerfile", "Justfile", "Rakefile", "BUILD"})


def _looks_like_a_file(path: str) -> bool:
    """Return whether text before a colon and a number is more likely a file than a host or a time."""
    if "//" in path:
        return False
    name = path.replace("\\", "/").rpartition("/")[2]
    stem, dot, extension = name.rpartition(".")
    if not dot or not stem:
        return name in _NAMES or ("/" in path and path[0] != "@" and name[:1].isalpha())
    if not extension[:1].isalpha() or not extension.isalnum() or len(extension) > 10:
        return False
    return "/" in path or extension.lower() not in _HOSTS
