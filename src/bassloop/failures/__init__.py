"""Find the causes of a command's failure in its log's text and in its test reports. No I/O.

    failures = find_failures(lines)      # most informative first
    failures[0].test, failures[0].message, failures[0].locations

:mod:`rules` has tables of the failures in the text and the JSON of each tool. :mod:`scan` applies the rules for text,
and :mod:`json_documents` those for JSON. :mod:`annotations` finds all messages about lines of files, including
warnings, and :mod:`test_report_formats` reads JUnit XML and TAP files.
"""

from __future__ import annotations

from bassloop.failures.annotations import LogAnnotation, find_annotations
from bassloop.failures.failure import NOT_IN_LOG, Failure, Location, Rank
from bassloop.failures.scan import LogScan, find_failures, scan_log
from bassloop.failures.test_report_formats import Case, ReportError, read_report

__all__ = [
    "NOT_IN_LOG",
    "Case",
    "Failure",
    "Location",
    "LogAnnotation",
    "LogScan",
    "Rank",
    "ReportError",
    "find_annotations",
    "find_failures",
    "read_report",
    "scan_log",
]
