"""Test reports that a command leaves behind: JUnit XML and TAP.

JUnit's XML has no standard; this reads what the common writers agree on: ``testsuites``, ``testsuite``,
``testcase`` with ``failure``, ``error`` or ``skipped`` in it, and ``file`` and ``line`` where they are.
TAP is version 13 and 14 (https://testanything.org), read by the rules for logs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree.ElementTree import ParseError

import defusedxml
from defusedxml.ElementTree import fromstring

from bassloop.failures.model import Failure, Location, Rank
from bassloop.failures.scan import MAX_MESSAGE_LINES, find_failures

if TYPE_CHECKING:
    from collections.abc import Iterator
    from xml.etree.ElementTree import Element

MAX_BYTES = 16 << 20
MAX_CASES = 100_000
MAX_NAME = 500


class ReportError(Exception):
    """A file that isn't a report; the message says why."""


@dataclass(frozen=True, slots=True)
class Case:
    """One test's outcome in a report.

    Args:
        outcome: ``passed``, ``failed`` or ``skipped``.
        seconds: how long it took; None where the report doesn't say.
        failure: what went wrong, for one that failed.
    """

    name: str
    outcome: str
    seconds: float | None
    failure: Failure | None


def read_report(data: bytes) -> list[Case]:
    """Return the tests of a report, in its order. Raise ReportError for what can't be read."""
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
        root = fromstring(data, forbid_dtd=True)
    except (ParseError, ValueError, LookupError, defusedxml.DefusedXmlException) as error:
        raise ReportError(f"the XML can't be read: {error}") from error
    if root.tag not in ("testsuites", "testsuite"):
        raise ReportError(
            f"<{root.tag}> is not the root of a JUnit report: <testsuites> or <testsuite> is"
        )
    cases = []
    for element in root.iter("testcase"):
        cases.append(_case(element))
        if len(cases) == MAX_CASES:
            break
    return cases


def _case(element: Element) -> Case:
    owner, name = element.get("classname", ""), element.get("name", "?")
    full = (f"{owner}.{name}" if owner and not name.startswith(owner) else name)[:MAX_NAME]
    seconds = _number(element.get("time"))
    broken = next((child for child in element if child.tag in ("failure", "error")), None)
    if broken is None:
        skipped = element.find("skipped") is not None
        return Case(full, "skipped" if skipped else "passed", seconds, None)
    text = broken.text or ""
    said = (broken.get("message") or broken.get("type") or "").strip() or text.strip()
    message = "\n".join(said.splitlines()[:MAX_MESSAGE_LINES])
    failure = Failure("junit", Rank.TEST, message, full, tuple(_locations(element, text)), 0, 0)
    return Case(full, "failed", seconds, failure)


def _locations(element: Element, text: str) -> Iterator[Location]:
    """The places that a test's own log names, then the test's own."""
    for failure in find_failures(text.splitlines()):
        yield from failure.locations
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
    cases = []
    for number, line in enumerate(lines):
        if (failure := failures.get(number)) is not None and failure.test is not None:
            cases.append(Case(failure.test, "failed", None, failure))
        elif line.startswith("ok "):
            name = line.removeprefix("ok ").lstrip("0123456789 ").removeprefix("- ")
            name, _, directive = name.partition(" # ")
            skipped = directive.lower().startswith(("skip", "todo"))
            cases.append(
                Case(name[:MAX_NAME] or "?", "skipped" if skipped else "passed", None, None)
            )
        if len(cases) == MAX_CASES:
            break
    return cases
