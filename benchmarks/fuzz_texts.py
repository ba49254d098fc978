"""Readers of texts for :mod:`benchmarks.fuzz`: logs, reports, declarations, archives, paths and messages.

For each reader there are pieces that mean something to it. They're put together at random, and also repeated, to see
how the time grows with the size: reading 16 times as much may take 16 times as long, but not 256 times.
"""

from __future__ import annotations

import gc
import io
import json
import posixpath
import random
import re
import time
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from bassloop.access.policy import PolicyError, read_rules
from bassloop.failures import ReportError, find_annotations, find_failures, read_report
from bassloop.project import ChecksFileError, read_checks, write_bass
from bassloop.runtimes.runner_call import LARGE_BYTES, check_progress
from bassloop.tar_archive import BadTar, read_members
from bassloop.terminal import Terminal, render_lines, strip
from bassloop.trust import UntrustedStatement
from bassloop.trust.envelope import read_envelope
from bassloop.trust.statement import read_statement
from bassloop.web.logs.line_html import link_files, link_urls, mark_command
from bassloop.web.logs.outline import LogOutline
from bassloop.wire.conventions import MAX_ARTIFACT_PATH, given_name, problem_of_path
from bassloop.wire.nesting import flatten

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_CORPUS = Path(__file__).parents[1] / "tests/failures/corpus"
_TAG = re.compile(r"<[^>]*>")

TIMES = 16
MOST_TIMES = 80
"""How much larger an input is made, and how much longer it may take: five times as long as a linear reader."""

LARGE_SECONDS = 0.05
"""Inputs that take less processor time than this aren't compared."""


@dataclass(frozen=True, slots=True)
class Reader:
    """A function that reads a stranger's bytes.

    Args:
        pieces: what means something to it.
        errors: what it may raise.
        size: the size in bytes of the smaller inputs whose time is compared.
    """

    read: Callable[[bytes], object]
    pieces: Sequence[bytes]
    errors: tuple[type[Exception], ...] = ()
    size: int = 8 << 10

    def __call__(self, data: bytes) -> None:
        try:
            self.read(data)
        except self.errors:
            pass


def _lines(data: bytes) -> list[str]:
    return [strip(line) for line in data.split(b"\n")]


def _failures(data: bytes) -> None:
    lines = _lines(data)
    for failure in find_failures(lines):
        assert 0 <= failure.first <= failure.last < len(lines)
        assert failure.title is not None


def _annotations(data: bytes) -> None:
    lines = _lines(data)
    for annotation in find_annotations(lines):
        assert annotation.locations
        assert all(each.line > 0 for each in annotation.locations)


