"""Parse the test reports that commands write: JUnit XML and TAP.

There is no standard for JUnit's XML. This reads the elements and attributes that common tools write: ``testsuites``,
``testsuite``, ``testcase`` with ``failure``, ``error`` or ``skipped``, and ``file`` and ``line`` if there are any. TAP
is read in versions 13 and 14 (https://testanything.org), with the rules for logs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from xml.etree.ElementTree import ParseError, TreeBuilder

import defusedxml
from defusedxml.ElementTree import DefusedXMLParser

from bassloop.failures.annotations import find_annotations
from bassloop.failures.failure import MAX_MESSAGE_LINES, NOT_IN_LOG, Failure, Location, Rank
from bassloop.failures.scan import find_failures

if TYPE_CHECKING:
    from collections.abc import Iterator
    from xml.etree.ElementTree import Element

MAX_BYTES = 16 << 20
PIECE_BYTES = 64 << 10
MAX_CASES = 100_000
MAX_NAME = 500
MAX_TRACES = 200
"""The maximum number of a report's failed tests whose text is searched for locations."""

MAX_TRACE = 20_000
"""The maximum length of such a text, in characters."""


class ReportError(Exception):
    """A file can't be read as a report. The message gives the reason."""


@dataclass(frozen=True, slots=True)
class Case:
    """A test in a report, with its outcome.

    Args:
        outcome: ``passed``, ``failed`` or ``skipped``.
        seconds: how long it took; None if the report doesn't have it.
        failure: the failure, if it failed.
    """

    name: str
    outcome: str
    seconds: float | None
    failure: Failure | None


def read_report(data: bytes) -> list[Case]:
    """Return the tests of a report, in order. Raises ReportError if it can't be read."""
    if len(data) > MAX_BYTES:
        raise ReportError(f"the report has {len(data):,} bytes; {MAX_BYTES:,} are read at most")
    if data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return _junit(data)
    text = data.decode(errors="replace")
    if text.startswith("TAP version") or "\nok " in f"\n{text}" or "\nnot ok " in f"\n{text}":
        return _tap(text)
    raise ReportError("it is neither JUnit XML nor TAP")


def _junit(data: bytes) -> list[Case]:
    try:
        parser = DefusedXMLParser(target=TreeBuilder(), forbid_dtd=True)
        # In pieces, because other threads can't run while one is parsed. Expat before 2.6 parses an incomplete token
        # anew with each piece, so each piece is at least as long as what is incomplete.
        start, size = 0, PIECE_BYTES
        while start < len(data):
            parser.feed(data[start : start + size])
            start += size
            size = max(PIECE_BYTES, start - parser.parser.CurrentByteIndex)
        root = parser.close()
    except (ParseError, ValueError, LookupError, defusedxml.DefusedXmlException) as error:
        raise ReportError(f"the XML can't be read: {error}") from error
    if root.tag not in ("testsuites", "testsuite"):
        raise ReportError(
            f"<{root.tag}> is not the root of a JUnit report: <testsuites> or <testsuite> is"
        )
    cases: list[Case] = []
    traces = MAX_TRACES
    for element in root.iter("testcase"):
        cases.append(_case(element, with_trace=traces > 0))
        traces -= cases[-1].failure is not None
        if len(cases) == MAX_CASES:
            break
    return cases


def _case(element: Element, *, with_trace: bool) -> Case:
    owner, name = element.get("classname", ""), element.get("name", "?")
    full = (f"{owner}.{name}" if owner and not name.startswith(owner) else name)[:MAX_NAME]
    seconds = _number(element.get("time"))
    broken = next((child for child in element if child.tag in ("failure", "error")), None)
    if broken is None:
        skipped = element.find("skipped") is not None
        return Case(full, "skipped" if skipped else "passed", seconds, None)
    text = broken.text or ""
    said = (broken.get("message") or broken.get("type") or "").strip() or text.strip()
    message = "\n".join(said[:MAX_TRACE].splitlines()[:MAX_MESSAGE_LINES])
    trace = text[-MAX_TRACE:] if with_trace else ""
    locations = tuple(dict.fromkeys(_locations(element, trace)))
    failure = Failure("junit", Rank.TEST, message, full, locations, NOT_IN_LOG, NOT_IN_LOG)
    return Case(full, "failed", seconds, failure)


def _locations(element: Element, text: str) -> Iterator[Location]:
    """Return the locations in a test's own log, and then the test's own location."""
    lines = text.splitlines()
    for failure in find_failures(lines):
        yield from failure.locations
    for annotation in find_annotations(lines):
        if annotation.level == "failure":
            yield from annotation.locations
    path, line = element.get("file"), _number(element.get("line"))
    if path and line:
        yield Location(path[:MAX_NAME], int(line))


def _number(text: str | None) -> float | None:
    try:
        number = float((text or "").replace(",", ""))
    except ValueError:
        return None
    return number if 0 <= number < 1e9 else None


def _tap(text: str) -> list[Case]:
    lines = text.splitlines()
    failures = {failure.first: failure for failure in find_failures(lines) if failure.tool == "tap"}
    cases: list[Case] = []
    for number, line in enumerate(lines):
        known = failures.get(number)
        if known is not None and known.test is not None:
            failure = replace(known, first=NOT_IN_LOG, last=NOT_IN_LOG)
            cases.append(Case(known.test, "failed", None, failure))
        elif line.startswith(("ok ", "not ok ")):
            cases.append(_tap_case(line))
        if len(cases) == MAX_CASES:
            break
    return cases


def _tap_case(line: str) -> Case:
    passed = line.startswith("ok ")
    name = line.removeprefix("not ").removeprefix("ok ").lstrip("0123456789 ").removeprefix("- ")
    name, _, directive = name.partition(" # ")
    name = name[:MAX_NAME] or "?"
    if directive.lower().startswith(("skip", "todo")):
        return Case(name, "skipped", None, None)
    if passed:
        return Case(name, "passed", None, None)
    failure = Failure("tap", Rank.TEST, "", name, (), NOT_IN_LOG, NOT_IN_LOG)
    return Case(name, "failed", None, failure)
