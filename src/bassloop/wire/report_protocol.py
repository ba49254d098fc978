"""The protocol for test reports: each file is the log of a step of its own, which pages don't show."""

from __future__ import annotations

REPORT_PREFIX = "bassloop:report:"
"""Begins the id of such a step. The file's path follows."""

REPORTS_LABEL = "reports"
"""The label of a thunk that names the files of its reports, by patterns."""

MAX_REPORT = 16 << 20
"""Bytes of one report."""

MAX_REPORTS_SIZE = 32 << 20
"""Bytes of all reports of one command."""

MAX_REPORTS = 200
"""Reports of one command."""
