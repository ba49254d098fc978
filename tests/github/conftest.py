"""Fixtures for the tests of the client."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from .world import make_repository

if TYPE_CHECKING:
    from pathlib import Path

    from trio.testing import MockClock


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a `project.bass`, which nothing writes to."""
    return make_repository(tmp_path_factory.mktemp("github") / "hello")


@pytest.fixture
def clock(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> MockClock:
    """A clock that jumps ahead when all tasks wait. `time.time` follows it."""
    monkeypatch.setattr(time, "time", lambda: 1_000_000.0 + autojump_clock.current_time())
    return autojump_clock
