"""Stack frames of libraries, which an excerpt of a log folds: the mistake is seldom in them.

Lines aren't trusted: they are cleaned and truncated, and the patterns are RE2's, which don't backtrack.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import re2

from bassloop.failures.failure import clean_line, is_library

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


@dataclass(frozen=True, slots=True)
class _Frames:
    """The form of stack frames in the output of some languages.

    Args:
        head: the pattern of a frame's first line, with a group `path` or `symbol`.
        more: the pattern of its other lines, with a group `path` if they have it.
        symbols: the pattern of symbols that belong to libraries.
    """

    head: Any
    more: Any = None
    symbols: Any = None


_FORMS = (
    # JavaScript: "at f (/src/a.js:1:2)", "at /src/a.js:1:2", and Vitest's "❯ f src/a.js:1:2".
    _Frames(
        re2.compile(
            r"^\s+at (?:.*\()?(?P<path>[^()\s]+):\d+:\d+\)?$|^\s*❯ (?:.* )?(?P<path2>\S+):\d+:\d+$"
        )
    ),
    # Java, Kotlin and Scala.
    _Frames(
        re2.compile(
            r"^\s+at (?P<symbol>[\w.$/@<>-]+)\((?:[\w.-]+:\d+|\w+\.\w+|Native Method|Unknown Source)\)(?: ~?\[.*\])?$"
        ),
        symbols=re2.compile(
            r"^(?:(?:java|jdk)\.[\w.]+/|(?:java|javax|jakarta|jdk|sun|com\.sun|junit|kotlin|scala|groovy|"
            r"org\.(?:junit|testng|opentest4j|hamcrest|assertj|mockito|gradle|apache\.maven|scalatest|codehaus))\.)"
        ),
    ),
    # .NET: only frames of the project have a file.
    _Frames(
        re2.compile(r"^\s+at (?P<symbol>[\w.`<>+\[\], ]+)\([^()]*\)$"),
        symbols=re2.compile(r"^(?:System|Microsoft|Xunit|NUnit|InvokeStub_\w*)\."),
    ),
    # Python: 'File "/src/a.py", line 1, in f' or pytest's "src/a.py:1: in f", and the source below.
    _Frames(
        re2.compile(
            r'^\s*File "(?P<path>[^"]+)", line \d+(?:, in .*)?$|^(?P<path2>\S+\.py):\d+: in \S+$'
        ),
        more=re2.compile(r"^\s{4,}(?:[^\sF]|F[^i]|Fi[^l])"),
    ),
    # Rust: "3: core::panicking::panic_fmt", and "at /rustc/…" below.
    _Frames(
        re2.compile(r"^\s+\d+: (?:0x[0-9a-f]+ - )?(?P<symbol>\S+)"),
        more=re2.compile(r"^\s+at (?P<path>\S+):\d+(?::\d+)?$"),
        symbols=re2.compile(
            r"^<?(?:core|std|alloc|test|__rustc|rust_begin_unwind|__rust\w*)(?:::|$)"
        ),
    ),
    # Ruby: "# /usr/lib/ruby/gems/…/a.rb:1:in 'f'", "from /usr/lib/ruby/…".
    _Frames(re2.compile(r"^\s*(?:#|from) (?P<path>[^\s:]+):\d+(?::in .*)?$")),
    # Go: a function, and its file below.
    _Frames(
        re2.compile(r"^(?P<symbol>[\w./*()-]+\(.*\)|created by \S.*)$"),
        more=re2.compile(r"^\t(?P<path>/\S+\.(?:go|s)):\d+(?: \+0x[0-9a-f]+)?$"),
    ),
    # PHP: "#0 /src/vendor/a.php(1): f()", and PHPUnit's "/src/vendor/a.php:1".
    _Frames(re2.compile(r"^#\d+ (?P<path>[^\s(]+)\(\d+\): |^(?P<path2>/\S+\.php):\d+$")),
)

_ARGUMENTS = ("<string", "[eval")
"""The names of source that was an argument, as of ``python -c``: it is nobody's but the project's."""

_FOLDERS = re2.compile(r"(?:^|/)(node_modules|site-packages|dist-packages|vendor|gems)/")


@dataclass(frozen=True, slots=True)
class LibraryFrames:
    """Consecutive stack frames of libraries.

    Args:
        start: the index of the first line.
        stop: the index after the last line.
        count: the number of frames.
        folder: the folder of all of these libraries, such as ``node_modules``, or "".
    """

    start: int
    stop: int
    count: int
    folder: str


@dataclass(frozen=True, slots=True)
class _Frame:
    start: int
    stop: int
    folder: str


def library_frames(lines: Sequence[str], visible: Collection[int] = ()) -> list[LibraryFrames]:
    """Return the consecutive stack frames of libraries that fill at least two lines.

    Args:
        lines: without colours.
        visible: the indexes of lines that belong to none of the results.
    """
    cleaned = [clean_line(line) for line in lines]
    groups: list[list[_Frame]] = []
    at = 0
    while at < len(cleaned):
        frame = _library_frame(cleaned, at)
        if frame is None or any(frame.start <= index < frame.stop for index in visible):
            at = frame.stop if frame is not None else at + 1
            continue
        if groups and groups[-1][-1].stop == frame.start:
            groups[-1].append(frame)
        else:
            groups.append([frame])
        at = frame.stop
    return [
        LibraryFrames(
            group[0].start,
            group[-1].stop,
            len(group),
            group[0].folder if len({frame.folder for frame in group}) == 1 else "",
        )
        for group in groups
        if group[-1].stop - group[0].start > 1
    ]


def _library_frame(lines: Sequence[str], at: int) -> _Frame | None:
    """Return the frame of a library that begins at a line, if there is one."""
    for form in _FORMS:
        match = form.head.search(lines[at])
        if match is None:
            continue
        groups = match.groupdict()
        path, symbol = groups.get("path") or groups.get("path2"), groups.get("symbol")
        stop = at + 1
        while form.more is not None and stop < len(lines):
            more = form.more.search(lines[stop])
            if more is None:
                break
            path = more.groupdict().get("path") or path
            stop += 1
        if path is not None:
            if path.startswith("node:") or (is_library(path) and not path.startswith(_ARGUMENTS)):
                folder = _FOLDERS.search(path)
                return _Frame(at, stop, folder[1] if folder else "")
        elif symbol and form.symbols and form.symbols.search(symbol):
            return _Frame(at, stop, "")
    return None
