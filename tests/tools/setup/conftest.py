"""Fixtures for setting up: a repository for the stand-in to serve."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.github.world import make_repository

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository that nothing writes to."""
    return make_repository(tmp_path_factory.mktemp("setup") / "hello")
