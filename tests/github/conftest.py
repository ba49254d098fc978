"""Fixtures for the tests of the client."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .world import make_repository

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a `project.bass`, which nothing writes to."""
    return make_repository(tmp_path_factory.mktemp("github") / "hello")
