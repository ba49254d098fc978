"""Find the causes of a command's failure in its log's text and in its test reports. Pure, no I/O.

    failures = find_failures(lines)      # most telling first
    failures[0].test, failures[0].message, failures[0].locations

:mod:`rules` is the table of what is known of each tool's text and JSON; :mod:`scan` applies the one, and
:mod:`json_documents` the other.
:mod:`annotations` finds all remarks about lines of files, warnings included, and :mod:`reports` reads
JUnit XML and TAP files.
"""

from __future__ import annotations

from bassloop.failures.annotations import LogAnnotation, find_annotations
from bassloop.failures.failure import NOT_IN_LOG, Failure, Location, Rank
from bassloop.failures.reports import Case, ReportError, read_report
from bassloop.failures.scan import find_failures

__all__ = [
    "NOT_IN_LOG",
    "Case",
    "Failure",
    "Location",
    "LogAnnotation",
    "Rank",
    "ReportError",
    "find_annotations",
    "find_failures",
    "read_report",
]