def _outline(data: bytes) -> None:
    """Scan a log at once, and in two blocks: the outline is the same."""
    lines = data.split(b"\n")
    whole, split = LogOutline(), LogOutline()
    for outline, blocks in (
        (whole, [lines]),
        (split, [lines[: len(lines) // 2], lines[len(lines) // 2 :]]),
    ):
        for block in blocks:
            if block:
                outline.scan(b"\n".join(block) + b"\n", len(block))
        outline.end()
    assert whole.lines == len(lines)
    assert (whole.groups, whole.error_lines()) == (split.groups, split.error_lines())
    assert all(group.end is None or group.line <= group.end < len(lines) for group in whole.groups)


def _line_html(data: bytes) -> None:
    """Render lines as settled by a terminal. Their text stays as it is."""
    terminal = Terminal(4)
    lines = (terminal.settle(data).text + terminal.settle_rest().text).split(b"\n")
    plain = render_lines(lines)
    marked = [mark_command(link_urls(line)) for line in plain]
    linked = link_files(marked, lambda path, line: f"/{path[:20]}#L{line}")
    for before, after in zip(plain, linked, strict=True):
        assert unescape(_TAG.sub("", after)) == unescape(_TAG.sub("", before))
        assert after.count("<a ") == after.count("</a>")
        assert after.count("<span") == after.count("</span>")


def _checks(data: bytes) -> None:
    write_bass(read_checks(data))


def _path(data: bytes) -> None:
    """Check an artifact's path. One that is accepted is the path of a file within a folder."""
    text = data.decode(errors="surrogateescape")
    given = given_name(text.partition("/")[0], text)
    for path, problem in ((text, problem_of_path(text)), (given, problem_of_path(given))):
        if problem is None:
            assert len(path.encode()) <= MAX_ARTIFACT_PATH
            assert posixpath.normpath(path) == path
            assert not path.startswith(("/", "../"))
            assert path not in (".", "..")


def _tar(data: bytes) -> None:
    for member in read_members(io.BytesIO(data)):
        assert member.size >= 0


def _progress(data: bytes) -> None:
    check_progress(bytearray(data))


def _corpus() -> list[bytes]:
    """The lines of the logs that the rules for failures are tested with, each with its end."""
    return [
        line + b"\n"
        for file in sorted(_CORPUS.glob("*.txt"))
        for line in file.read_bytes().splitlines()[:40]
    ]


LOG = [
    *(
        b"\n",
        b" ",
        b"    at ",
        b"E   ",
        b":",
        b"a.py:3: ",
        b"error: ",
        b"\t",
        b"x" * 50,
        b"\x1b[31m",
    ),
    *(
        b"::group::",
        b"::endgroup::\n",
        b"##[group]",
        b"##[endgroup]\n",
        b"--- ",
        b"+++ ",
        b"^^^ +++\n",
    ),
    *(
        b"::error file=a.py,line=1,col=2,title=b::",
        b"##[error]",
        b"http://a/(b)?c=d&e",
        b"\x1b]8;;http://a/\x07",
    ),
    *(
        b'File "a.py", line 3, in f\n',
        b"src/a.rs:1:2",
        b"&amp;",
        b"<",
        b"\xff",
        "é\n".encode(),
        b"FAIL: ",
    ),
]
JSON = [
    *(
        b"{\n",
        b"}\n",
        b"[\n",
        b"]\n",
        b"[{",
        b"}]\n",
        b'{"file": "a.py", "severity": "error", "line": 1, ',
    ),
    *(
        b'"message": "no"}\n',
        b'"message": "no",\n',
        b'{"a":',
        b"1",
        b",\n",
        b'"ruleId": "x", ',
        b'"tests": [',
        b'"line": 1e9, ',
    ),
    json.dumps({"file": "a", "line": 3, "severity": "error", "message": "no"}).encode() + b"\n",
    json.dumps(
        [{"filename": "a", "location": {"row": 3}, "code": "E1", "message": "b"}], indent=1
    ).encode()
    + b"\n",
]
JUNIT = [
    *(
        b"<testsuites>",
        b"</testsuites>",
        b'<testsuite name="a">',
        b"</testsuite>",
        b'<testcase name="b" time="1">',
    ),
    *(
        b"</testcase>",
        b'<testcase classname="c" name="d" file="a.py" line="nan"/>',
        b'<failure message="no">',
        b"</failure>",
    ),
    *(
        b'<error type="e"/>',
        b"<skipped/>",
        b"a.py:3: error: no\n",
        b"&lt;",
        b"&#0;",
        b"<![CDATA[",
        b"]]>",
        b"<!DOCTYPE a>",
    ),
    *(b'<?xml version="1.0" encoding="utf-16"?>', b"<!-- -->", b'time="inf"', b'line="1e308"'),
]
TAP = [
    *(
        b"TAP version 14\n",
        b"ok 1 - a\n",
        b"not ok 2 - b\n",
        b"not ok 3 # TODO c\n",
        b"ok # SKIP\n",
        b"1..3\n",
    ),
    *(
        b"  ---\n",
        b"  message: no\n",
        b"  at: a.js:3:1\n",
        b"  ...\n",
        b"    not ok 1 - d\n",
        b"Bail out!\n",
        b"# e\n",
    ),
]
TOML = [
    *(
        b"[checks.a]\n",
        b"[checks.b.services.c]\n",
        b'run = "x"\n',
        b'run = ["a", ["b", "c"]]\n',
        b'image = "a:${k}"\n',
    ),
    *(
        b'matrix = { k = ["1", 2] }\n',
        b'needs = ["a"]\n',
        b'uses = ["b"]\n',
        b'env = { A = "b" }\n',
        b"a.b.c = 1\n",
    ),
    *(
        b'timeout = "1h"\n',
        b"when.events = ['push']\n",
        b"port = 1\n",
        b"[[checks]]\n",
        b"[checks]\n",
        b'"""',
        b"'''",
    ),
    *(
        b"a = ",
        b"[",
        b"]",
        b"{",
        b"}",
        b",",
        b"=",
        b".",
        b'"',
        b"'",
        b"\\",
        b"\n",
        b"#",
        b"1979-05-27T07:32:00Z",
    ),
    *(
        b"0x",
        b"1e9",
        b"nan",
        b"\\u0000",
        b"\xef\xbb\xbf",
        "”".encode(),
        b"a b",
        b"soak = 7200\n",
        b"_",
    ),
]
PATH = [
    b"a",
    b"/",
    b".",
    b"..",
    b"\\",
    b"\0",
    b"\n",
    b"~",
    "é".encode(),
    b"\xff",
    b"x" * 99,
    b":",
    b" ",
    b"../",
]
PROGRESS = [
    *(
        b"\x0a\x04",
        b"\x0a\x80\x01",
        b"\x12\x02",
        b"\x08\x01",
        b"\x0d" + bytes(4),
        b"\x09" + bytes(8),
    ),
    *(b"\xff", b"\x80", b"\x0a\xff\xff\xff\xff\x0f", b"\x0b", b"\0", bytes(1_000), b"\x0a\0" * 500),
]


def readers(
    statement_pieces: Sequence[bytes], tar_pieces: Sequence[bytes], thunks: Sequence[bytes]
) -> dict[str, Reader]:
    """Return the readers by name, given the pieces of the targets in :mod:`benchmarks.fuzz`."""
    return {
        "failures": Reader(_failures, [*_corpus(), *LOG], size=1 << 10),
        "json_log": Reader(_failures, [*JSON, b"\n", b"x\n"], size=1 << 10),
        "annotations": Reader(_annotations, [*_corpus(), *LOG], size=4 << 10),
        "outline": Reader(_outline, LOG),
        "line_html": Reader(_line_html, LOG),
        "junit": Reader(read_report, JUNIT, (ReportError,)),
        "tap": Reader(read_report, [*TAP, *JSON[:4]], (ReportError,)),
        "checks_file": Reader(_checks, TOML, (ChecksFileError,)),
        "policy": Reader(read_rules, TOML, (PolicyError,)),
        "statement_text": Reader(read_statement, statement_pieces, (UntrustedStatement,)),
        "envelope": Reader(read_envelope, statement_pieces, (UntrustedStatement,)),
        "path": Reader(_path, PATH),
        "archive": Reader(_tar, tar_pieces, (BadTar,)),
        "progress": Reader(_progress, PROGRESS, (ValueError,), 2 * LARGE_BYTES),
        "nesting": Reader(lambda data: flatten(data, 1_000_000), thunks, (ValueError, DecodeError)),
    }


def growth(reader: Reader, seed: int) -> str | None:
    """Repeat a few pieces up to the reader's size, and 16 times as often; return the times if they grow faster.

    Raises what the reader shouldn't raise.
    """
    chance = random.Random(seed)
    first, unit, last = (
        b"".join(chance.choices(reader.pieces, k=chance.randint(1, 3))) for _ in range(3)
    )
    count = reader.size // len(unit) + 1
    small, large = (first + unit * times + last for times in (count, TIMES * count))
    took = _seconds(reader, large)
    if took < LARGE_SECONDS:
        return None
    # Once more, since the first times, something may have been compiled or collected.
    least = min(_seconds(reader, small) for _ in range(3))
    took = min(took, _seconds(reader, large))
    if took < LARGE_SECONDS or took <= MOST_TIMES * least:
        return None
    return f"{len(small):,} bytes take {least:.4f} s, {len(large):,} take {took:.2f} s: {unit[:100]!r} repeated"


def _seconds(reader: Reader, data: bytes) -> float:
    gc.disable()  # a collection takes time for all objects that there are
    try:
        began = time.thread_time()
        reader(data)
        return time.thread_time() - began
    finally:
        gc.enable()
