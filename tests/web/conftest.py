"""Fixtures for the tests of pages."""

from __future__ import annotations

import pytest

from bassloop.web.logs import live_feed, log_endpoints, repository_search, run_search
from bassloop.web.pages import runs_page

LIMITS = (
    (live_feed, "HEARTBEAT_SECONDS"),
    (live_feed, "SILENT_SECONDS"),
    (log_endpoints, "OUTLINE_SECONDS"),
    (repository_search, "SEARCH_SECONDS"),
    (runs_page, "HEARTBEAT_SECONDS"),
    (run_search, "PROGRESS_SECONDS"),
    (run_search, "SEARCH_SECONDS"),
)


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no answer end early, and no heartbeat come in between, because the machine is busy."""
    for module, name in LIMITS:
        monkeypatch.setattr(module, name, 3600.0)
